;; Gives up, in words that would clear the screen and change its title.
(module
  ;; include memory realloc about plan open outcome
  (data (i32.const 6600) "\1b[2J\1b]0;owned\07gone\c2\9b\0d")
  (func (export "conveyor:stage/transform@0.1.0#process") (param $input i32) (result i32)
    ;; err(fatal("..."))
    (i32.store8 (i32.const 4096) (i32.const 1))
    (i32.store (i32.const 4104) (i32.const 6600)) (i32.store (i32.const 4108) (i32.const 21))
    (i32.const 4096)))
