//! The cost of a measurement, beside the standard library and `num_cpus`.
//!
//! The unit is CPU time of the thread, so that other load on the machine has little influence. Compare only numbers of
//! one run.

#![expect(clippy::unwrap_used, reason = "a panic is how a benchmark fails")]

use std::fs::File;
use std::hint::black_box;
use std::time::Duration;

use concurrency_governor::probe::{Cpu, Memory, OpenFiles, Pressure, Tasks};
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{Criterion, criterion_group, criterion_main};
use nix::sys::resource::{Resource as Rlimit, getrlimit, setrlimit};
use nix::time::{ClockId, clock_gettime};

/// Measures the cores. The standard library and `num_cpus` return whole cores, without sources.
fn cores(c: &mut Criterion<CpuTime>) {
    let mut group = c.benchmark_group("cores");
    group
        .bench_function("std::thread::available_parallelism", |b| b.iter(std::thread::available_parallelism));
    group.bench_function("num_cpus::get, which caches the first answer", |b| b.iter(num_cpus::get));
    group.bench_function("Cpu, new each time", |b| b.iter(|| Cpu::new().read()));
    let reused = Cpu::new();
    group.bench_function("Cpu, reused", |b| b.iter(|| reused.read()));
    // The parts of that cost. The cgroup of the process has to be read each time. It costs most in v1, where each
    // controller has its own hierarchy.
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::fs::FileExt;

        use nix::sched::sched_getaffinity;
        use nix::unistd::getpid;

        let (groups, mut buffer) = (File::open("/proc/self/cgroup").unwrap(), [0; 4096]);
        group.bench_function("part: /proc/self/cgroup", |b| b.iter(|| groups.read_at(&mut buffer, 0)));
        group.bench_function("part: the affinity", |b| b.iter(|| sched_getaffinity(getpid())));
        // One such read for each file with a quota.
        let quotas = reused.limit_files();
        if let Some(quota) = quotas.into_iter().find_map(|path| File::open(path).ok()) {
            group.bench_function("part: one quota file", |b| b.iter(|| quota.read_at(&mut buffer, 0)));
        }
    }
    group.finish();
}

/// Counts the open descriptors, with a hundred and with ten thousand of them.
fn descriptors(c: &mut Criterion<CpuTime>) {
    let mut group = c.benchmark_group("descriptors in use");
    let (_, hard) = getrlimit(Rlimit::RLIMIT_NOFILE).unwrap();
    setrlimit(Rlimit::RLIMIT_NOFILE, hard, hard).unwrap();
    let open_files = OpenFiles::new();
    let mut open = Vec::new();
    for count in [100, 10_000] {
        // If the hard limit is lower, opens as many as possible.
        open.extend((open.len()..count).map_while(|_| File::open("/dev/null").ok()));
        group.bench_function(format!("OpenFiles, {} open", open.len()), |b| {
            b.iter(|| open_files.read_in_use());
        });
        group.bench_function(format!("listing /proc/self/fd, {} open", open.len()), |b| {
            b.iter(|| std::fs::read_dir("/proc/self/fd").unwrap().count());
        });
    }
    group.finish();
    drop(black_box(open));
}

/// Measures the other resources, with reused probes.
fn others(c: &mut Criterion<CpuTime>) {
    let mut group = c.benchmark_group("other readings");
    let (open_files, memory, tasks, pressure) =
        (OpenFiles::new(), Memory::new(), Tasks::new(), Pressure::on_cpu());
    group.bench_function("limit of descriptors", |b| b.iter(|| open_files.read()));
    group.bench_function("memory", |b| b.iter(|| memory.read()));
    group.bench_function("memory available", |b| b.iter(|| memory.read_available()));
    group.bench_function("tasks", |b| b.iter(|| tasks.read()));
    group.bench_function("pressure", |b| b.iter(|| pressure.read()));
    group.finish();
}

/// Measures the CPU time of the calling thread.
struct CpuTime(WallTime);

impl Measurement for CpuTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap())
    }

    fn end(&self, start: Duration) -> Duration {
        self.start().saturating_sub(start)
    }

    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        one.saturating_add(*other)
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        self.0.to_f64(value)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        self.0.formatter()
    }
}

fn criterion_on_cpu_time() -> Criterion<CpuTime> {
    Criterion::default().with_measurement(CpuTime(WallTime))
}

criterion_group!(name = benches; config = criterion_on_cpu_time(); targets = cores, descriptors, others);
criterion_main!(benches);
