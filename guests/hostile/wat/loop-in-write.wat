;; world: sink-stage
;; A sink that never comes back from `write`.
(module
  ;; include memory realloc about
  (func (export "conveyor:stage/sink@0.1.0#plan") (param i32 i32) (result i32) (i32.const 1280))
  (func (export "conveyor:stage/sink@0.1.0#open") (param i32 i32 i32 i32 i64 i32 i32) (result i32) (i32.const 1280))
  (func (export "conveyor:stage/sink@0.1.0#write") (param i32) (result i32)
    (loop $for_ever (br $for_ever))
    unreachable)
  (func (export "conveyor:stage/sink@0.1.0#prepare") (param i64) (result i32) (i32.const 4096))
  (func (export "conveyor:stage/sink@0.1.0#commit") (param i32 i32) (result i32) (i32.const 1280)))
