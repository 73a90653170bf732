;; Makes a record with 4000 headers of one name, which has 900 kB.
(module
  ;; include memory realloc about plan open outcome makes
  (func (export "conveyor:stage/transform@0.1.0#process") (param $input i32) (result i32)
    (call $makes (i32.const 1))
    (drop (memory.grow (i32.const 16)))
    ;; names: ["nnn..."], of: [0; 4000], name: [0; 4000], values: [""; 4000], where all is 0
    (memory.fill (i32.const 196608) (i32.const 110) (i32.const 900000))
    (i32.store8 (i32.const 4300) (i32.const 1))
    (i32.store (i32.const 6600) (i32.const 196608)) (i32.store (i32.const 6604) (i32.const 900000))
    (i32.store (i32.const 4304) (i32.const 6600)) (i32.store (i32.const 4308) (i32.const 1))
    (i32.store (i32.const 4312) (i32.const 163840)) (i32.store (i32.const 4316) (i32.const 4000))
    (i32.store (i32.const 4320) (i32.const 163840)) (i32.store (i32.const 4324) (i32.const 4000))
    (i32.store (i32.const 4328) (i32.const 163840)) (i32.store (i32.const 4332) (i32.const 4001))
    (memory.fill (i32.const 163840) (i32.const 0) (i32.const 16008))
    (call $outcome (i32.const 1))))
