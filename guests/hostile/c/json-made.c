// Makes rows with JSON that ends the row that it stands in and begins another.
#define KIND CONVEYOR_STAGE_COLUMNS_KIND_JSONS
#define NULLABLE true
#include "table.h"

static void lie(emission_t *emission, uint32_t rows) {
  (void)rows;
  json(made(emission, 2), 2, "1}\n{\"at\":666");
}
