;; Asks for ever more room in one table, and does not mind that it gets none.
(module
  ;; include memory realloc about plan open outcome
  (table $a 1 funcref)
  (func (export "conveyor:stage/transform@0.1.0#process") (param $input i32) (result i32)
    (loop $for_ever
      (drop (table.grow $a (ref.null func) (i32.const 1000000)))
      (br $for_ever))
    unreachable))
