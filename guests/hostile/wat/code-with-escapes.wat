;; Refuses its record with a code that would clear the screen.
(module
  ;; include memory realloc about plan open outcome
  (data (i32.const 6600) "\1b[2Jbad\0a")
  (func (export "conveyor:stage/transform@0.1.0#process") (param $input i32) (result i32)
    (i32.store (i32.const 5124) (i32.const 6600)) (i32.store (i32.const 5128) (i32.const 8))
    (call $rejecting (i32.const 0) (i32.const 1))))
