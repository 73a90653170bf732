;; world: sink-stage
;; A sink that wants another try of every `commit`, at once.
(module
  ;; include memory realloc about
  (data (i32.const 6600) "no")
  ;; ok(a plan that commits)
  (func (export "conveyor:stage/sink@0.1.0#plan") (param i32 i32) (result i32)
    (i32.store8 (i32.const 4104) (i32.const 1))
    (i32.const 4096))
  (func (export "conveyor:stage/sink@0.1.0#open") (param i32 i32 i32 i32 i64 i32 i32) (result i32) (i32.const 1280))
  (func (export "conveyor:stage/sink@0.1.0#write") (param i32) (result i32) (i32.const 4128))
  (func (export "conveyor:stage/sink@0.1.0#prepare") (param i64) (result i32) (i32.const 4128))
  (func (export "conveyor:stage/sink@0.1.0#commit") (param i32 i32) (result i32)
    ;; err(retry { after-ms: 0, message: "no" })
    (i32.store8 (i32.const 4160) (i32.const 1)) (i32.store8 (i32.const 4164) (i32.const 2))
    (i32.store (i32.const 4172) (i32.const 6600)) (i32.store (i32.const 4176) (i32.const 2))
    (i32.const 4160)))
