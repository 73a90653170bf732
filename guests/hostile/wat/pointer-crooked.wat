;; Has a list of 32-bit numbers at an odd address.
(module
  ;; include memory realloc about plan open outcome makes
  (func (export "conveyor:stage/transform@0.1.0#process") (param $input i32) (result i32)
    (call $makes (i32.const 1))
    (i32.store (i32.const 4248) (i32.const 6401))
    (call $outcome (i32.const 1))))
