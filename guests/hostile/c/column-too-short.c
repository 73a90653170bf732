// Sets a value less than there are rows.
#define KIND CONVEYOR_STAGE_COLUMNS_KIND_S64S
#define NULLABLE true
#include "table.h"

static void lie(emission_t *emission, uint32_t rows) {
  numbers(columns(emission, 1), rows - 1);
}
