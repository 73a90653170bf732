;; Makes nine keys, with a bitmap of one byte.
(module
  ;; include memory realloc about plan open outcome makes
  (func (export "conveyor:stage/transform@0.1.0#process") (param $input i32) (result i32)
    ;; Nine records without a value, each with an empty key.
    (call $makes (i32.const 9))
    (i32.store (i32.const 4356) (i32.const 6600)) (i32.store (i32.const 4368) (i32.const 0))
    (i32.store8 (i32.const 4268) (i32.const 1))
    (i32.store8 (i32.const 4272) (i32.const 1))
    (i32.store (i32.const 4276) (i32.const 6700)) (i32.store (i32.const 4280) (i32.const 1))
    (i32.store (i32.const 4284) (i32.const 6600)) (i32.store (i32.const 4288) (i32.const 10))
    (call $outcome (i32.const 1))))
