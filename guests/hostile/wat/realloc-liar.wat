;; Gives the host memory that it has not.
(module
  ;; include memory about plan open outcome all
  (global $calls (mut i32) (i32.const 0))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    ;; The config comes first, for `plan` and for `open`.
    (if (global.get $calls) (then (return (i32.const 0x7fff0000))))
    (global.set $calls (i32.const 1))
    (global.get $heap)))
