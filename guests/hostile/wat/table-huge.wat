;; Brings a table of four thousand million elements.
(module
  ;; include memory realloc about plan open outcome all
  (table 4000000000 funcref))
