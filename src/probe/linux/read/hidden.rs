//! Files that exist on every kernel, and may be hidden.

use std::path::Path;

use super::super::host::HostReader;
use super::measurement_builder::{MeasurementBuilder, NOT_COUNTED};

/// Weakens the measurement because of a missing file of `/proc` that exists on every kernel: it is hidden, and what it
/// limits is not known.
///
/// Where only processes are mounted in `/proc`, as by `ProcSubset=pid` of systemd, `/proc/meminfo` is missing, too. If a
/// captured host has `/proc/meminfo`, the other file may only be missing in the capture, so nothing is weakened.
pub(super) fn weaken_if_hidden(path: &str, reader: &mut HostReader, builder: &mut MeasurementBuilder) {
    let is_capture_incomplete =
        !reader.uses_system_calls() && matches!(reader.exists(Path::new("/proc/meminfo")), Ok(true));
    if !is_capture_incomplete {
        builder.weaken(format!("{path} is hidden; {NOT_COUNTED}"));
    }
}
