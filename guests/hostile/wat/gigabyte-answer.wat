;; Refuses its record 1024 times over, each time with the same MiB of text: a GiB, in 1 MiB of memory.
(module
  ;; include memory realloc about plan open outcome
  (func (export "conveyor:stage/transform@0.1.0#process") (param $input i32) (result i32)
    (local $i i32) (local $at i32)
    (drop (memory.grow (i32.const 16)))
    (memory.fill (i32.const 131072) (i32.const 120) (i32.const 1048576))
    (loop $next
      (local.set $at (i32.add (i32.const 5120) (i32.mul (local.get $i) (i32.const 20))))
      (i32.store offset=12 (local.get $at) (i32.const 131072))
      (i32.store offset=16 (local.get $at) (i32.const 1048576))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $i) (i32.const 1024))))
    (call $rejecting (i32.const 0) (i32.const 1024))))
