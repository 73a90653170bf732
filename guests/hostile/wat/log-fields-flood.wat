;; Writes errors for ever, each with a hundred thousand fields.
(module
  (import "conveyor:stage/log@0.1.0" "write" (func $log (param i32 i32 i32 i32 i32)))
  ;; include memory realloc about plan open outcome
  (func (export "conveyor:stage/transform@0.1.0#process") (param $input i32) (result i32)
    (drop (memory.grow (i32.const 32)))
    (loop $for_ever
      (call $log (i32.const 4) (i32.const 6528) (i32.const 4) (i32.const 65536) (i32.const 100000))
      (br $for_ever))
    unreachable))
