//! The stages that die when they are called, and what stops each.

use crate::cases::{Case, HOST_CALL_MS};

/// A test for each case, of its name.
macro_rules! cases {
    ($($name:ident: $case:expr;)*) => {
        $(#[test]
        fn $name() {
            $case.run();
        })*
    };
}

const LIST: &str = "list pointer/length out of bounds of memory";

// What never comes back.
cases! {
    endless_loop: Case::slow("endless-loop", "timed-out", "it ran for 150 ms");
    endless_loop_by_fuel: Case::instant("endless-loop", "out-of-fuel", "the call used up 2000000")
        .limits("fuel-per-record: 1M, fuel-per-batch: 1M");
    loop_in_realloc: Case::slow("loop-in-realloc", "timed-out", "it ran for 150 ms");
    loop_in_post_return: Case::slow("loop-in-post-return", "timed-out", "it ran for 150 ms");
    huge_copy: Case::slow("huge-copy", "timed-out", "it ran for 150 ms");
    huge_copy_by_fuel: Case::instant("huge-copy", "out-of-fuel", "the call used up");
    huge_fill: Case::slow("huge-fill", "timed-out", "it ran for 150 ms");
    wait_for_ever: Case::slow("wait-for-ever", "host-call-timed-out", "did not return within 100 ms")
        .deadline_ms(HOST_CALL_MS);
    wait_again_and_again: Case::slow("wait-again-and-again", "host-call-timed-out", "took more than 1200 ms together")
        .deadline_ms(12 * HOST_CALL_MS);
    host_call_flood: Case::slow("random-again", "timed-out", "it ran for 150 ms");
    log_flood: Case::slow("log-flood", "timed-out", "it ran for 150 ms");
    stdout_flood: Case::slow("stdout-flood", "timed-out", "it ran for 150 ms");
    table_grows_for_ever: Case::slow("table-grows-for-ever", "timed-out", "it ran for 150 ms");
}

// What takes too much.
cases! {
    memory_bomb: Case::instant("memory-bomb", "out-of-memory", "more than 33554432 bytes");
    memory_bomb_over_several: Case::instant("memory-bomb-several", "out-of-memory", "more than 33554432 bytes");
    hoard: Case::instant("column-hoard", "out-of-memory", "more than 33554432 bytes");
    table_bomb: Case::instant("table-bomb", "out-of-memory", "more than 2097152 bytes").memory(2 << 20);
    deep_recursion: Case::instant("deep-recursion", "stack-overflow", "deeper than 524288 bytes of stack");
    gigabyte_answer: Case::instant("gigabyte-answer", "output-too-large", "more than the 1048576 bytes");
    gigabyte_value: Case::instant("gigabyte-value", "bad-answer", LIST);
    column_too_long: Case::instant("column-too-long", "output-too-large", "more than the 1048576 bytes");
    ports_too_many: Case::instant("ports-too-many", "bad-answer", LIST);
    log_huge: Case::instant("log-huge", "host-call-too-large", "to one call into the host");
    log_fields_flood: Case::instant("log-fields-flood", "host-call-too-large", "to one call into the host");
    handles_leaked: Case::instant("handles-leaked", "too-many-resources", "more handles than it may");
    random_huge: Case::instant("random-huge", "trap", "requested len 1099511627776 exceeds limit 1048576");
    panic_loud: Case::instant("panic-loud", "trap", "panicked: \u{1b}[31mloud loud");
    trap_always: Case::instant("trap-always", "trap", "wasm `unreachable` instruction executed");
}

