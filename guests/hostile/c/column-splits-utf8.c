// Sets texts that are UTF-8 together, and not one by one: an offset lies inside of a character.
#define KIND CONVEYOR_STAGE_COLUMNS_KIND_TEXTS
#define NULLABLE true
#include "table.h"

static void lie(emission_t *emission, uint32_t rows) {
  column_t *set = columns(emission, 1);
  set->data.tag = CONVEYOR_STAGE_COLUMNS_DATA_TEXTS;
  set->data.val.texts = texts(rows, "\xc3\xa9");
  set->data.val.texts.offsets.ptr[1] = 1;
}
