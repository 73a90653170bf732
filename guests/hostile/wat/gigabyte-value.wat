;; Makes one record, of which it says that it has a GiB.
(module
  ;; include memory realloc about plan open outcome
  (func (export "conveyor:stage/transform@0.1.0#process") (param $input i32) (result i32)
    (i32.store8 (i32.const 4240) (i32.const 1))
    (i32.store8 (i32.const 4244) (i32.const 1))
    (i32.store (i32.const 6004) (i32.const 1073741824))
    (i32.store (i32.const 4356) (i32.const 6000)) (i32.store (i32.const 4360) (i32.const 2))
    (i32.store (i32.const 4364) (i32.const 0)) (i32.store (i32.const 4368) (i32.const 1073741824))
    (call $outcome (i32.const 1))))
