// Promises texts and sets numbers.
#define KIND CONVEYOR_STAGE_COLUMNS_KIND_TEXTS
#define NULLABLE true
#include "table.h"

static void lie(emission_t *emission, uint32_t rows) {
  numbers(columns(emission, 1), rows);
}
