// Sets indices of texts that its dictionary has not.
#define KIND CONVEYOR_STAGE_COLUMNS_KIND_DICTIONARIES
#define NULLABLE true
#include "table.h"

static void lie(emission_t *emission, uint32_t rows) {
  column_t *set = columns(emission, 1);
  set->data.tag = CONVEYOR_STAGE_COLUMNS_DATA_DICTIONARIES;
  set->data.val.dictionaries.texts = texts(2, "ab");
  set->data.val.dictionaries.indices.len = rows;
  set->data.val.dictionaries.indices.ptr = grown(NULL, rows, sizeof(uint32_t));
  for (uint32_t i = 0; i < rows; i++) set->data.val.dictionaries.indices.ptr[i] = i + 2;
}
