;; A capsule that reads a file, calls a server, and returns the sum of all bytes that it received.
(module
  ;; Reads a file of the capsule's directory, and returns the sum of its bytes. Pins a thread.
  (import "host" "read_file" (func $read_file (param $path i32) (param $length i32) (result i64)))
  ;; Calls the server several times at once, and returns the sum of the response bytes. Frees its thread while it waits.
  (import "host" "fetch" (func $fetch (param $path i32) (param $length i32) (param $times i32) (result i64)))

  (memory (export "memory") 16) ;; 1 MiB: the memory of an instance, besides its tables
  (data (i32.const 16) "motd.txt")
  (data (i32.const 32) "/greeting")

  ;; Address 0 holds the number of requests that this instance has begun since it was last recycled.
  (func (export "handle") (param $times i32) (param $poisoned i32) (result i64)
    (local $sum i64)
    (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))
    (if (i32.ne (i32.load (i32.const 0)) (i32.const 1))
      (then unreachable)) ;; the memory was not cleared after the last request

    (local.set $sum (call $read_file (i32.const 16) (i32.const 8)))
    (if (local.get $poisoned)
      (then unreachable))
    (i64.add
      (local.get $sum)
      (call $fetch (i32.const 32) (i32.const 9) (local.get $times)))))
