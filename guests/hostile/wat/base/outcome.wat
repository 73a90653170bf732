  ;; ok(outcome): its emissions lie at 4224, 148 bytes each, and its rejections at 5120, 20 bytes each. All of it is 0
  ;; unless a stage stores something else: an emission by port 0 that forwards nothing and makes nothing.
  ;;
  ;; An emission: port +0, forwarded +4 (1: all, 2: these +8 +12), made +16 (1: there is), and of what was made:
  ;; origins +20 (0: these +24 +28, 1: each), times +32 (+36 +40), keys +44 (valid +48 +52 +56, offsets +60 +64, bytes
  ;; +68 +72), headers +76 (names +80 +84, of +88 +92, name +96 +100, offsets +104 +108, bytes +112 +116), values
  ;; (valid +120 +124 +128, offsets +132 +136, bytes +140 +144).
  ;; A rejection: of +0, code +4 +8, message +12 +16.
  (func $outcome (param $emissions i32) (result i32)
    (call $rejecting (local.get $emissions) (i32.const 0)))
  (func $rejecting (param $emissions i32) (param $rejections i32) (result i32)
    (i32.store (i32.const 4100) (i32.const 4224)) (i32.store (i32.const 4104) (local.get $emissions))
    (i32.store (i32.const 4108) (i32.const 5120)) (i32.store (i32.const 4112) (local.get $rejections))
    (i32.const 4096))
