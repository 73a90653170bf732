// Proof of the contract: the stage of bytes. What it does stands in ../README.md.
#include <stdio.h>

#include "json.h"
#include "memory.h"
#include "transform_stage.h"

typedef transform_stage_string_t string_t;
typedef conveyor_stage_outcomes_failure_t failure_t;
typedef conveyor_stage_records_batch_t batch_t;
typedef conveyor_stage_records_blob_column_t blobs_t;

static struct {
  bool open;
  uint8_t keep, separator;
  bool has_busy;
  uint8_t busy;
} stage;

void exports_conveyor_stage_about_describe(exports_conveyor_stage_about_about_t *ret) {
  *ret = (exports_conveyor_stage_about_about_t){0};
  transform_stage_string_dup(&ret->name, "contract-bytes");
  transform_stage_string_dup(&ret->version, "0.1.0");
  transform_stage_string_dup(&ret->summary, "Keeps records by their first byte and splits them at a separator");
  transform_stage_string_dup(
      &ret->config_schema,
      "{\"type\":\"object\",\"required\":[\"keep\"],\"properties\":{\"keep\":{\"type\":\"string\"},"
      "\"separator\":{\"type\":\"string\"},\"busy\":{\"type\":\"string\"}},\"additionalProperties\":false}");
  ret->hints.ptr = grown(NULL, 1, sizeof *ret->hints.ptr);
  ret->hints.len = 1;
  transform_stage_string_dup(&ret->hints.ptr[0].f0, "language");
  transform_stage_string_dup(&ret->hints.ptr[0].f1, "c");
}

static bool invalid(failure_t *err, const char *message) {
  err->tag = CONVEYOR_STAGE_OUTCOMES_FAILURE_INVALID;
  transform_stage_string_dup(&err->val.invalid, message);
  return false;
}

// One ASCII character of the config; `missing` says whether it is not there.
static bool read_byte(string_t *config, const char *name, uint8_t *byte, bool *missing, failure_t *err) {
  json_value_t value;
  if (!json_member(config->ptr, config->len, name, &value))
    return invalid(err, "config: a JSON object is wanted");
  *missing = value.kind == JSON_ABSENT;
  if (*missing) return true;
  if (value.kind == JSON_TEXT && value.length == 1) {
    *byte = value.text[0];
    return true;
  }
  char message[96];
  snprintf(message, sizeof message, "config.%s: a text of one ASCII character is wanted", name);
  return invalid(err, message);
}

static bool configure(string_t *config, failure_t *err) {
  bool missing, no_separator, no_busy;
  if (!read_byte(config, "keep", &stage.keep, &missing, err)) return false;
  if (missing) return invalid(err, "config.keep: a text of one ASCII character is wanted");
  if (!read_byte(config, "separator", &stage.separator, &no_separator, err)) return false;
  if (no_separator) stage.separator = '|';
  if (!read_byte(config, "busy", &stage.busy, &no_busy, err)) return false;
  stage.has_busy = !no_busy;
  return true;
}

bool exports_conveyor_stage_transform_plan(string_t *config, exports_conveyor_stage_transform_record_plan_t *ret,
                                           failure_t *err) {
  bool fits = configure(config, err);
  transform_stage_string_free(config);
  if (!fits) return false;
  ret->times = ret->keys = ret->headers = true;
  ret->outputs.ptr = grown(NULL, 2, sizeof *ret->outputs.ptr);
  ret->outputs.len = 2;
  transform_stage_string_dup(&ret->outputs.ptr[0], "main");
  transform_stage_string_dup(&ret->outputs.ptr[1], "deleted");
  return true;
}

bool exports_conveyor_stage_transform_open(string_t *config, failure_t *err) {
  stage.open = configure(config, err);
  transform_stage_string_free(config);
  if (!stage.open) return false;
  // What an import is given stays ours, so texts of the program do.
  string_t message;
  transform_stage_string_set(&message, "ready");
  transform_stage_tuple2_string_string_t field;
  transform_stage_string_set(&field.f0, "keep");
  field.f1 = (string_t){&stage.keep, 1};
  transform_stage_list_tuple2_string_string_t fields = {&field, 1};
  conveyor_stage_log_write(CONVEYOR_STAGE_LOG_LEVEL_INFO, &message, &fields);
  return true;
}

