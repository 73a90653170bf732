  ;; One memory. Answers are laid out by hand below 65536; above it lies what the host hands in, one after the
  ;; other and never freed.
  (memory (export "memory") 2)
  (global $heap (mut i32) (i32.const 65536))
