// What the two stages share: lists that grow, and allocation that traps rather than returning null.
#ifndef CONTRACT_MEMORY_H
#define CONTRACT_MEMORY_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void *grown(void *old, size_t count, size_t size) {
  if (count == 0) return old;
  void *new = realloc(old, count * size);
  if (!new) __builtin_trap();
  return new;
}

// Appends to one of the generated lists, `{ ptr, len }`, of which `room` is the capacity.
#define PUSH(list, room, value)                                       \
  do {                                                                \
    if ((list).len == (room)) {                                       \
      (room) = (room) ? (room) * 2 : 16;                              \
      (list).ptr = grown((list).ptr, (room), sizeof *(list).ptr);     \
    }                                                                 \
    (list).ptr[(list).len++] = (value);                               \
  } while (0)

static inline int bit(const uint8_t *bits, size_t i) { return bits[i / 8] >> (i % 8) & 1; }

#endif
