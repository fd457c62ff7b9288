;; A capsule: greets with what a file says, and with what a server answers.
(module
  ;; Pins a thread: reads a file of the capsule's directory, and gives the sum of its bytes.
  (import "host" "read_file" (func $read_file (param $path i32) (param $length i32) (result i64)))
  ;; Frees its thread while it waits: asks a server several times at once, and gives the sum of the answers' bytes.
  (import "host" "fetch" (func $fetch (param $path i32) (param $length i32) (param $times i32) (result i64)))

  (memory (export "memory") 16) ;; 1 MiB: what an instance costs, besides its tables
  (data (i32.const 16) "motd.txt")
  (data (i32.const 32) "/greeting")

  ;; At 0: how many requests this instance has begun since it was last recycled.
  (func (export "handle") (param $times i32) (param $poisoned i32) (result i64)
    (local $sum i64)
    (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))
    (if (i32.ne (i32.load (i32.const 0)) (i32.const 1))
      (then unreachable)) ;; what another principal left behind can be seen

    (local.set $sum (call $read_file (i32.const 16) (i32.const 8)))
    (if (local.get $poisoned)
      (then unreachable))
    (i64.add
      (local.get $sum)
      (call $fetch (i32.const 32) (i32.const 9) (local.get $times)))))
