//! How many file descriptors the process may have open, and has.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::evidence::Evidence;
use super::host::Host;
use super::limits::{ProcessLimit, SoftHard};
use super::{number, word};
use crate::plan::{Quantity, Reading, Source};

/// Adds the soft limit of the process, which the host's own limit on every process caps.
///
/// Gives the limits of the process if they were read. A soft limit of 0, under which nothing could be opened at all, is taken for a
/// mistake, and adds nothing.
pub(in crate::probe) fn limit(host: &mut Host, evidence: &mut Evidence) -> Option<SoftHard> {
    let limits = ProcessLimit::OpenFiles.read(host, evidence)?;
    match limits.soft {
        Reading::Finite(Quantity::ZERO) => evidence.note("a soft limit of 0 is taken for a mistake"),
        Reading::Finite(soft) => evidence.limit(soft),
        _ => {}
    }
    let cap = evidence.look(host, CAP);
    match cap.as_deref().map(|cap| word(cap).and_then(number)) {
        Some(Some(cap)) if limits.soft != Reading::Finite(Quantity::ZERO) => {
            evidence.limit(Quantity::whole(cap));
        }
        Some(None) => {
            evidence.doubt(format!("{CAP} holds no limit"));
        }
        _ => {}
    }
    Some(limits)
}

/// Adds what the host as a whole has left, of which any process may take all.
pub(in crate::probe) fn left_to_all(host: &mut Host, evidence: &mut Evidence) {
    let Some(content) = evidence.look(host, ALL) else { return };
    match parse_left(&content) {
        Some(left) => evidence.limit(Quantity::whole(left)),
        None => {
            evidence.doubt(format!("{ALL} cannot be understood"));
        }
    }
}

/// `1024 0 9223372036854775807`, with tabs: open on the whole host, always 0, and the most there may be.
fn parse_left(file_nr: &[u8]) -> Option<u64> {
    let mut words = word(file_nr)?.split_ascii_whitespace();
    let (open, most) = (number(words.next()?)?, number(words.nth(1)?)?);
    Some(most.saturating_sub(open))
}

/// How many descriptors the process has open; `None` on a host that is not running, which has none.
///
/// Since Linux 6.2 the size of `/proc/self/fd` is their number. Before, it is 0 and they are counted, which takes
/// milliseconds where there are thousands: then a count holds for a second.
pub(in crate::probe) fn in_use(host: &mut Host, evidence: &mut Evidence) -> io::Result<Option<u64>> {
    if !host.answers_calls() {
        evidence.note("the descriptors of a host that is not running cannot be counted");
        return Ok(None);
    }
    let directory = Path::new(DIRECTORY);
    let size = match host.descriptor(directory)? {
        Some(kept) => kept.metadata()?.size(),
        None => fs::metadata(directory)?.size(),
    };
    let open = if size > 0 { size } else { counted(host, evidence)? };
    evidence.saw(Source::new(DIRECTORY, open.to_string()));
    Ok(Some(open))
}

/// A count of the descriptors that was made lately.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count {
    open: u64,
    made: Instant,
}

fn counted(host: &mut Host, evidence: &mut Evidence) -> io::Result<u64> {
    evidence.note("this kernel does not tell how many descriptors are open: a count holds for a second");
    if let Some(count) = host.count.filter(|count| count.made.elapsed() < COUNT_HOLDS) {
        return Ok(count.open);
    }
    let open = count(Path::new(DIRECTORY))?;
    host.count = Some(Count { open, made: Instant::now() });
    Ok(open)
}

/// Counts the entries of a directory of descriptors, without the one that reads it.
fn count(directory: &Path) -> io::Result<u64> {
    let entries = fs::read_dir(directory)?;
    entries.skip(1).try_fold(0, |count: u64, entry| entry.map(|_| count.saturating_add(1)))
}

pub(in crate::probe) const DIRECTORY: &str = "/proc/self/fd";
const CAP: &str = "/proc/sys/fs/nr_open";
const ALL: &str = "/proc/sys/fs/file-nr";
const COUNT_HOLDS: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left on the host is the third number less the first.
    #[test]
    fn rest_of_the_host_is_a_difference() {
        assert_eq!(parse_left(b"1024\t0\t9223372036854775807\n"), Some(9_223_372_036_854_774_783));
        assert_eq!(parse_left(b"7\t0\t5\n"), Some(0));
        for text in ["", "1", "1 0", "x 0 1", "1 0 -1"] {
            assert_eq!(parse_left(text.as_bytes()), None, "{text}");
        }
    }

    /// Counting leaves out the descriptor that counts.
    #[test]
    fn counting_does_not_count_itself() {
        let directory = std::env::temp_dir().join(format!("governor-count-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        for name in ["0", "1", "2", "7"] {
            fs::write(directory.join(name), "").unwrap();
        }
        let counted = count(&directory).unwrap();
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!(counted, 3);
    }
}
