// Makes 50,000 rows, all with the one text of its dictionary: 25 GB in a MB.
#define KIND CONVEYOR_STAGE_COLUMNS_KIND_DICTIONARIES
#define NULLABLE true
#include "table.h"

static void lie(emission_t *emission, uint32_t rows) {
  (void)rows;
  one_text(made(emission, 50000), 50000, 500000);
}
