;; Emits by a port that its plan has not.
(module
  ;; include memory realloc about plan open outcome
  (func (export "conveyor:stage/transform@0.1.0#process") (param $input i32) (result i32)
    (i32.store (i32.const 4224) (i32.const 2))
    (i32.store8 (i32.const 4228) (i32.const 1))
    (call $outcome (i32.const 1))))
