//! What is measured of a host for a report.

#[cfg(target_os = "linux")]
use std::path::Path;

use concurrency_governor::Resource;
use concurrency_governor::plan::Measurement;
#[cfg(target_os = "linux")]
use concurrency_governor::probe::Roots;
use concurrency_governor::probe::{Cpu, Memory, OpenFiles, Pressure, ProbeError, Tasks};

/// The probes of one host.
#[derive(Debug)]
pub(crate) struct Host {
    cpu: Cpu,
    open_files: OpenFiles,
    memory: Memory,
    tasks: Tasks,
    pressures: [(Resource, Pressure); 3],
}

/// A number that goes with the reading of a resource.
#[derive(Debug)]
pub(crate) struct Figure {
    /// What it is the number of.
    pub(crate) name: &'static str,
    pub(crate) measured: Measurement,
}

impl Host {
    /// The one that this runs on.
    pub(crate) fn running() -> Self {
        Self {
            cpu: Cpu::new(),
            open_files: OpenFiles::new(),
            memory: Memory::new(),
            tasks: Tasks::new(),
            pressures: [
                (Pressure::CPU, Pressure::on_cpu()),
                (Pressure::MEMORY, Pressure::on_memory()),
                (Pressure::IO, Pressure::on_io()),
            ],
        }
    }

    /// One that was captured.
    #[cfg(target_os = "linux")]
    pub(crate) fn captured(directory: &Path) -> Self {
        let roots = || Roots::at(directory);
        let Self { cpu, open_files, memory, tasks, pressures } = Self::running();
        Self {
            cpu: cpu.with_roots(roots()),
            open_files: open_files.with_roots(roots()),
            memory: memory.with_roots(roots()),
            tasks: tasks.with_roots(roots()),
            pressures: pressures.map(|(resource, pressure)| (resource, pressure.with_roots(roots()))),
        }
    }

    /// What is measured whether or not a plan reads it.
    pub(crate) const ALWAYS: [Resource; 4] = [Resource::CPU, Resource::FD, Resource::MEMORY, Resource::TASKS];

    /// What is measured where numbers are watched: that, and the shares of time in which work stalls.
    pub(crate) const WATCHED: [Resource; 7] = [
        Resource::CPU,
        Resource::FD,
        Resource::MEMORY,
        Resource::TASKS,
        Pressure::CPU,
        Pressure::MEMORY,
        Pressure::IO,
    ];

    /// The measurement of a resource, if there is a probe of it. One that fails is unknown, with a note.
    pub(crate) fn measure(&self, resource: Resource) -> Option<Measurement> {
        let read = match resource {
            Resource::CPU => self.cpu.read(),
            Resource::FD => self.open_files.read(),
            Resource::MEMORY => self.memory.read(),
            Resource::TASKS => self.tasks.read(),
            other => self.pressures.iter().find(|(resource, _)| *resource == other)?.1.read(),
        };
        Some(known(read))
    }

    /// The figures that go with the reading of a resource.
    pub(crate) fn figures(&self, resource: Resource) -> Vec<Figure> {
        let figure = |name, measured| Figure { name, measured };
        match resource {
            Resource::FD => vec![
                figure("in use", known(self.open_files.read_in_use())),
                figure("free", known(self.open_files.read_free())),
            ],
            Resource::MEMORY => vec![
                figure("available", known(self.memory.read_available())),
                figure("soft limit", self.memory.read_soft_limit()),
            ],
            Resource::TASKS => vec![figure("free", self.tasks.read_free())],
            _ => Vec::new(),
        }
    }
}

fn known(read: Result<Measurement, ProbeError>) -> Measurement {
    read.unwrap_or_else(|error| Measurement::default().note(format!("{error:#}")))
}
