//! What Linux tells of a resource, in files and by system calls.
//!
//! Each function adds what it found to the [`Evidence`], and doubts what it could not see. Everything in a file is
//! taken for hostile: nothing in it makes a probe panic or fill the memory, and what cannot be understood never lowers
//! a number.

mod host;
mod inputs;
mod kept;

mod group;
mod membership;
mod mountinfo;

mod affinity;
mod cpu_list;
mod limits;
mod meminfo;
mod quota;

pub(super) mod memory;
pub(super) mod open_files;
pub(super) mod pressure;
pub(super) mod tasks;

mod evidence;

mod notices;
mod own;
mod runtime;
mod trigger;
mod watch;

pub(super) use affinity::affinity;
pub(super) use evidence::Evidence;
pub(super) use group::{Controller, limit_files};
pub(super) use host::{Host, Recorded, SharedHost};
pub(super) use limits::{SoftHard, reading};
pub(super) use quota::quota;
pub(super) use trigger::Trigger;
pub(super) use watch::{Subject, Watch};

use std::str;

/// The two kinds of hierarchy of control groups, which differ in the files they hold. One host may use both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// A number as the kernel writes it: decimal digits and nothing else.
fn number(digits: &str) -> Option<u64> {
    if is_digits(digits) { digits.parse().ok() } else { None }
}

/// A file's content as trimmed text; what is no UTF-8 is no word that the kernel writes.
fn word(bytes: &[u8]) -> Option<&str> {
    str::from_utf8(bytes.trim_ascii()).ok()
}

/// What stands for "no limit" where the file is there: `max`, or a number below 0.
fn says_none(word: &str) -> bool {
    word == "max" || word.strip_prefix('-').is_some_and(is_digits)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