// What lies about its answer, in records.
cases! {
    answer_outside: Case::instant("answer-outside", "bad-answer", "pointer out of bounds of memory");
    offsets_backwards: Case::instant("offsets-backwards", "bad-answer", "offset 2 of the made values of port 0 is 2 after 9");
    offsets_outside: Case::instant("offsets-outside", "bad-answer", "end at 70000, it has 2 bytes");
    offsets_missing: Case::instant("offsets-missing", "bad-answer", "the made values of port 0 has 1 values for 2 rows");
    list_outside: Case::instant("list-outside", "bad-answer", LIST);
    pointer_wraps: Case::instant("pointer-wraps", "bad-answer", LIST);
    pointer_crooked: Case::instant("pointer-crooked", "bad-answer", "list pointer is not aligned");
    keys_bitmap_short: Case::instant("keys-bitmap-short", "bad-answer", "the bitmap of the made keys of port 0 has 1 bytes, 9 rows need 2");
    headers_of_nobody: Case::instant("headers-of-nobody", "bad-answer", "is of record 7 and name 0");
    times_too_few: Case::instant("times-too-few", "bad-answer", "the made times of port 0 has 1 values for 2 rows");
    forwarded_repeated: Case::instant("forwarded-repeated", "bad-answer", "forwarded[1] is 0 after 0");
    forwarded_outside: Case::instant("forwarded-outside", "bad-answer", "forwarded[1] names row 4000000000");
    forwarded_what: Case::instant("forwarded-what", "bad-answer", "unexpected discriminant: 9");
    origin_nowhere: Case::instant("origin-nowhere", "bad-answer", "origins[0] names row 70000");
    port_twice: Case::instant("port-twice", "bad-answer", "it emits twice by port 0");
    port_nowhere: Case::instant("port-nowhere", "bad-answer", "it emits by port 2, its plan has 2");
    held_too_many: Case::instant("held-too-many", "bad-answer", "it holds 3000000000 rows, and of 1 that came");
    rejected_nowhere: Case::instant("rejected-nowhere", "bad-answer", "it rejects record 2 of a batch of 1");
    message_no_utf8: Case::instant("message-no-utf8", "bad-answer", "invalid utf-8 sequence");
    realloc_liar: Case::instant("realloc-liar", "bad-answer", "realloc return: beyond end of memory");
    log_no_utf8: Case::instant("log-no-utf8", "trap", "invalid utf-8 sequence");
    log_outside: Case::instant("log-outside", "trap", "string pointer/length out of bounds of memory");
}

// What lies about its columns.
cases! {
    columns_missing: Case::instant("columns-missing", "bad-answer", "there are 0, the plan says 1");
    columns_too_many: Case::instant("columns-too-many", "bad-answer", "there are 3, the plan says 1");
    column_of_wrong_kind: Case::instant("column-of-wrong-kind", "bad-answer", "is s64s, the plan says texts (`x`)");
    column_too_short: Case::instant("column-too-short", "bad-answer", "has 0 values for 1 rows");
    column_bitmap_short: Case::instant("column-bitmap-short", "bad-answer", "an empty list for 1 rows");
    column_bitmap_long: Case::instant("column-bitmap-long", "bad-answer", "has 2 bytes, 1 rows need 1");
    column_null: Case::instant("column-null", "bad-answer", "the plan says that it always has one");
    column_no_utf8: Case::instant("column-no-utf8", "bad-answer", "value 0 of set column 0 of port 0 is not UTF-8");
    column_splits_utf8: Case::instant("column-splits-utf8", "bad-answer", "value 0 of set column 0 of port 0 is not UTF-8");
    dictionary_outside: Case::instant("dictionary-outside", "bad-answer", "is text 2 of 2");
    dictionary_offsets_backwards: Case::instant("dictionary-offsets-backwards", "bad-answer", "is 4 after 9");
}

// What stands for more than crosses, and what is slipped between the columns of a row.
cases! {
    dictionary_made: Case::instant("dictionary-made", "output-too-large", "the rows that it made stand for 2500");
    rows_made: Case::instant("rows-made", "output-too-large", "the rows that it made stand for 300").padded(12_000);
    header_names: Case::instant("header-names", "bad-answer", "the names of the made headers of port 0 have 3600000000 bytes");
    json_smuggles: Case::instant("json-smuggles", "bad-answer", "is not one JSON value: `1,\"at\":666`");
    json_none: Case::instant("json-none", "bad-answer", "is not one JSON value: `{not json`");
    json_empty: Case::instant("json-empty", "bad-answer", "value 0 of set column 0 of port 0 is not one JSON value: ``");
    json_made: Case::instant("json-made", "bad-answer", "value 0 of made column 0 of port 0 is not one JSON value");
    json_deep: Case::instant("json-deep", "bad-answer", "is not one JSON value: `[[[[");
}
