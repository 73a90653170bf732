// What the stages of tables here have in common: each forwards what comes and sets one column, `x`, about which it
// lies. A stage says with KIND and NULLABLE what its plan promises, and answers something else in `lie`; with NAME, it
// calls the column something else.
#include "memory.h"
#include "table_transform_stage.h"

#ifndef NAME
#define NAME "x"
#endif

typedef conveyor_stage_outcomes_table_emission_t emission_t;
typedef conveyor_stage_columns_column_t column_t;
typedef conveyor_stage_columns_varlen_t varlen_t;
typedef conveyor_stage_outcomes_failure_t failure_t;
typedef exports_conveyor_stage_table_transform_list_field_t fields_t;

static void dup(table_transform_stage_string_t *to, const char *text) { table_transform_stage_string_dup(to, text); }

void exports_conveyor_stage_about_describe(exports_conveyor_stage_about_about_t *ret) {
  *ret = (exports_conveyor_stage_about_about_t){0};
  dup(&ret->name, "hostile");
  dup(&ret->version, "0.1.0");
  dup(&ret->summary, "a stage that means no good");
}

bool exports_conveyor_stage_table_transform_plan(table_transform_stage_string_t *config, fields_t *input,
                                                 exports_conveyor_stage_table_transform_table_plan_t *ret,
                                                 failure_t *err) {
  (void)err;
  table_transform_stage_string_free(config);
  exports_conveyor_stage_table_transform_list_field_free(input);
  *ret = (exports_conveyor_stage_table_transform_table_plan_t){0};
  ret->outputs.len = 1;
  ret->outputs.ptr = grown(NULL, 1, sizeof *ret->outputs.ptr);
  exports_conveyor_stage_table_transform_output_t *output = &ret->outputs.ptr[0];
  *output = (exports_conveyor_stage_table_transform_output_t){0};
  dup(&output->name, "main");
  output->set.len = 1;
  output->set.ptr = grown(NULL, 1, sizeof *output->set.ptr);
  output->set.ptr[0] = (conveyor_stage_columns_field_t){.kind = KIND, .nullable = NULLABLE};
  dup(&output->set.ptr[0].name, NAME);
  return true;
}

bool exports_conveyor_stage_table_transform_open(table_transform_stage_string_t *config, fields_t *input,
                                                 failure_t *err) {
  (void)err;
  table_transform_stage_string_free(config);
  exports_conveyor_stage_table_transform_list_field_free(input);
  return true;
}

// What the stage sets.
static void lie(emission_t *emission, uint32_t rows);

bool exports_conveyor_stage_table_transform_process(conveyor_stage_tables_table_t *input,
                                                    conveyor_stage_outcomes_table_outcome_t *ret, failure_t *err) {
  (void)err;
  *ret = (conveyor_stage_outcomes_table_outcome_t){0};
  ret->emissions.len = 1;
  ret->emissions.ptr = grown(NULL, 1, sizeof *ret->emissions.ptr);
  ret->emissions.ptr[0] = (emission_t){0};
  ret->emissions.ptr[0].forwarded.tag = CONVEYOR_STAGE_OUTCOMES_FORWARDED_ALL;
  lie(&ret->emissions.ptr[0], input->rows);
  conveyor_stage_tables_table_free(input);
  return true;
}

// `count` columns, all zero.
__attribute__((unused)) static column_t *columns(emission_t *emission, size_t count) {
  emission->set.len = count;
  emission->set.ptr = grown(NULL, count, sizeof *emission->set.ptr);
  memset(emission->set.ptr, 0, count * sizeof *emission->set.ptr);
  return emission->set.ptr;
}

// A column of numbers with `values` of them.
__attribute__((unused)) static void numbers(column_t *column, size_t values) {
  column->data.tag = CONVEYOR_STAGE_COLUMNS_DATA_S64S;
  column->data.val.s64s.len = values;
  column->data.val.s64s.ptr = grown(NULL, values, sizeof(int64_t));
  memset(column->data.val.s64s.ptr, 0, values * sizeof(int64_t));
}

// `rows` times the same text.
__attribute__((unused)) static varlen_t texts(size_t rows, const char *text) {
  size_t length = strlen(text);
  varlen_t list = {0};
  list.offsets.len = rows + 1;
  list.offsets.ptr = grown(NULL, rows + 1, sizeof(uint32_t));
  list.bytes.len = rows * length;
  list.bytes.ptr = grown(NULL, rows * length, 1);
  for (size_t i = 0; i <= rows; i++) list.offsets.ptr[i] = (uint32_t)(i * length);
  for (size_t i = 0; i < rows; i++) memcpy(list.bytes.ptr + i * length, text, length);
  return list;
}

// Rows in place of what came, all made of the first that did. Gives the one column that they set.
__attribute__((unused)) static column_t *made(emission_t *emission, size_t rows) {
  emission->forwarded.tag = CONVEYOR_STAGE_OUTCOMES_FORWARDED_NOTHING;
  emission->made.is_some = true;
  emission->made.val.origins.tag = CONVEYOR_STAGE_OUTCOMES_ORIGINS_THESE;
  emission->made.val.origins.val.these.len = rows;
  emission->made.val.origins.val.these.ptr = grown(NULL, rows, sizeof(uint32_t));
  memset(emission->made.val.origins.val.these.ptr, 0, rows * sizeof(uint32_t));
  emission->made.val.set.len = 1;
  emission->made.val.set.ptr = grown(NULL, 1, sizeof(column_t));
  memset(emission->made.val.set.ptr, 0, sizeof(column_t));
  return emission->made.val.set.ptr;
}

// One text of `bytes` bytes, for all `rows`.
__attribute__((unused)) static void one_text(column_t *column, size_t rows, size_t bytes) {
  char *text = grown(NULL, bytes + 1, 1);
  memset(text, 'w', bytes);
  text[bytes] = 0;
  column->data.tag = CONVEYOR_STAGE_COLUMNS_DATA_DICTIONARIES;
  column->data.val.dictionaries.texts = texts(1, text);
  free(text);
  column->data.val.dictionaries.indices.len = rows;
  column->data.val.dictionaries.indices.ptr = grown(NULL, rows, sizeof(uint32_t));
  memset(column->data.val.dictionaries.indices.ptr, 0, rows * sizeof(uint32_t));
}

// The same text of JSON for all rows.
__attribute__((unused)) static void json(column_t *column, size_t rows, const char *text) {
  column->data.tag = CONVEYOR_STAGE_COLUMNS_DATA_JSONS;
  column->data.val.jsons = texts(rows, text);
}
