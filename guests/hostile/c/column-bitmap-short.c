// Has a bitmap of validity of no byte.
#define KIND CONVEYOR_STAGE_COLUMNS_KIND_S64S
#define NULLABLE true
#include "table.h"

static void lie(emission_t *emission, uint32_t rows) {
  column_t *set = columns(emission, 1);
  numbers(set, rows);
  set->valid.is_some = true;
}
