// Proof of the contract: the stage of tables. What it does stands in ../README.md.
#include <stdio.h>

#include "json.h"
#include "memory.h"
#include "table_transform_stage.h"

typedef table_transform_stage_string_t string_t;
typedef conveyor_stage_outcomes_failure_t failure_t;
typedef conveyor_stage_columns_field_t field_t;
typedef conveyor_stage_columns_column_t column_t;
typedef exports_conveyor_stage_table_transform_list_field_t fields_t;

static struct {
  bool open;
  double minimum;
} stage;

static void dup(string_t *to, const char *text) { table_transform_stage_string_dup(to, text); }

void exports_conveyor_stage_about_describe(exports_conveyor_stage_about_about_t *ret) {
  *ret = (exports_conveyor_stage_about_about_t){0};
  dup(&ret->name, "contract-table");
  dup(&ret->version, "0.1.0");
  dup(&ret->summary, "Keeps rows by their amount and names their region");
  dup(&ret->config_schema,
      "{\"type\":\"object\",\"required\":[\"minimum\"],"
      "\"properties\":{\"minimum\":{\"type\":\"number\"}},\"additionalProperties\":false}");
  ret->hints.ptr = grown(NULL, 1, sizeof *ret->hints.ptr);
  ret->hints.len = 1;
  dup(&ret->hints.ptr[0].f0, "language");
  dup(&ret->hints.ptr[0].f1, "c");
}

static bool invalid(failure_t *err, const char *message) {
  err->tag = CONVEYOR_STAGE_OUTCOMES_FAILURE_INVALID;
  dup(&err->val.invalid, message);
  return false;
}

static const field_t *find(const fields_t *input, const char *name) {
  for (size_t i = 0; i < input->len; i++) {
    const field_t *field = &input->ptr[i];
    if (field->name.len == strlen(name) && !memcmp(field->name.ptr, name, field->name.len)) return field;
  }
  return NULL;
}

static bool is_number(uint8_t kind) {
  return kind == CONVEYOR_STAGE_COLUMNS_KIND_S32S || kind == CONVEYOR_STAGE_COLUMNS_KIND_S64S ||
         kind == CONVEYOR_STAGE_COLUMNS_KIND_U64S || kind == CONVEYOR_STAGE_COLUMNS_KIND_F32S ||
         kind == CONVEYOR_STAGE_COLUMNS_KIND_F64S || kind == CONVEYOR_STAGE_COLUMNS_KIND_OPAQUE;
}

// Reads the config and looks at what comes; `nullable` is what the amounts are.
static bool configure(const string_t *config, const fields_t *input, bool *nullable, failure_t *err) {
  json_value_t minimum;
  if (!json_member(config->ptr, config->len, "minimum", &minimum))
    return invalid(err, "config: a JSON object is wanted");
  if (minimum.kind != JSON_NUMBER) return invalid(err, "config.minimum: a number is wanted");
  const field_t *amount = find(input, "amount"), *country = find(input, "country");
  if (!amount) return invalid(err, "input: there is no column amount");
  if (!country) return invalid(err, "input: there is no column country");
  if (!is_number(amount->kind)) return invalid(err, "input.amount: a number is wanted");
  if (country->kind != CONVEYOR_STAGE_COLUMNS_KIND_TEXTS && country->kind != CONVEYOR_STAGE_COLUMNS_KIND_DICTIONARIES)
    return invalid(err, "input.country: a text is wanted");
  stage.minimum = minimum.number;
  *nullable = amount->nullable;
  return true;
}

static field_t field(const char *name, uint8_t kind, bool nullable) {
  field_t field = {.kind = kind, .nullable = nullable};
  dup(&field.name, name);
  return field;
}

