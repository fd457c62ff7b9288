//! The limits of the process on its address space and its data.

use super::super::super::host::HostReader;
use super::super::super::parse::meminfo;
use super::super::super::parse::process_limits::ProcessLimit;
use super::super::super::parse::text::find_line;
use super::super::measurement_builder::MeasurementBuilder;
use super::super::process_limits::read_process_limit;
use super::figure::MemoryFigure;
use crate::plan::{Quantity, Reading};

/// Adds the soft limits `RLIMIT_AS` and `RLIMIT_DATA`. Since Linux 4.7, private writable mappings count as data.
pub(super) fn add_process_limits(
    figure: MemoryFigure,
    reader: &mut HostReader,
    builder: &mut MeasurementBuilder,
) {
    for (limit, usage) in [(ProcessLimit::AddressSpace, "VmSize:"), (ProcessLimit::DataSize, "VmData:")] {
        let limit = read_process_limit(limit, reader, builder);
        let Some(Reading::Finite(bytes)) = limit.map(|limit| limit.soft) else { continue };
        let used = match figure {
            MemoryFigure::Total => Quantity::ZERO,
            MemoryFigure::Available => read_usage(usage, reader, builder),
        };
        builder.add_limit(bytes.saturating_sub(used));
    }
}

/// Returns the value of a line of `/proc/self/status`, or 0, with a note, if it is not known.
fn read_usage(key: &'static str, reader: &mut HostReader, builder: &mut MeasurementBuilder) -> Quantity {
    let Some(status) = builder.read_required(reader, STATUS) else { return Quantity::ZERO };
    let used = meminfo::parse_line(find_line(&status, key), key);
    if used.is_none() {
        builder.weaken(format!("{STATUS} has no valid {}", key.trim_end_matches(':')));
    }
    used.unwrap_or(Quantity::ZERO)
}

const STATUS: &str = "/proc/self/status";
