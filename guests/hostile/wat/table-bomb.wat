;; Takes room in eight tables, until it gets no more.
(module
  ;; include memory realloc about plan open outcome
  (table $a 1 funcref) (table $b 1 funcref) (table $c 1 funcref) (table $d 1 funcref)
  (table $e 1 funcref) (table $f 1 funcref) (table $g 1 funcref) (table $h 1 funcref)
  (func (export "conveyor:stage/transform@0.1.0#process") (param $input i32) (result i32)
    (loop $for_ever
      (if (i32.eq (table.grow $a (ref.null func) (i32.const 5000)) (i32.const -1)) (then unreachable))
      (if (i32.eq (table.grow $b (ref.null func) (i32.const 5000)) (i32.const -1)) (then unreachable))
      (if (i32.eq (table.grow $c (ref.null func) (i32.const 5000)) (i32.const -1)) (then unreachable))
      (if (i32.eq (table.grow $d (ref.null func) (i32.const 5000)) (i32.const -1)) (then unreachable))
      (if (i32.eq (table.grow $e (ref.null func) (i32.const 5000)) (i32.const -1)) (then unreachable))
      (if (i32.eq (table.grow $f (ref.null func) (i32.const 5000)) (i32.const -1)) (then unreachable))
      (if (i32.eq (table.grow $g (ref.null func) (i32.const 5000)) (i32.const -1)) (then unreachable))
      (if (i32.eq (table.grow $h (ref.null func) (i32.const 5000)) (i32.const -1)) (then unreachable))
      (br $for_ever))
    unreachable))
