;; Logs what is no UTF-8.
(module
  (import "conveyor:stage/log@0.1.0" "write" (func $log (param i32 i32 i32 i32 i32)))
  ;; include memory realloc about plan open outcome
  (data (i32.const 6600) "\ff\fe\80")
  (func (export "conveyor:stage/transform@0.1.0#process") (param $input i32) (result i32)
    (call $log (i32.const 2) (i32.const 6600) (i32.const 3) (i32.const 0) (i32.const 0))
    unreachable))
