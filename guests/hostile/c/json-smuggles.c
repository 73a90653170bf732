// Sets JSON that brings a column with it which it may not set.
#define KIND CONVEYOR_STAGE_COLUMNS_KIND_JSONS
#define NULLABLE true
#include "table.h"

static void lie(emission_t *emission, uint32_t rows) {
  json(columns(emission, 1), rows, "1,\"at\":666");
}
