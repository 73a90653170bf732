  ;; The first emission makes `rows` records of one byte each, all of them of the first that came in, as they should
  ;; be made: origins at 6400, offsets at 6464, bytes at 6528. Each stage spoils one thing about them.
  (data (i32.const 6464) "\00\00\00\00\01\00\00\00\02\00\00\00\03\00\00\00\04\00\00\00")
  (data (i32.const 6528) "abcd")
  (func $makes (param $rows i32)
    (i32.store8 (i32.const 4240) (i32.const 1))
    (i32.store (i32.const 4248) (i32.const 6400)) (i32.store (i32.const 4252) (local.get $rows))
    (i32.store (i32.const 4356) (i32.const 6464))
    (i32.store (i32.const 4360) (i32.add (local.get $rows) (i32.const 1)))
    (i32.store (i32.const 4364) (i32.const 6528)) (i32.store (i32.const 4368) (local.get $rows)))
