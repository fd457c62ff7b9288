//! The limit on open file descriptors, and the number of open ones.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::super::host::{DescriptorCount, HostReader};
use super::super::parse::process_limits::{ProcessLimit, RlimitPair};
use super::super::parse::text::{number, trimmed};
use super::hidden::weaken_if_hidden;
use super::measurement_builder::MeasurementBuilder;
use super::process_limits::read_process_limit;
use crate::plan::{Quantity, Reading, Source};

/// Adds the soft limit of the process and the cap `fs.nr_open`.
///
/// Returns the limits of the process if they could be read. A soft limit of 0, with which the process could open
/// nothing, is treated as unknown, and no limit is added.
pub(in crate::probe) fn add_limit(
    reader: &mut HostReader,
    builder: &mut MeasurementBuilder,
) -> Option<RlimitPair> {
    let limits = read_process_limit(ProcessLimit::OpenFiles, reader, builder)?;
    match limits.soft {
        Reading::Finite(Quantity::ZERO) => builder.add_note("a soft limit of 0 is treated as unknown"),
        Reading::Finite(soft) => builder.add_limit(soft),
        _ => {}
    }
    let cap = builder.read_as_source(reader, NR_OPEN);
    // The cap is rarely below the kernel's default. An unlimited soft limit is really limited by the cap.
    let is_default_enough = matches!(limits.soft, Reading::Finite(soft) if soft <= DEFAULT_NR_OPEN);
    if cap.is_none() && !is_default_enough {
        weaken_if_hidden(NR_OPEN, reader, builder);
    }
    match cap.as_deref().map(|cap| trimmed(cap).and_then(number)) {
        Some(Some(cap)) if limits.soft != Reading::Finite(Quantity::ZERO) => {
            builder.add_limit(Quantity::whole(cap));
        }
        Some(None) => builder.weaken(format!("{NR_OPEN} holds no valid limit")),
        _ => {}
    }
    Some(limits)
}

/// Adds the number of files that can still be opened on the whole host.
pub(in crate::probe) fn add_free_on_host(reader: &mut HostReader, builder: &mut MeasurementBuilder) {
    let Some(content) = builder.read_as_source(reader, FILE_NR) else {
        return weaken_if_hidden(FILE_NR, reader, builder);
    };
    match parse_file_nr(&content) {
        Some(free) => builder.add_limit(Quantity::whole(free)),
        None => builder.weaken(format!("cannot parse {FILE_NR}")),
    }
}

/// Returns the number of open descriptors, or `None` on a captured host.
///
/// Since Linux 6.2, the size of `/proc/self/fd` is their number. Before, the size is 0 and the entries are counted,
/// which takes milliseconds for thousands of descriptors, so a count is reused for one second.
pub(in crate::probe) fn read_in_use(
    reader: &mut HostReader,
    builder: &mut MeasurementBuilder,
) -> io::Result<Option<u64>> {
    if !reader.uses_system_calls() {
        builder.add_note("the open descriptors of a captured host cannot be counted");
        return Ok(None);
    }
    count_open(Path::new(DIRECTORY), reader, builder).map(Some)
}

/// Returns the number of entries of a descriptor directory: its size, or a count.
fn count_open(
    directory: &Path,
    reader: &mut HostReader,
    builder: &mut MeasurementBuilder,
) -> io::Result<u64> {
    let size = match reader.cached_descriptor(directory)? {
        Some(descriptor) => descriptor.metadata()?.size(),
        None => fs::metadata(directory)?.size(),
    };
    let open = if size > 0 {
        size
    } else {
        builder.add_note(
            "this kernel does not report the number of open descriptors, so they are counted at most once per second",
        );
        if let Some(open) = reader.caches.descriptor_count.and_then(DescriptorCount::if_recent) {
            open
        } else {
            let open = count_entries(directory)?;
            reader.caches.descriptor_count = Some(DescriptorCount::new(open));
            open
        }
    };
    builder.add_source(Source::new(directory.display().to_string(), open.to_string()));
    Ok(open)
}

/// Parses `/proc/sys/fs/file-nr`: the files open on the host, always 0, and the limit, separated by tabs. Returns the
/// difference between the limit and the open files.
fn parse_file_nr(content: &[u8]) -> Option<u64> {
    let mut words = trimmed(content)?.split_ascii_whitespace();
    let (open, limit) = (number(words.next()?)?, number(words.nth(1)?)?);
    Some(limit.saturating_sub(open))
}

/// Counts the entries of a descriptor directory, except for the descriptor that reads it.
fn count_entries(directory: &Path) -> io::Result<u64> {
    let entries = fs::read_dir(directory)?;
    entries.skip(1).try_fold(0, |count: u64, entry| entry.map(|_| count.saturating_add(1)))
}

pub(in crate::probe) const DIRECTORY: &str = "/proc/self/fd";
/// 1024 * 1024, since Linux 2.6.25.
const DEFAULT_NR_OPEN: Quantity = Quantity::whole(1 << 20);
const NR_OPEN: &str = "/proc/sys/fs/nr_open";
const FILE_NR: &str = "/proc/sys/fs/file-nr";

#[cfg(test)]
mod tests {
    use super::super::super::Roots;
    use super::*;

    /// The free files of the host are the third number minus the first.
    #[test]
    fn free_files_of_the_host_are_a_difference() {
        assert_eq!(parse_file_nr(b"1024\t0\t9223372036854775807\n"), Some(9_223_372_036_854_774_783));
        assert_eq!(parse_file_nr(b"7\t0\t5\n"), Some(0));
        for text in ["", "1", "1 0", "x 0 1", "1 0 -1"] {
            assert_eq!(parse_file_nr(text.as_bytes()), None, "{text}");
        }
    }

    /// The count leaves out the descriptor that reads the directory.
    #[test]
    fn count_leaves_out_its_own_descriptor() {
        let directory = std::env::temp_dir().join(format!("governor-count-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        for name in ["0", "1", "2", "7"] {
            fs::write(directory.join(name), "").unwrap();
        }
        let counted = count_entries(&directory).unwrap();
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!(counted, 3);
    }

    /// Where the directory has no size, as `/proc/self/fd` before Linux 6.2, the entries are counted, with a note.
    /// `/proc/self/fdinfo` has the same entries and no size on any kernel.
    #[test]
    fn entries_are_counted_before_linux_6_2() {
        let directory = Path::new("/proc/self/fdinfo");
        let mut reader = HostReader::new(Roots::host());
        let mut builder = MeasurementBuilder::default();
        let files: Vec<_> = (0..100).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        let open = count_open(directory, &mut reader, &mut builder).unwrap();
        drop(files);
        let measured = builder.build_with(Reading::whole(open));
        assert!(open >= 100, "{measured:?}");
        assert_eq!(measured.notes().len(), 1);
        assert!(measured.notes()[0].contains("counted at most once per second"), "{measured:?}");
    }
}
