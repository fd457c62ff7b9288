//! The probes of a host.

#[cfg(target_os = "linux")]
use std::path::Path;

use concurrency_governor::Resource;
use concurrency_governor::plan::Measurement;
#[cfg(target_os = "linux")]
use concurrency_governor::probe::Roots;
use concurrency_governor::probe::{Cpu, Memory, OpenFiles, Pressure, ProbeError, Tasks};

/// All probes of one host.
#[derive(Debug)]
pub(crate) struct HostProbes {
    cpu: Cpu,
    open_files: OpenFiles,
    memory: Memory,
    memory_available: Memory,
    memory_high: Memory,
    tasks: Tasks,
    pressures: [(Resource, Pressure); 3],
}

impl HostProbes {
    /// The resources that are measured even if the plan does not read them.
    pub(crate) const RESOURCES: [Resource; 4] =
        [Resource::CPU, Resource::FD, Resource::MEMORY, Resource::TASKS];

    /// The same resources, and the pressures: the shares of time in which work stalls.
    pub(crate) const RESOURCES_AND_PRESSURES: [Resource; 7] = [
        Resource::CPU,
        Resource::FD,
        Resource::MEMORY,
        Resource::TASKS,
        Pressure::CPU,
        Pressure::MEMORY,
        Pressure::IO,
    ];

    /// The other resources that have a probe. They are measured if the plan reads them.
    pub(crate) const OTHER_RESOURCES: [Resource; 2] = [Memory::AVAILABLE, Memory::HIGH];

    /// Creates the probes of the host that the program runs on.
    pub(crate) fn of_this_host() -> Self {
        Self {
            cpu: Cpu::new(),
            open_files: OpenFiles::new(),
            memory: Memory::new(),
            memory_available: Memory::available(),
            memory_high: Memory::high(),
            tasks: Tasks::new(),
            pressures: [
                (Pressure::CPU, Pressure::on_cpu()),
                (Pressure::MEMORY, Pressure::on_memory()),
                (Pressure::IO, Pressure::on_io()),
            ],
        }
    }

    /// Creates the probes of a host whose files were captured into a directory.
    #[cfg(target_os = "linux")]
    pub(crate) fn of_captured_host(directory: &Path) -> Self {
        let roots = || Roots::at(directory);
        let Self { cpu, open_files, memory, memory_available, memory_high, tasks, pressures } =
            Self::of_this_host();
        Self {
            cpu: cpu.with_roots(roots()),
            open_files: open_files.with_roots(roots()),
            memory: memory.with_roots(roots()),
            memory_available: memory_available.with_roots(roots()),
            memory_high: memory_high.with_roots(roots()),
            tasks: tasks.with_roots(roots()),
            pressures: pressures.map(|(resource, pressure)| (resource, pressure.with_roots(roots()))),
        }
    }

    /// Measures a resource. Returns `None` if there is no probe for it.
    pub(crate) fn measure(&self, resource: Resource) -> Option<Measurement> {
        let result = match resource {
            Resource::CPU => self.cpu.read(),
            Resource::FD => self.open_files.read(),
            Resource::MEMORY => self.memory.read(),
            Memory::AVAILABLE => self.memory_available.read(),
            Memory::HIGH => self.memory_high.read(),
            Resource::TASKS => self.tasks.read(),
            other => self.pressures.iter().find(|(resource, _)| *resource == other)?.1.read(),
        };
        Some(measurement_or_error(result))
    }

    /// Measures the other numbers that help to judge the reading of a resource.
    pub(crate) fn related_figures(&self, resource: Resource) -> Vec<RelatedFigure> {
        let figure = |name, measurement| RelatedFigure { name, measurement };
        match resource {
            Resource::FD => vec![
                figure("in use", measurement_or_error(self.open_files.read_in_use())),
                figure("free", measurement_or_error(self.open_files.read_free())),
            ],
            Resource::MEMORY => vec![
                figure("available", measurement_or_error(self.memory.read_available())),
                figure("soft limit", self.memory.read_soft_limit()),
            ],
            Resource::TASKS => vec![figure("free", self.tasks.read_free())],
            _ => Vec::new(),
        }
    }
}

/// A number that helps to judge the reading of a resource.
#[derive(Debug)]
pub(crate) struct RelatedFigure {
    /// The name of the number, such as `free`.
    pub(crate) name: &'static str,
    pub(crate) measurement: Measurement,
}

/// Converts an error of a probe into an unknown reading, as in a governor whose probe never succeeded: the error is the
/// reason why the measurement is stale.
fn measurement_or_error(result: Result<Measurement, ProbeError>) -> Measurement {
    result.unwrap_or_else(|error| Measurement::default().stale(format!("{error:#}")))
}
