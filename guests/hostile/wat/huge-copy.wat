;; Copies 16 MiB from one place to another, again and again: few instructions, much work.
(module
  ;; include memory realloc about plan open outcome
  (func (export "conveyor:stage/transform@0.1.0#process") (param $input i32) (result i32)
    (drop (memory.grow (i32.const 384)))
    (loop $for_ever
      (memory.copy (i32.const 65536) (i32.const 8454144) (i32.const 16711680))
      (br $for_ever))
    unreachable))
