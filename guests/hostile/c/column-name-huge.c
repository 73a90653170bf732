// Sets a column of which the name has 900 kB: it would stand in every row.
#define KIND CONVEYOR_STAGE_COLUMNS_KIND_S64S
#define NULLABLE true
#define NAME huge()
static const char *huge(void);
#include "table.h"

static const char *huge(void) {
  static char name[900001];
  memset(name, 'n', 900000);
  return name;
}

static void lie(emission_t *emission, uint32_t rows) {
  numbers(columns(emission, 1), rows);
}