// A blob column that grows.
typedef struct {
  blobs_t column;
  size_t rows, valid_room, offsets_room, bytes_room;
} growing_t;

static void add_bytes(growing_t *to, const uint8_t *bytes, size_t length) {
  for (size_t i = 0; i < length; i++) PUSH(to->column.blobs.bytes, to->bytes_room, bytes[i]);
}

static void end_row(growing_t *to, bool is_there) {
  if (to->rows == 0) PUSH(to->column.blobs.offsets, to->offsets_room, 0);
  if (to->rows % 8 == 0) PUSH(to->column.valid.val, to->valid_room, 0);
  PUSH(to->column.blobs.offsets, to->offsets_room, (uint32_t)to->column.blobs.bytes.len);
  to->column.valid.is_some = true;
  to->column.valid.val.ptr[to->rows / 8] |= (uint8_t)(is_there << (to->rows % 8));
  to->rows++;
}

typedef struct {
  transform_stage_list_u32_t origins;
  transform_stage_list_s64_t times;
  growing_t keys, values;
  size_t origins_room, times_room;
} made_t;

static bool get(const blobs_t *column, size_t i, const uint8_t **bytes, size_t *length) {
  if (column->valid.is_some && !bit(column->valid.val.ptr, i)) return false;
  const uint32_t *offsets = column->blobs.offsets.ptr;
  *bytes = column->blobs.bytes.ptr + offsets[i];
  *length = offsets[i + 1] - offsets[i];
  return true;
}

static void split(const batch_t *input, uint32_t i, const uint8_t *value, size_t length, size_t at, made_t *made) {
  const uint8_t *key;
  size_t key_length;
  for (int part = 0; part < 2; part++) {
    PUSH(made->origins, made->origins_room, i);
    if (part == 0) add_bytes(&made->values, value, at);
    else add_bytes(&made->values, value + at + 1, length - at - 1);
    end_row(&made->values, true);
    if (input->times.is_some) PUSH(made->times, made->times_room, input->times.val.ptr[i] + part);
    if (input->keys.is_some) {
      bool is_there = get(&input->keys.val, i, &key, &key_length);
      if (is_there) add_bytes(&made->keys, key, key_length);
      if (is_there && part) add_bytes(&made->keys, (const uint8_t *)"/2", 2);
      end_row(&made->keys, is_there);
    }
  }
}

static void part_headers(size_t rows, conveyor_stage_records_headers_t *headers) {
  headers->names.ptr = grown(NULL, 1, sizeof *headers->names.ptr);
  headers->names.len = 1;
  transform_stage_string_dup(&headers->names.ptr[0], "part");
  headers->of.ptr = grown(NULL, rows, sizeof *headers->of.ptr);
  headers->name.ptr = grown(NULL, rows, sizeof *headers->name.ptr);
  headers->values.bytes.ptr = grown(NULL, rows, 1);
  headers->values.offsets.ptr = grown(NULL, rows + 1, sizeof *headers->values.offsets.ptr);
  headers->of.len = headers->name.len = headers->values.bytes.len = rows;
  headers->values.offsets.len = rows + 1;
  headers->values.offsets.ptr[rows] = (uint32_t)rows;
  for (size_t i = 0; i < rows; i++) {
    headers->of.ptr[i] = headers->values.offsets.ptr[i] = (uint32_t)i;
    headers->name.ptr[i] = 0;
    headers->values.bytes.ptr[i] = i % 2 ? '2' : '1';
  }
}

