;; Refuses a record with a message that is no UTF-8.
(module
  ;; include memory realloc about plan open outcome
  (data (i32.const 6600) "\ff\fe\80abc")
  (func (export "conveyor:stage/transform@0.1.0#process") (param $input i32) (result i32)
    (i32.store (i32.const 5132) (i32.const 6600)) (i32.store (i32.const 5136) (i32.const 6))
    (call $rejecting (i32.const 0) (i32.const 1))))
