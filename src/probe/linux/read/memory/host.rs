//! The memory of the host.

use std::path::Path;

use nix::sys::sysinfo::sysinfo;

use super::super::super::host::HostReader;
use super::super::super::parse::meminfo;
use super::super::super::parse::text::{excerpt, find_line, trimmed};
use super::super::hidden::weaken_if_hidden;
use super::super::measurement_builder::MeasurementBuilder;
use super::figure::MemoryFigure;
use crate::plan::{Quantity, Source};

/// Adds the memory of the host. Returns the content of `/proc/meminfo`, which is empty if it cannot be read.
pub(super) fn add_host(
    figure: MemoryFigure,
    reader: &mut HostReader,
    builder: &mut MeasurementBuilder,
) -> Vec<u8> {
    let Some(content) = builder.read_required(reader, MEMINFO) else {
        add_sysinfo(reader, builder);
        return Vec::new();
    };
    add_physical_memory(figure, &content, builder);
    add_commit_limit(figure, &content, reader, builder);
    content
}

/// Adds the memory of the host without the pool of huge pages, and the available memory.
fn add_physical_memory(figure: MemoryFigure, content: &[u8], builder: &mut MeasurementBuilder) {
    if figure == MemoryFigure::Available {
        if let Some(available) = read_line(meminfo::AVAILABLE, content, builder) {
            builder.add_limit(available);
        }
    }
    // The available memory is at most the total, so this matters for it only if its own line is missing.
    if let Some(total) = read_line(meminfo::TOTAL, content, builder) {
        let pool = read_huge_page_pool(content, builder);
        builder.add_limit(total.saturating_sub(pool));
    }
}

/// Returns the size of the pool of huge pages. The pool is part of the total, and only `hugetlbfs` can use it.
fn read_huge_page_pool(content: &[u8], builder: &mut MeasurementBuilder) -> Quantity {
    // The sum of all page sizes, since Linux 4.19. Before, only the pages of the default size are known.
    let (line, pool) = match find_line(content, meminfo::HUGE_PAGE_POOL) {
        [] => (
            find_line(content, meminfo::HUGE_PAGES),
            Some(meminfo::huge_pages(content, content).unwrap_or(Quantity::ZERO)),
        ),
        line => (line, meminfo::parse_line(line, meminfo::HUGE_PAGE_POOL)),
    };
    let Some(pool) = pool else {
        builder.weaken(format!("{MEMINFO} has no valid Hugetlb, and huge pages are not subtracted"));
        return Quantity::ZERO;
    };
    if pool > Quantity::ZERO {
        builder.add_source(Source::new(MEMINFO, excerpt(line)));
    }
    pool
}

/// Adds the limit of the kernel on the memory that all processes together may have allocated. It is in force if
/// `vm.overcommit_memory` is 2.
fn add_commit_limit(
    figure: MemoryFigure,
    content: &[u8],
    reader: &mut HostReader,
    builder: &mut MeasurementBuilder,
) {
    let Ok(mode) = builder.read(reader, OVERCOMMIT) else { return };
    let Some(mode) = mode else { return weaken_if_hidden(OVERCOMMIT, reader, builder) };
    if trimmed(&mode) != Some("2") {
        return;
    }
    builder.add_source(Source::new(OVERCOMMIT, excerpt(&mode)));
    let Some(limit) = read_line(meminfo::COMMIT_LIMIT, content, builder) else { return };
    let committed = match figure {
        MemoryFigure::Total => Some(Quantity::ZERO),
        MemoryFigure::Available => read_line(meminfo::COMMITTED, content, builder),
    };
    builder.add_limit(limit.saturating_sub(committed.unwrap_or(Quantity::ZERO)));
    builder.weaken("the private memory of all processes of the host counts against CommitLimit");
}

/// Adds the total of `sysinfo`, which needs no file. `/proc/meminfo` is hidden where only processes are mounted in
/// `/proc`, as by `ProcSubset=pid` of systemd.
fn add_sysinfo(reader: &mut HostReader, builder: &mut MeasurementBuilder) {
    const CALL: &str = "sysinfo";

    if !reader.uses_system_calls() {
        return;
    }
    match sysinfo() {
        Ok(info) => {
            builder.add_source(Source::new(CALL, info.ram_total().to_string()));
            builder.add_limit(Quantity::whole(info.ram_total()));
        }
        Err(errno) => drop(builder.weaken_by_read_error(Path::new(CALL), errno.into())),
    }
}

/// Reads the line of `/proc/meminfo` with this prefix, and adds it as a source. Weakens the measurement if it is
/// missing or invalid.
fn read_line(prefix: &'static str, content: &[u8], builder: &mut MeasurementBuilder) -> Option<Quantity> {
    let line = find_line(content, prefix);
    builder.add_source(Source::new(MEMINFO, excerpt(line)));
    let bytes = meminfo::parse_line(line, prefix);
    if bytes.is_none() {
        builder.weaken(format!("{MEMINFO} has no valid {}", prefix.trim_end_matches(':')));
    }
    bytes
}

pub(super) const MEMINFO: &str = "/proc/meminfo";
const OVERCOMMIT: &str = "/proc/sys/vm/overcommit_memory";
