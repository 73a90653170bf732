;; Makes records whose offsets go backwards.
(module
  ;; include memory realloc about plan open outcome makes
  (func (export "conveyor:stage/transform@0.1.0#process") (param $input i32) (result i32)
    (call $makes (i32.const 2))
    (i32.store (i32.const 6468) (i32.const 9))
    (call $outcome (i32.const 1))))
