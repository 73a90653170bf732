;; The same over four memories, none of which is large.
(module
  ;; include memory realloc about plan open outcome
  (memory $b 1)
  (memory $c 1)
  (memory $d 1)
  (func (export "conveyor:stage/transform@0.1.0#process") (param $input i32) (result i32)
    (local $page i32)
    (loop $for_ever
      (local.set $page (memory.grow $b (i32.const 4)))
      (if (i32.eq (local.get $page) (i32.const -1)) (then unreachable))
      (memory.fill $b (i32.mul (local.get $page) (i32.const 65536)) (i32.const 7) (i32.const 262144))
      (local.set $page (memory.grow $c (i32.const 4)))
      (if (i32.eq (local.get $page) (i32.const -1)) (then unreachable))
      (memory.fill $c (i32.mul (local.get $page) (i32.const 65536)) (i32.const 7) (i32.const 262144))
      (local.set $page (memory.grow $d (i32.const 4)))
      (if (i32.eq (local.get $page) (i32.const -1)) (then unreachable))
      (memory.fill $d (i32.mul (local.get $page) (i32.const 65536)) (i32.const 7) (i32.const 262144))
      (br $for_ever))
    unreachable))
