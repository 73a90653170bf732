;; world: source-stage
;; Never comes back from `pull`.
(module
  ;; include memory realloc about
  (data (i32.const 1216) "all")
  (func (export "conveyor:stage/source@0.1.0#splits") (param i32 i32) (result i32)
    (i32.store (i32.const 1132) (i32.const 1200)) (i32.store (i32.const 1136) (i32.const 1))
    (i32.store (i32.const 1200) (i32.const 1216)) (i32.store (i32.const 1204) (i32.const 3))
    (i32.const 1128))
  (func (export "conveyor:stage/source@0.1.0#open") (param i32 i32) (result i32) (i32.const 1280))
  (func (export "conveyor:stage/source@0.1.0#assign") (param i32 i32) (result i32) (i32.const 1280))
  (func (export "conveyor:stage/source@0.1.0#pull") (param i32 i32 i32) (result i32)
    (loop $for_ever (br $for_ever))
    unreachable)
  (func (export "conveyor:stage/source@0.1.0#committed") (param i32 i32 i32) (result i32) (i32.const 1280)))
