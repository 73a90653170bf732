;; Has a list that begins in its memory and ends outside of it.
(module
  ;; include memory realloc about plan open outcome makes
  (func (export "conveyor:stage/transform@0.1.0#process") (param $input i32) (result i32)
    (call $makes (i32.const 1))
    (i32.store (i32.const 4364) (i32.const 131000)) (i32.store (i32.const 4368) (i32.const 1000))
    (call $outcome (i32.const 1))))
