;; Gives a schema with a pattern that has to be tried in ever more ways.
(module
  ;; include memory realloc plan open outcome all
  (data (i32.const 2048) "hostile")
  (data (i32.const 8192) "{\22properties\22:{\22a\22:{\22type\22:\22string\22,\22pattern\22:\22^(?=(a+)+$)(a|aa|a.)*b$\22}}}")
  (func (export "conveyor:stage/about@0.1.0#describe") (result i32)
    (i32.store (i32.const 1024) (i32.const 2048)) (i32.store (i32.const 1028) (i32.const 7))
    (i32.store (i32.const 1048) (i32.const 8192)) (i32.store (i32.const 1052) (i32.const 74))
    (i32.const 1024)))
