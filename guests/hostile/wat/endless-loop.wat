;; Never comes back.
(module
  ;; include memory realloc about plan open outcome
  (func (export "conveyor:stage/transform@0.1.0#process") (param $input i32) (result i32)
    (loop $for_ever (br $for_ever))
    unreachable))
