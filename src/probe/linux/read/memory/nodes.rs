//! The memory of the NUMA nodes from which the process may allocate.

use super::super::super::host::HostReader;
use super::super::super::parse::cpu_list::CpuList;
use super::super::super::parse::meminfo;
use super::super::super::parse::text::{excerpt, find_line};
use super::super::measurement_builder::MeasurementBuilder;
use super::figure::MemoryFigure;
use crate::plan::{Quantity, Source};

/// Adds the memory of the allowed nodes, if not all nodes are allowed.
///
/// The cpuset of the process (`cpuset.mems`) restricts the nodes. If they are full, the kernel kills a process, however
/// much memory the other nodes have.
pub(super) fn add_allowed_nodes(
    figure: MemoryFigure,
    host_meminfo: &[u8],
    reader: &mut HostReader,
    builder: &mut MeasurementBuilder,
) {
    // A kernel without NUMA has no such file. With one node there is nothing to restrict.
    let Ok(Some(online)) = builder.read(reader, ONLINE) else { return };
    let Some(online) = CpuList::parse(&online) else {
        return builder.weaken(format!("{ONLINE} holds no valid list of nodes"));
    };
    if online.count() <= 1 {
        return;
    }
    let Some(status) = builder.read_required(reader, STATUS) else { return };
    let line = find_line(&status, ALLOWED);
    // A kernel without cpusets has no such line.
    let Some(value) = line.strip_prefix(ALLOWED.as_bytes()) else { return };
    let Some(allowed) = CpuList::parse(value).filter(|allowed| allowed.count() > 0) else {
        return builder.weaken(format!("{STATUS} has no valid {}", ALLOWED.trim_end_matches(':')));
    };
    let nodes = allowed.intersection(&online);
    if nodes == online {
        return;
    }
    builder.add_source(Source::new(STATUS, excerpt(line)));
    if nodes.count() > MAX_NODES {
        return builder
            .weaken(format!("more than {MAX_NODES} memory nodes are allowed, and they are not read"));
    }
    let (mut total, mut free) = (Quantity::ZERO, Some(Quantity::ZERO));
    for node in nodes.iter() {
        // If only a part of the allowed nodes can be read, the sum is too low.
        let Some(content) = read_node(node, reader, builder) else { return };
        let Some(bytes) = read_line(node, meminfo::TOTAL, &content, builder) else { return };
        // The node counts its huge pages of the default size. Other sizes are only known for the whole host.
        let pool = meminfo::huge_pages(&content, host_meminfo).unwrap_or(Quantity::ZERO);
        if pool > Quantity::ZERO {
            let line = excerpt(find_line(&content, meminfo::HUGE_PAGES));
            builder.add_source(Source::new(node_file(node), line));
        }
        total = total.saturating_add(bytes.saturating_sub(pool));
        if figure == MemoryFigure::Available {
            let bytes = read_line(node, meminfo::FREE, &content, builder);
            free = bytes.and_then(|bytes| Some(free?.saturating_add(bytes)));
        }
    }
    builder.add_limit(total);
    if let (MemoryFigure::Available, Some(free)) = (figure, free) {
        // The kernel can also reclaim the caches of the nodes.
        builder.add_lower_bound(free);
    }
}

/// Returns the lines of a node's `meminfo` without the start `Node 0 ` that each of them has.
fn read_node(node: u32, reader: &mut HostReader, builder: &mut MeasurementBuilder) -> Option<Vec<u8>> {
    let path = node_file(node);
    let Some(content) = builder.read(reader, &path).ok()? else {
        builder.weaken(format!("{path} is missing, and the memory of the allowed nodes is not known"));
        return None;
    };
    let prefix = format!("Node {node} ");
    let lines = content.split(|byte| *byte == b'\n');
    let lines: Vec<&[u8]> = lines.filter_map(|line| line.strip_prefix(prefix.as_bytes())).collect();
    Some(lines.join(&b'\n'))
}

/// Returns the value of a line, which becomes a source. Weakens the measurement if there is none.
fn read_line(
    node: u32,
    key: &'static str,
    content: &[u8],
    builder: &mut MeasurementBuilder,
) -> Option<Quantity> {
    let line = find_line(content, key);
    let bytes = meminfo::parse_line(line, key);
    if bytes.is_some() {
        builder.add_source(Source::new(node_file(node), excerpt(line)));
    } else {
        builder.weaken(format!("{} has no valid {}", node_file(node), key.trim_end_matches(':')));
    }
    bytes
}

fn node_file(node: u32) -> String {
    format!("/sys/devices/system/node/node{node}/meminfo")
}

/// The most nodes that the kernel can have.
const MAX_NODES: u64 = 1024;

const ALLOWED: &str = "Mems_allowed_list:";
const STATUS: &str = "/proc/self/status";
const ONLINE: &str = "/sys/devices/system/node/online";
