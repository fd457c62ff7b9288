//! Plants that have a name.

/// Plants by name, each with its text. A name can begin the text of a [`Plant`](super::Plant): `overload, workers 20`.
pub const STANDARD_PLANTS: [(&str, &str); 13] = [
    ("overload", "workers 10, service exp 10ms, rate 2000/s"),
    ("half-load", "workers 10, service exp 10ms, rate 500/s"),
    ("outage", "workers 10, workers 3 @20s, workers 10 @40s, service exp 10ms, rate 900/s"),
    ("slow-answers", "workers 20, service exp 200ms, rate 200/s"),
    ("deploy", "workers 10, service exp 10ms, service exp 20ms @60s, rate 1000/s"),
    ("crowd", "workers 90, service exp 10ms, rate 18000/s, clients 9"),
    ("large", "workers 500, service exp 100ms, rate 10000/s"),
    ("fixed", "workers 10, service fixed 10ms, rate 2000/s"),
    ("spread", "workers 10, service lognormal 1 10ms, rate 2000/s"),
    ("database", "workers 10, service exp 10ms, front 20ms, rate 2000/s"),
    ("shared", "workers 10, service exp 10ms, shared 0.01, rate 2000/s"),
    ("retries", "workers 10, service exp 10ms, rate 2000/s, retries 3"),
    ("errors", "workers 10, service exp 10ms, rate 500/s, errors 0.2"),
];
