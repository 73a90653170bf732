;; Has a port of which the name has 900,000 characters.
(module
  ;; include memory realloc about open outcome all
  (func (export "conveyor:stage/transform@0.1.0#plan") (param i32 i32) (result i32)
    (drop (memory.grow (i32.const 16)))
    (memory.fill (i32.const 131072) (i32.const 120) (i32.const 900000))
    (i32.store (i32.const 1136) (i32.const 1200)) (i32.store (i32.const 1140) (i32.const 1))
    (i32.store (i32.const 1200) (i32.const 131072)) (i32.store (i32.const 1204) (i32.const 900000))
    (i32.const 1128)))
