;; Emits a hundred million times.
(module
  ;; include memory realloc about plan open outcome
  (func (export "conveyor:stage/transform@0.1.0#process") (param $input i32) (result i32)
    (i32.store8 (i32.const 4228) (i32.const 1))
    (call $outcome (i32.const 100000000))))
