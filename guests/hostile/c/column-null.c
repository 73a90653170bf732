// Promises that there always is a value, and has none.
#define KIND CONVEYOR_STAGE_COLUMNS_KIND_S64S
#define NULLABLE false
#include "table.h"

static void lie(emission_t *emission, uint32_t rows) {
  column_t *set = columns(emission, 1);
  numbers(set, rows);
  set->valid.is_some = true;
  set->valid.val.len = (rows + 7) / 8;
  set->valid.val.ptr = grown(NULL, set->valid.val.len, 1);
  memset(set->valid.val.ptr, 0, set->valid.val.len);
}
