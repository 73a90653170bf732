;; world: source-stage
;; Pulls a record of one offset, again and again, so that all have one id.
(module
  ;; include memory realloc about
  (data (i32.const 1216) "all")
  (func (export "conveyor:stage/source@0.1.0#splits") (param i32 i32) (result i32)
    (i32.store (i32.const 1132) (i32.const 1200)) (i32.store (i32.const 1136) (i32.const 1))
    (i32.store (i32.const 1200) (i32.const 1216)) (i32.store (i32.const 1204) (i32.const 3))
    (i32.const 1128))
  (func (export "conveyor:stage/source@0.1.0#open") (param i32 i32) (result i32) (i32.const 1280))
  (func (export "conveyor:stage/source@0.1.0#assign") (param i32 i32) (result i32) (i32.const 1280))
  (data (i32.const 6400) "\05\00\00\00\00\00\00\00")
  (data (i32.const 6464) "\00\00\00\00\01\00\00\00x")
  ;; ok(some(a batch and a place)): rows at 4104, of the values offsets at 4208 (+4) and bytes at 4216 (+4); the split
  ;; at 4224, offsets at 4228 (+4), whether it has ended at 4252.
  (func (export "conveyor:stage/source@0.1.0#pull") (param i32 i32 i32) (result i32)
    (i32.store8 (i32.const 4100) (i32.const 1))
    (i32.store (i32.const 4104) (i32.const 1))
    (i32.store (i32.const 4208) (i32.const 6464)) (i32.store (i32.const 4212) (i32.const 2))
    (i32.store (i32.const 4216) (i32.const 6472)) (i32.store (i32.const 4220) (i32.const 1))
    (i32.store (i32.const 4228) (i32.const 6400)) (i32.store (i32.const 4232) (i32.const 1))
    (i32.const 4096))
  (func (export "conveyor:stage/source@0.1.0#committed") (param i32 i32 i32) (result i32) (i32.const 1280)))
