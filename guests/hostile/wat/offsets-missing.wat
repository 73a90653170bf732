;; Makes two records, and has one offset too few.
(module
  ;; include memory realloc about plan open outcome makes
  (func (export "conveyor:stage/transform@0.1.0#process") (param $input i32) (result i32)
    (call $makes (i32.const 2))
    (i32.store (i32.const 4360) (i32.const 2))
    (call $outcome (i32.const 1))))
