;; Is never ready: its start function loops, so that not even `about` can be asked.
(module
  ;; include memory realloc about plan open outcome all
  (func $begin (loop $for_ever (br $for_ever)))
  (start $begin))
