;; Makes two records and one time.
(module
  ;; include memory realloc about plan open outcome makes
  (func (export "conveyor:stage/transform@0.1.0#process") (param $input i32) (result i32)
    (call $makes (i32.const 2))
    (i32.store8 (i32.const 4256) (i32.const 1))
    (i32.store (i32.const 4260) (i32.const 6600)) (i32.store (i32.const 4264) (i32.const 1))
    (call $outcome (i32.const 1))))