bool exports_conveyor_stage_table_transform_plan(string_t *config, fields_t *input,
                                                 exports_conveyor_stage_table_transform_table_plan_t *ret,
                                                 failure_t *err) {
  bool nullable, fits = configure(config, input, &nullable, err);
  table_transform_stage_string_free(config);
  exports_conveyor_stage_table_transform_list_field_free(input);
  if (!fits) return false;
  *ret = (exports_conveyor_stage_table_transform_table_plan_t){.times = true};
  ret->wanted.ptr = grown(NULL, 2, sizeof *ret->wanted.ptr);
  ret->wanted.len = 2;
  ret->wanted.ptr[0] = field("amount", CONVEYOR_STAGE_COLUMNS_KIND_F64S, nullable);
  ret->wanted.ptr[1] = field("country", CONVEYOR_STAGE_COLUMNS_KIND_TEXTS, true);
  ret->outputs.ptr = grown(NULL, 2, sizeof *ret->outputs.ptr);
  ret->outputs.len = 2;
  exports_conveyor_stage_table_transform_output_t *large = &ret->outputs.ptr[0], *small = &ret->outputs.ptr[1];
  *large = *small = (exports_conveyor_stage_table_transform_output_t){0};
  dup(&large->name, "large");
  large->set.ptr = grown(NULL, 1, sizeof *large->set.ptr);
  large->set.len = 1;
  large->set.ptr[0] = field("region", CONVEYOR_STAGE_COLUMNS_KIND_TEXTS, false);
  dup(&small->name, "small");
  small->select.is_some = true;
  small->select.val.ptr = grown(NULL, 2, sizeof *small->select.val.ptr);
  small->select.val.len = 2;
  dup(&small->select.val.ptr[0].name, "amount");
  dup(&small->select.val.ptr[0].column, "amount");
  dup(&small->select.val.ptr[1].name, "land");
  dup(&small->select.val.ptr[1].column, "country");
  return true;
}

bool exports_conveyor_stage_table_transform_open(string_t *config, fields_t *input, failure_t *err) {
  bool nullable;
  char columns[24];
  stage.open = configure(config, input, &nullable, err);
  snprintf(columns, sizeof columns, "%zu", input->len);
  table_transform_stage_string_free(config);
  exports_conveyor_stage_table_transform_list_field_free(input);
  if (!stage.open) return false;
  string_t message;
  table_transform_stage_string_set(&message, "ready");
  table_transform_stage_tuple2_string_string_t named;
  table_transform_stage_string_set(&named.f0, "columns");
  table_transform_stage_string_set(&named.f1, columns);
  table_transform_stage_list_tuple2_string_string_t fields = {&named, 1};
  conveyor_stage_log_write(CONVEYOR_STAGE_LOG_LEVEL_INFO, &message, &fields);
  return true;
}

// A column of texts that grows.
typedef struct {
  conveyor_stage_columns_varlen_t texts;
  size_t offsets_room, bytes_room;
} growing_t;

static void push(growing_t *to, const uint8_t *text, size_t length, bool upper) {
  if (to->texts.offsets.len == 0) PUSH(to->texts.offsets, to->offsets_room, 0);
  for (size_t i = 0; i < length; i++) {
    uint8_t c = text[i];
    PUSH(to->texts.bytes, to->bytes_room, upper && c >= 'a' && c <= 'z' ? (uint8_t)(c - 32) : c);
  }
  PUSH(to->texts.offsets, to->offsets_room, (uint32_t)to->texts.bytes.len);
}

static void set_column(conveyor_stage_outcomes_list_column_t *set, const growing_t *from) {
  set->ptr = grown(NULL, 1, sizeof *set->ptr);
  set->len = 1;
  set->ptr[0] = (column_t){.data.tag = CONVEYOR_STAGE_COLUMNS_DATA_TEXTS};
  set->ptr[0].data.val.texts = from->texts;
}

static void forward(conveyor_stage_outcomes_forwarded_t *forwarded, uint32_t rows,
                    table_transform_stage_list_u32_t these) {
  forwarded->tag = these.len == 0      ? CONVEYOR_STAGE_OUTCOMES_FORWARDED_NOTHING
                   : these.len == rows ? CONVEYOR_STAGE_OUTCOMES_FORWARDED_ALL
                                       : CONVEYOR_STAGE_OUTCOMES_FORWARDED_THESE;
  if (forwarded->tag == CONVEYOR_STAGE_OUTCOMES_FORWARDED_THESE) forwarded->val.these = these;
  else free(these.ptr);
}

// What leaves by port `large`.
typedef struct {
  table_transform_stage_list_u32_t rows, origins;
  table_transform_stage_list_s64_t times;
  growing_t regions, made_regions;
  size_t rows_room, origins_room, times_room;
} large_t;

