;; Never gives the host the memory that a batch is to lie in. Texts are short, so that only a batch is meant.
(module
  ;; include memory about plan open outcome all
  (global $calls (mut i32) (i32.const 0))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    ;; The config comes first, for `plan` and for `open`.
    (if (global.get $calls) (then (loop $for_ever (br $for_ever))))
    (global.set $calls (i32.const 1))
    (global.get $heap)))
