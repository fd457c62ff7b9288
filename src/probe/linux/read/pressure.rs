//! The pressure of the process's cgroup or of the host.

use std::io;
use std::path::PathBuf;

use super::super::host::{CgroupController, HostReader};
use super::super::parse::psi::{self, PsiStalls};
use super::cgroup::resolve_cgroups;
use super::measurement_builder::MeasurementBuilder;

/// Reads the pressure of the process's v2 cgroup, or otherwise that of the host. `resource` is `cpu`, `memory` or
/// `io`.
///
/// Returns the path of the file and its content, or `None`, with a note, if the kernel reports no pressure.
pub(in crate::probe) fn read_stalls(
    resource: &str,
    reader: &mut HostReader,
    builder: &mut MeasurementBuilder,
) -> io::Result<Option<(PathBuf, PsiStalls)>> {
    // The notes of the resolution are dropped: without a v2 cgroup, the pressure of the host is an exact reading.
    let cgroups = resolve_cgroups(reader, CgroupController::Pressure, &mut MeasurementBuilder::default());
    let own = cgroups
        .and_then(|cgroups| Some(cgroups.levels.last()?.directory.join(format!("{resource}.pressure"))));
    let host = PathBuf::from(format!("/proc/pressure/{resource}"));
    for path in own.into_iter().chain([host]) {
        let content = match reader.read(&path) {
            Ok(Some(content)) => content,
            Ok(None) => continue,
            // If PSI is disabled, the files exist and cannot be read.
            Err(error) if error.raw_os_error() == Some(nix::libc::EOPNOTSUPP) => continue,
            Err(error) => return Err(error),
        };
        if let Some(stalls) = psi::parse(&content) {
            return Ok(Some((path, stalls)));
        }
        builder.weaken(format!("cannot parse {}", path.display()));
    }
    builder.add_note("this kernel reports no pressure");
    Ok(None)
}
