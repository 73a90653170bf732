;; Holds more records than came in.
(module
  ;; include memory realloc about plan open outcome
  (func (export "conveyor:stage/transform@0.1.0#process") (param $input i32) (result i32)
    (i32.store (i32.const 4116) (i32.const 3000000000))
    (call $outcome (i32.const 0))))
