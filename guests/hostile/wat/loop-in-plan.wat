;; Never comes back from `plan`.
(module
  ;; include memory realloc about open outcome all
  (func (export "conveyor:stage/transform@0.1.0#plan") (param i32 i32) (result i32)
    (loop $for_ever (br $for_ever))
    unreachable))
