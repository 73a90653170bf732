;; Wants 512 MiB before it does anything.
(module
  (memory (export "memory") 8192)
  (global $heap (mut i32) (i32.const 65536))
  ;; include realloc about plan open outcome all
  )
