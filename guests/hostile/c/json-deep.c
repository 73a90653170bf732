// Sets JSON in which 100,000 lists lie inside one another.
#define KIND CONVEYOR_STAGE_COLUMNS_KIND_JSONS
#define NULLABLE true
#include "table.h"

static void lie(emission_t *emission, uint32_t rows) {
  static char text[200002];
  memset(text, '[', 100000);
  memset(text + 100000, ']', 100000);
  json(columns(emission, 1), rows, text);
}