static void emit(conveyor_stage_outcomes_emission_t *emission, uint32_t port, uint32_t rows,
                 transform_stage_list_u32_t these, const made_t *made) {
  *emission = (conveyor_stage_outcomes_emission_t){.port = port};
  emission->forwarded.tag = these.len == 0      ? CONVEYOR_STAGE_OUTCOMES_FORWARDED_NOTHING
                            : these.len == rows ? CONVEYOR_STAGE_OUTCOMES_FORWARDED_ALL
                                                : CONVEYOR_STAGE_OUTCOMES_FORWARDED_THESE;
  if (emission->forwarded.tag == CONVEYOR_STAGE_OUTCOMES_FORWARDED_THESE) emission->forwarded.val.these = these;
  else free(these.ptr);
  if (!made || made->origins.len == 0) return;
  emission->made.is_some = true;
  conveyor_stage_outcomes_made_records_t *records = &emission->made.val;
  records->origins.tag = CONVEYOR_STAGE_OUTCOMES_ORIGINS_THESE;
  records->origins.val.these = made->origins;
  records->times.is_some = made->times.len > 0;
  records->times.val = made->times;
  records->keys.is_some = made->keys.rows > 0;
  records->keys.val = made->keys.column;
  records->headers.is_some = true;
  part_headers(made->origins.len, &records->headers.val);
  records->values = made->values.column;
}

static bool has_drop(const batch_t *input, uint32_t i, size_t *next) {
  const conveyor_stage_records_headers_t *headers = &input->headers.val;
  bool drop = false;
  if (!input->headers.is_some) return false;
  for (; *next < headers->of.len && headers->of.ptr[*next] == i; (*next)++) {
    const string_t *name = &headers->names.ptr[headers->name.ptr[*next]];
    drop |= name->len == 4 && !memcmp(name->ptr, "drop", 4);
  }
  return drop;
}

static bool retry(failure_t *err, uint32_t i) {
  char message[64];
  snprintf(message, sizeof message, "record %u asks for another try", (unsigned)i);
  err->tag = CONVEYOR_STAGE_OUTCOMES_FAILURE_RETRY;
  err->val.retry.after_ms = 250;
  transform_stage_string_dup(&err->val.retry.message, message);
  return false;
}

static bool process(const batch_t *input, conveyor_stage_outcomes_outcome_t *ret, failure_t *err) {
  transform_stage_list_u32_t main = {0}, deleted = {0};
  size_t main_room = 0, deleted_room = 0, rejections_room = 0, next_header = 0;
  made_t made = {0};
  *ret = (conveyor_stage_outcomes_outcome_t){0};
  for (uint32_t i = 0; i < input->rows; i++) {
    const uint8_t *value;
    size_t length;
    if (has_drop(input, i, &next_header)) continue;
    if (!get(&input->values, i, &value, &length)) {
      PUSH(deleted, deleted_room, i);
    } else if (length == 0) {
      conveyor_stage_outcomes_rejection_t rejection = {.of = i};
      transform_stage_string_dup(&rejection.code, "empty");
      transform_stage_string_dup(&rejection.message, "the value has no bytes");
      PUSH(ret->rejections, rejections_room, rejection);
    } else if (stage.has_busy && value[0] == stage.busy) {
      conveyor_stage_outcomes_emission_t unused[2];
      emit(&unused[0], 0, input->rows, main, &made);
      emit(&unused[1], 1, input->rows, deleted, NULL);
      for (int k = 0; k < 2; k++) conveyor_stage_outcomes_emission_free(&unused[k]);
      conveyor_stage_outcomes_list_rejection_free(&ret->rejections);
      return retry(err, i);
    } else if (value[0] == stage.keep) {
      const uint8_t *separator = memchr(value, stage.separator, length);
      if (separator) split(input, i, value, length, (size_t)(separator - value), &made);
      else PUSH(main, main_room, i);
    }
  }
  ret->emissions.len = deleted.len ? 2 : 1;
  ret->emissions.ptr = grown(NULL, ret->emissions.len, sizeof *ret->emissions.ptr);
  emit(&ret->emissions.ptr[0], 0, input->rows, main, &made);
  if (deleted.len) emit(&ret->emissions.ptr[1], 1, input->rows, deleted, NULL);
  return true;
}

// What is answered is freed by the bindings, after the host has read it. What comes in is ours to free.
bool exports_conveyor_stage_transform_process(batch_t *input, conveyor_stage_outcomes_outcome_t *ret,
                                              failure_t *err) {
  if (!stage.open) {
    err->tag = CONVEYOR_STAGE_OUTCOMES_FAILURE_FATAL;
    transform_stage_string_dup(&err->val.fatal, "process was called before open");
    return false;
  }
  bool done = process(input, ret, err);
  exports_conveyor_stage_transform_batch_free(input);
  return done;
}
