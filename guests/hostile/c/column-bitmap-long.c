// Has a bitmap of validity with a byte too many.
#define KIND CONVEYOR_STAGE_COLUMNS_KIND_S64S
#define NULLABLE true
#include "table.h"

static void lie(emission_t *emission, uint32_t rows) {
  column_t *set = columns(emission, 1);
  numbers(set, rows);
  set->valid.is_some = true;
  set->valid.val.len = (rows + 7) / 8 + 1;
  set->valid.val.ptr = grown(NULL, set->valid.val.len, 1);
  memset(set->valid.val.ptr, 255, set->valid.val.len);
}
