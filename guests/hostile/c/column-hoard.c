// Sets a column of texts, and keeps all that it ever made: 64 MiB a call.
#define KIND CONVEYOR_STAGE_COLUMNS_KIND_TEXTS
#define NULLABLE true
#include "table.h"

static void lie(emission_t *emission, uint32_t rows) {
  static char *kept[4096];
  static size_t count;
  for (int i = 0; i < 64; i++) {
    kept[count % 4096] = grown(NULL, 1 << 20, 1);
    memset(kept[count++ % 4096], 1, 1 << 20);
  }
  column_t *set = columns(emission, 1);
  set->data.tag = CONVEYOR_STAGE_COLUMNS_DATA_TEXTS;
  set->data.val.texts = texts(rows, "ab");
}
