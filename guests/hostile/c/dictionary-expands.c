// Sets a dictionary with one text of 900 kB for all its rows: a MB that stands for gigabytes.
#define KIND CONVEYOR_STAGE_COLUMNS_KIND_DICTIONARIES
#define NULLABLE true
#include "table.h"

static void lie(emission_t *emission, uint32_t rows) {
  one_text(columns(emission, 1), rows, 900000);
}
