;; Refuses its first record twice.
(module
  ;; include memory realloc about plan open outcome
  (func (export "conveyor:stage/transform@0.1.0#process") (param $input i32) (result i32)
    ;; One record alone it treats well.
    (if (i32.eq (i32.load (local.get $input)) (i32.const 1))
      (then (i32.store8 (i32.const 4228) (i32.const 1)) (return (call $outcome (i32.const 1)))))
    (i32.store (i32.const 5120) (i32.const 0))
    (i32.store (i32.const 5140) (i32.const 0))
    (call $rejecting (i32.const 0) (i32.const 2))))
