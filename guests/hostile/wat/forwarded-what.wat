;; Forwards in a way that the contract does not know.
(module
  ;; include memory realloc about plan open outcome
  (func (export "conveyor:stage/transform@0.1.0#process") (param $input i32) (result i32)
    (i32.store8 (i32.const 4228) (i32.const 9))
    (call $outcome (i32.const 1))))
