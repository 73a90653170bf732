;; Brings five memories.
(module
  ;; include memory realloc about plan open outcome all
  (memory 1) (memory 1) (memory 1) (memory 1))