// One row for each part of a country between plus signs.
static void explode(const conveyor_stage_tables_table_t *input, uint32_t i, const uint8_t *text, size_t length,
                    large_t *large) {
  int64_t part = 0;
  for (size_t start = 0; start <= length; part++) {
    const uint8_t *plus = memchr(text + start, '+', length - start);
    size_t end = plus ? (size_t)(plus - text) : length;
    PUSH(large->origins, large->origins_room, i);
    push(&large->made_regions, text + start, end - start, true);
    if (input->times.is_some) PUSH(large->times, large->times_room, input->times.val.ptr[i] + part);
    start = end + 1;
  }
}

static void keep(const conveyor_stage_tables_table_t *input, uint32_t i, large_t *large) {
  const column_t *countries = &input->columns.ptr[1];
  if (countries->valid.is_some && !bit(countries->valid.val.ptr, i)) {
    PUSH(large->rows, large->rows_room, i);
    push(&large->regions, (const uint8_t *)"unknown", 7, false);
    return;
  }
  const uint32_t *offsets = countries->data.val.texts.offsets.ptr;
  const uint8_t *text = countries->data.val.texts.bytes.ptr + offsets[i];
  size_t length = offsets[i + 1] - offsets[i];
  if (memchr(text, '+', length)) {
    explode(input, i, text, length, large);
  } else {
    PUSH(large->rows, large->rows_room, i);
    push(&large->regions, text, length, true);
  }
}

static bool fatal(failure_t *err, const char *message) {
  err->tag = CONVEYOR_STAGE_OUTCOMES_FAILURE_FATAL;
  dup(&err->val.fatal, message);
  return false;
}

bool exports_conveyor_stage_table_transform_process(conveyor_stage_tables_table_t *input,
                                                    conveyor_stage_outcomes_table_outcome_t *ret, failure_t *err) {
  if (!stage.open) return fatal(err, "process was called before open");
  if (input->columns.len != 2 || input->columns.ptr[0].data.tag != CONVEYOR_STAGE_COLUMNS_DATA_F64S ||
      input->columns.ptr[1].data.tag != CONVEYOR_STAGE_COLUMNS_DATA_TEXTS)
    return fatal(err, "the columns that come are not those of the plan");
  const column_t *amounts = &input->columns.ptr[0];
  table_transform_stage_list_u32_t small = {0};
  size_t small_room = 0, rejections_room = 0;
  large_t large = {0};
  *ret = (conveyor_stage_outcomes_table_outcome_t){0};
  for (uint32_t i = 0; i < input->rows; i++) {
    double amount = amounts->data.val.f64s.ptr[i];
    bool is_there = !amounts->valid.is_some || bit(amounts->valid.val.ptr, i);
    if (!is_there || amount < 0) {
      conveyor_stage_outcomes_rejection_t rejection = {.of = i};
      dup(&rejection.code, is_there ? "negative-amount" : "no-amount");
      dup(&rejection.message, is_there ? "amount is negative" : "amount is null");
      PUSH(ret->rejections, rejections_room, rejection);
    } else if (amount >= stage.minimum) {
      keep(input, i, &large);
    } else {
      PUSH(small, small_room, i);
    }
  }
  ret->emissions.len = small.len ? 2 : 1;
  ret->emissions.ptr = grown(NULL, ret->emissions.len, sizeof *ret->emissions.ptr);
  conveyor_stage_outcomes_table_emission_t *emission = &ret->emissions.ptr[0];
  *emission = (conveyor_stage_outcomes_table_emission_t){.port = 0};
  forward(&emission->forwarded, input->rows, large.rows);
  set_column(&emission->set, &large.regions);
  if (large.origins.len) {
    emission->made.is_some = true;
    emission->made.val.origins.tag = CONVEYOR_STAGE_OUTCOMES_ORIGINS_THESE;
    emission->made.val.origins.val.these = large.origins;
    emission->made.val.times.is_some = large.times.len > 0;
    emission->made.val.times.val = large.times;
    set_column(&emission->made.val.set, &large.made_regions);
  }
  if (small.len) {
    ret->emissions.ptr[1] = (conveyor_stage_outcomes_table_emission_t){.port = 1};
    forward(&ret->emissions.ptr[1].forwarded, input->rows, small);
  }
  conveyor_stage_tables_table_free(input);
  return true;
}
