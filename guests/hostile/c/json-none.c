// Sets JSON that is none.
#define KIND CONVEYOR_STAGE_COLUMNS_KIND_JSONS
#define NULLABLE true
#include "table.h"

static void lie(emission_t *emission, uint32_t rows) {
  json(columns(emission, 1), rows, "{not json");
}
