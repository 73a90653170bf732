;; Makes a header of a record that it did not make.
(module
  ;; include memory realloc about plan open outcome makes
  (func (export "conveyor:stage/transform@0.1.0#process") (param $input i32) (result i32)
    (call $makes (i32.const 1))
    (i32.store8 (i32.const 4300) (i32.const 1))
    ;; names: ["a"], of: [7], name: [0], values: [""]
    (i32.store (i32.const 6600) (i32.const 6528)) (i32.store (i32.const 6604) (i32.const 1))
    (i32.store (i32.const 6608) (i32.const 7))
    (i32.store (i32.const 4304) (i32.const 6600)) (i32.store (i32.const 4308) (i32.const 1))
    (i32.store (i32.const 4312) (i32.const 6608)) (i32.store (i32.const 4316) (i32.const 1))
    (i32.store (i32.const 4320) (i32.const 6700)) (i32.store (i32.const 4324) (i32.const 1))
    (i32.store (i32.const 4328) (i32.const 6704)) (i32.store (i32.const 4332) (i32.const 2))
    (call $outcome (i32.const 1))))
