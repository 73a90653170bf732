// Promises one column and sets three.
#define KIND CONVEYOR_STAGE_COLUMNS_KIND_S64S
#define NULLABLE true
#include "table.h"

static void lie(emission_t *emission, uint32_t rows) {
  column_t *set = columns(emission, 3);
  for (int i = 0; i < 3; i++) numbers(&set[i], rows);
}
