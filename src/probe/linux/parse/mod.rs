//! Parsers for the text formats of `/proc` and `/sys`.
//!
//! They take bytes and perform no I/O. File contents are untrusted: no bytes make a parser panic, loop or allocate
//! without bound, and unparsable text never yields a number.

pub(in crate::probe) mod text;

pub(in crate::probe) mod cgroup_membership;
pub(in crate::probe) mod cpu_list;
pub(in crate::probe) mod cpu_quota;
pub(in crate::probe) mod meminfo;
pub(in crate::probe) mod memory_limit;
pub(in crate::probe) mod mountinfo;
pub(in crate::probe) mod process_limits;
pub(in crate::probe) mod psi;
