;; Never comes back from `open`.
(module
  ;; include memory realloc about plan outcome all
  (func (export "conveyor:stage/transform@0.1.0#open") (param i32 i32) (result i32)
    (loop $for_ever (br $for_ever))
    unreachable))
