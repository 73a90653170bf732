;; Writes log lines for ever, with escapes of a terminal in them.
(module
  (import "conveyor:stage/log@0.1.0" "write" (func $log (param i32 i32 i32 i32 i32)))
  ;; include memory realloc about plan open outcome
  (data (i32.const 6600) "\1b[2J\1b[1;31mwet\0d")
  (func (export "conveyor:stage/transform@0.1.0#process") (param $input i32) (result i32)
    (loop $for_ever
      (call $log (i32.const 2) (i32.const 6600) (i32.const 15) (i32.const 0) (i32.const 0))
      (br $for_ever))
    unreachable))
