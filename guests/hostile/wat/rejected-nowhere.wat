;; Refuses a record that did not come.
(module
  ;; include memory realloc about plan open outcome
  (func (export "conveyor:stage/transform@0.1.0#process") (param $input i32) (result i32)
    (i32.store (i32.const 5120) (i32.const 2))
    (call $rejecting (i32.const 0) (i32.const 1))))
