// Just enough of JSON to read a config: members of the outermost object, whatever is nested in them.
#ifndef CONTRACT_JSON_H
#define CONTRACT_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  const uint8_t *at;
  const uint8_t *end;
} json_t;

enum json_kind { JSON_ABSENT, JSON_TEXT, JSON_NUMBER, JSON_OTHER };

typedef struct {
  enum json_kind kind;
  // Of a text: its first 64 bytes, unescaped, and its whole length.
  uint8_t text[64];
  size_t length;
  double number;
} json_value_t;

enum { JSON_DEPTH_MAX = 64 };

static void json_space(json_t *json) {
  while (json->at < json->end && strchr(" \t\r\n", *json->at) && *json->at) json->at++;
}

static bool json_take(json_t *json, char wanted) {
  json_space(json);
  if (json->at >= json->end || *json->at != (uint8_t)wanted) return false;
  json->at++;
  return true;
}

static bool json_hex4(json_t *json, uint32_t *code) {
  if (json->end - json->at < 4) return false;
  *code = 0;
  for (int i = 0; i < 4; i++) {
    uint8_t c = *json->at++;
    uint32_t digit;
    if (c >= '0' && c <= '9') digit = c - '0';
    else if ((c | 32) >= 'a' && (c | 32) <= 'f') digit = (c | 32) - 'a' + 10;
    else return false;
    *code = *code * 16 + digit;
  }
  return true;
}

static void json_put(json_value_t *out, uint8_t byte) {
  if (out->length < sizeof out->text) out->text[out->length] = byte;
  out->length++;
}

static void json_put_code(json_value_t *out, uint32_t code) {
  if (code < 0x80) {
    json_put(out, (uint8_t)code);
  } else if (code < 0x800) {
    json_put(out, (uint8_t)(0xC0 | code >> 6));
    json_put(out, (uint8_t)(0x80 | (code & 63)));
  } else {
    json_put(out, (uint8_t)(0xE0 | code >> 12));
    json_put(out, (uint8_t)(0x80 | (code >> 6 & 63)));
    json_put(out, (uint8_t)(0x80 | (code & 63)));
  }
}

// A text, its opening quote included. Surrogate pairs come out as two codes: no config here has one.
static bool json_text(json_t *json, json_value_t *out) {
  static const char names[] = "\"\\/bfnrt", bytes[] = "\"\\/\b\f\n\r\t";
  if (!json_take(json, '"')) return false;
  out->kind = JSON_TEXT;
  out->length = 0;
  while (json->at < json->end) {
    uint8_t c = *json->at++;
    if (c == '"') return true;
    if (c < 0x20) return false;
    if (c != '\\') {
      json_put(out, c);
      continue;
    }
    if (json->at >= json->end) return false;
    c = *json->at++;
    uint32_t code;
    if (c == 'u') {
      if (!json_hex4(json, &code)) return false;
      json_put_code(out, code);
    } else {
      const char *name = c ? strchr(names, c) : NULL;
      if (!name) return false;
      json_put(out, (uint8_t)bytes[name - names]);
    }
  }
  return false;
}

static bool json_digits(json_t *json) {
  const uint8_t *start = json->at;
  while (json->at < json->end && *json->at >= '0' && *json->at <= '9') json->at++;
  return json->at > start;
}

static bool json_number(json_t *json, json_value_t *out) {
  const uint8_t *start = json->at;
  if (*json->at == '-') json->at++;
  bool zero = json->at < json->end && *json->at == '0';
  const uint8_t *whole = json->at;
  if (!json_digits(json) || (zero && json->at - whole > 1)) return false;
  if (json->at < json->end && *json->at == '.') {
    json->at++;
    if (!json_digits(json)) return false;
  }
  if (json->at < json->end && (*json->at | 32) == 'e') {
    json->at++;
    if (json->at < json->end && (*json->at == '+' || *json->at == '-')) json->at++;
    if (!json_digits(json)) return false;
  }
  char text[64];
  size_t length = (size_t)(json->at - start);
  if (length >= sizeof text) return false;
  memcpy(text, start, length);
  text[length] = 0;
  out->kind = JSON_NUMBER;
  out->number = strtod(text, NULL);
  return true;
}

static bool json_word(json_t *json, const char *word) {
  size_t length = strlen(word);
  if ((size_t)(json->end - json->at) < length || memcmp(json->at, word, length)) return false;
  json->at += length;
  return true;
}

static bool json_value(json_t *json, json_value_t *out, int depth);

// An object or an array, its opening bracket taken. Of an object, the member `name` comes out in `member`.
static bool json_nested(json_t *json, bool is_object, const char *name, json_value_t *member, int depth) {
  char close = is_object ? '}' : ']';
  if (depth > JSON_DEPTH_MAX) return false;
  if (json_take(json, close)) return true;
  do {
    json_value_t key = {0}, value = {0};
    if (is_object && (!json_text(json, &key) || !json_take(json, ':'))) return false;
    if (!json_value(json, &value, depth + 1)) return false;
    if (is_object && name && key.length == strlen(name) && !memcmp(key.text, name, key.length)) *member = value;
  } while (json_take(json, ','));
  return json_take(json, close);
}

static bool json_value(json_t *json, json_value_t *out, int depth) {
  json_space(json);
  if (json->at >= json->end) return false;
  out->kind = JSON_OTHER;
  switch (*json->at) {
    case '"': return json_text(json, out);
    case '{': json->at++; return json_nested(json, true, NULL, NULL, depth);
    case '[': json->at++; return json_nested(json, false, NULL, NULL, depth);
    case 't': return json_word(json, "true");
    case 'f': return json_word(json, "false");
    case 'n': return json_word(json, "null");
    default: return json_number(json, out);
  }
}

// Whether `text` is one JSON object; its member `name` comes out in `member`.
static bool json_member(const uint8_t *text, size_t length, const char *name, json_value_t *member) {
  json_t json = {text, text + length};
  member->kind = JSON_ABSENT;
  if (!json_take(&json, '{') || !json_nested(&json, true, name, member, 0)) return false;
  json_space(&json);
  return json.at == json.end;
}

#endif
