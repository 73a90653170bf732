  ;; about { name, version, summary, config-schema, needs, hints }
  (data (i32.const 2048) "hostile0.1.0a stage that means no good")
  (func (export "conveyor:stage/about@0.1.0#describe") (result i32)
    (i32.store (i32.const 1024) (i32.const 2048)) (i32.store (i32.const 1028) (i32.const 7))
    (i32.store (i32.const 1032) (i32.const 2055)) (i32.store (i32.const 1036) (i32.const 5))
    (i32.store (i32.const 1040) (i32.const 2060)) (i32.store (i32.const 1044) (i32.const 26))
    (i32.const 1024))
