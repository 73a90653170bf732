;; Has a port of which the name has a line break and an escape of a terminal in it.
(module
  ;; include memory realloc about open outcome all
  (data (i32.const 1216) "main\n\1b[2Jdone")
  (func (export "conveyor:stage/transform@0.1.0#plan") (param i32 i32) (result i32)
    (i32.store (i32.const 1136) (i32.const 1200)) (i32.store (i32.const 1140) (i32.const 1))
    (i32.store (i32.const 1200) (i32.const 1216)) (i32.store (i32.const 1204) (i32.const 13))
    (i32.const 1128)))
