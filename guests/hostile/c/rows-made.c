// Makes 250,000 rows of its first one, all with what that one brought.
#define KIND CONVEYOR_STAGE_COLUMNS_KIND_BOOLS
#define NULLABLE true
#include "table.h"

static void lie(emission_t *emission, uint32_t rows) {
  (void)rows;
  column_t *set = made(emission, 250000);
  set->data.tag = CONVEYOR_STAGE_COLUMNS_DATA_BOOLS;
  set->data.val.bools.len = 31250;
  set->data.val.bools.ptr = grown(NULL, 31250, 1);
  memset(set->data.val.bools.ptr, 0, 31250);
}
