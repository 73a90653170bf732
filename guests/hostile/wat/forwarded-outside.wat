;; Forwards a record that did not come.
(module
  ;; include memory realloc about plan open outcome
  (func (export "conveyor:stage/transform@0.1.0#process") (param $input i32) (result i32)
    (i32.store8 (i32.const 4228) (i32.const 2))
    (i32.store (i32.const 4232) (i32.const 6600)) (i32.store (i32.const 4236) (i32.const 2))
    (i32.store (i32.const 6600) (i32.const 0))
    (i32.store (i32.const 6604) (i32.const 4000000000))
    (call $outcome (i32.const 1))))
