;; Gives a schema of its config that refers to itself, twice, and to nothing else.
(module
  ;; include memory realloc plan open outcome all
  (data (i32.const 2048) "hostile")
  (data (i32.const 8192) "{\22allOf\22:[{\22$ref\22:\22#\22},{\22$ref\22:\22#\22}]}")
  (func (export "conveyor:stage/about@0.1.0#describe") (result i32)
    (i32.store (i32.const 1024) (i32.const 2048)) (i32.store (i32.const 1028) (i32.const 7))
    (i32.store (i32.const 1048) (i32.const 8192)) (i32.store (i32.const 1052) (i32.const 37))
    (i32.const 1024)))
