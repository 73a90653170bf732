;; Makes two records, the first of them from the second that came.
(module
  ;; include memory realloc about plan open outcome makes
  (func (export "conveyor:stage/transform@0.1.0#process") (param $input i32) (result i32)
    ;; One record alone it treats well.
    (if (i32.eq (i32.load (local.get $input)) (i32.const 1))
      (then (i32.store8 (i32.const 4228) (i32.const 1)) (return (call $outcome (i32.const 1)))))
    (call $makes (i32.const 2))
    (i32.store (i32.const 6400) (i32.const 1))
    (call $outcome (i32.const 1))))
