// Sets texts that are no UTF-8.
#define KIND CONVEYOR_STAGE_COLUMNS_KIND_TEXTS
#define NULLABLE true
#include "table.h"

static void lie(emission_t *emission, uint32_t rows) {
  column_t *set = columns(emission, 1);
  set->data.tag = CONVEYOR_STAGE_COLUMNS_DATA_TEXTS;
  set->data.val.texts = texts(rows, "\xff\xfe");
}
