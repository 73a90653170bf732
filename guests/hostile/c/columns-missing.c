// Promises a column and sets none.
#define KIND CONVEYOR_STAGE_COLUMNS_KIND_S64S
#define NULLABLE true
#include "table.h"

static void lie(emission_t *emission, uint32_t rows) {
  (void)emission;
  (void)rows;
}
