//! The Astrid preset gives the seed's numbers: on a grid of hosts, on this host, and on this host under other limits.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a panic is how a test fails, and a child process prints for its parent"
)]

use std::num::NonZeroUsize;
use std::process::Command;
use std::thread;

use concurrency_governor::plan::{Measurement, Overrides};
use concurrency_governor::preset::astrid::{
    self, BLOCKING, CapsuleRuntimeLimits, ENV_VARS, IO, POOL, host_blocking_concurrency_default,
    host_instance_pool_size_default, host_io_concurrency_default,
};
use concurrency_governor::testing::MockProbe;
use concurrency_governor::{Governor, Limit, OverrideLayer, Quantity, Reading, Readings, Resource};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{RLIM_INFINITY, Resource as Rlimit, getrlimit};
use nix::unistd::Pid;
use tokio::sync::Semaphore;

/// The seed's arithmetic, as the engine had it: cores as a whole number, descriptors if they are known.
fn seed(cores: Option<u64>, descriptors: Option<u64>) -> CapsuleRuntimeLimits {
    let cores = cores.unwrap_or(2).max(1);
    let wide = (64 * cores).max(64);
    let io = match descriptors {
        Some(known) => wide.min((known / 2).max(1)),
        None => wide,
    };
    CapsuleRuntimeLimits {
        blocking_concurrency: usize::try_from(cores.saturating_sub(2).max(2)).unwrap(),
        io_concurrency: usize::try_from(io).unwrap(),
        instance_pool_size: usize::try_from((2 * cores).clamp(8, 64)).unwrap(),
    }
}

/// Descriptor limits around every place where the clamp changes, with what the seed knows of each.
const DESCRIPTORS: [(Reading, Option<u64>); 26] = [
    (Reading::Unlimited, None),
    (Reading::Unknown, None),
    (Reading::whole(1), Some(1)),
    (Reading::whole(2), Some(2)),
    (Reading::whole(3), Some(3)),
    (Reading::whole(4), Some(4)),
    (Reading::whole(49), Some(49)),
    (Reading::whole(50), Some(50)),
    (Reading::whole(51), Some(51)),
    (Reading::whole(127), Some(127)),
    (Reading::whole(128), Some(128)),
    (Reading::whole(129), Some(129)),
    (Reading::whole(130), Some(130)),
    (Reading::whole(255), Some(255)),
    (Reading::whole(256), Some(256)),
    (Reading::whole(257), Some(257)),
    (Reading::whole(1023), Some(1023)),
    (Reading::whole(1024), Some(1024)),
    (Reading::whole(1025), Some(1025)),
    (Reading::whole(4096), Some(4096)),
    (Reading::whole(65_535), Some(65_535)),
    (Reading::whole(65_536), Some(65_536)),
    (Reading::whole(1 << 20), Some(1 << 20)),
    (Reading::whole(1 << 31), Some(1 << 31)),
    (Reading::whole(1 << 53), Some(1 << 53)),
    (Reading::whole(1 << 63), Some(1 << 63)),
];

fn host(cpu: Reading, fd: Reading) -> Readings {
    Readings::new().with(Resource::CPU, cpu).with(Resource::FD, fd)
}

fn assert_seed(readings: &Readings, expected: CapsuleRuntimeLimits) {
    assert_eq!(CapsuleRuntimeLimits::resolve_on(readings, None, None, None), expected, "{readings:?}");
    let resolution = astrid::plan().resolve(readings, &Overrides::new()).unwrap();
    let limits = [BLOCKING, IO, POOL].map(|gate| resolution.limit(gate).unwrap().get() as usize);
    assert_eq!(
        limits,
        [expected.blocking_concurrency, expected.io_concurrency, expected.instance_pool_size],
        "{readings:?}"
    );
}

/// Parity on every host of 1 to 1024 cores, whatever its descriptor limit.
#[test]
fn whole_grid_matches_the_seed() {
    for cores in 1..=1024 {
        for (fd, known) in DESCRIPTORS {
            assert_seed(&host(Reading::whole(cores), fd), seed(Some(cores), known));
        }
    }
}

/// The seed saw whole CPUs: a quota is rounded down, to no less than one.
#[test]
fn fractions_of_a_core_are_rounded_down() {
    for (fd, known) in DESCRIPTORS {
        for thousandths in [1, 500, 999, 1000, 1001, 1500, 1999, 2000, 2999, 3999, 4500, 65_001] {
            let cpu = Reading::Finite(Quantity::from_thousandths(thousandths));
            assert_seed(&host(cpu, fd), seed(Some(thousandths / 1000), known));
        }
    }
}

/// Two cores stand in where they cannot be known.
#[test]
fn unknown_cores_count_as_two() {
    for (fd, known) in DESCRIPTORS {
        assert_seed(&host(Reading::Unknown, fd), seed(None, known));
        assert_seed(&Readings::new().with(Resource::FD, fd), seed(None, known));
    }
}

/// A few numbers by hand, so that the closed form above and the preset cannot be wrong together.
#[test]
fn a_few_hosts_by_hand() {
    for (cores, fd, blocking, io, pool) in [
        (1, Reading::whole(1024), 2, 64, 8),
        (2, Reading::whole(20_000), 2, 128, 8),
        (4, Reading::whole(256), 2, 128, 8),
        (5, Reading::whole(1024), 3, 320, 10),
        (8, Reading::whole(1024), 6, 512, 16),
        (9, Reading::whole(1024), 7, 512, 18),
        (32, Reading::Unlimited, 30, 2048, 64),
        (33, Reading::whole(50), 31, 25, 64),
        (64, Reading::whole(1), 62, 1, 64),
    ] {
        let limits = CapsuleRuntimeLimits::resolve_on(&host(Reading::whole(cores), fd), None, None, None);
        let expected = CapsuleRuntimeLimits {
            blocking_concurrency: blocking,
            io_concurrency: io,
            instance_pool_size: pool,
        };
        assert_eq!(limits, expected, "{cores} cores, fd {fd}");
    }
}

/// What the seed reads on the host this runs on.
fn seed_here() -> CapsuleRuntimeLimits {
    let cores = thread::available_parallelism().ok().map(|cores| cores.get() as u64);
    let descriptors = match getrlimit(Rlimit::RLIMIT_NOFILE) {
        Ok((soft, _)) if soft != 0 && soft != RLIM_INFINITY => Some(soft),
        _ => None,
    };
    seed(cores, descriptors)
}

/// Parity with the live host, through every door, and with no runtime at all.
#[test]
fn live_host_matches_the_seed() {
    let expected = seed_here();
    assert_eq!(CapsuleRuntimeLimits::default(), expected);
    assert_eq!(CapsuleRuntimeLimits::resolve(None, None, None), expected);
    assert_eq!(host_blocking_concurrency_default(), expected.blocking_concurrency);
    assert_eq!(host_io_concurrency_default(), expected.io_concurrency);
    assert_eq!(host_instance_pool_size_default(), expected.instance_pool_size);
}

/// Run by the tests below in a process of its own, under limits of its own.
#[test]
#[ignore = "prints the limits of its process for other tests to read"]
fn print_limits() {
    let CapsuleRuntimeLimits { blocking_concurrency, io_concurrency, instance_pool_size } =
        CapsuleRuntimeLimits::default();
    assert_eq!(CapsuleRuntimeLimits::default(), seed_here());
    println!("\nlimits: {blocking_concurrency} {io_concurrency} {instance_pool_size}");
}

/// Runs `print_limits` in a child process after a shell has run `setup`, on so many of our CPUs.
fn limits_after(setup: &str, cpus: Option<usize>) -> CapsuleRuntimeLimits {
    let setup = setup.to_owned();
    // Affinity belongs to the thread and is inherited by the child, so a thread of its own leaves ours as it is.
    let pinned = thread::spawn(move || {
        if let Some(wanted) = cpus {
            let mine = sched_getaffinity(Pid::from_raw(0)).unwrap();
            let mut pinned = CpuSet::new();
            for cpu in (0..CpuSet::count()).filter(|&cpu| mine.is_set(cpu).unwrap()).take(wanted) {
                pinned.set(cpu).unwrap();
            }
            sched_setaffinity(Pid::from_raw(0), &pinned).unwrap();
        }
        Command::new("sh")
            .args(["-c", &format!(r#"{setup} && exec "$0" "$@""#)])
            .arg(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "print_limits", "--nocapture"])
            .output()
            .unwrap()
    });
    let output = pinned.join().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let line = text.lines().find_map(|line| line.strip_prefix("limits: ")).expect(&text);
    let numbers: Vec<usize> = line.split(' ').map(|number| number.parse().unwrap()).collect();
    let [blocking_concurrency, io_concurrency, instance_pool_size] = numbers[..] else { panic!("{line}") };
    CapsuleRuntimeLimits { blocking_concurrency, io_concurrency, instance_pool_size }
}

/// The soft limit counts, not the hard one, and the clamp goes below the floor of 64.
#[test]
fn soft_descriptor_limit_clamps_the_live_host() {
    let cores = thread::available_parallelism().map_or(2, NonZeroUsize::get) as u64;
    for soft in [20, 50, 51, 127, 128] {
        assert_eq!(limits_after(&format!("ulimit -S -n {soft}"), None), seed(Some(cores), Some(soft)));
    }
}

/// The affinity that the process was given counts.
#[test]
fn affinity_narrows_the_live_host() {
    let expected = seed(Some(1), Some(300));
    assert_eq!(limits_after("ulimit -S -n 300", Some(1)), expected);
}

/// An operator's setting holds as it was given, 0 as 1, and leaves the others derived.
#[test]
fn settings_hold_as_given() {
    let readings = host(Reading::whole(8), Reading::whole(1024));
    let derived = seed(Some(8), Some(1024));
    for (given, expected) in [(0, 1), (1, 1), (7, 7), (1 << 40, 1 << 40), (usize::MAX, usize::MAX)] {
        let limits = CapsuleRuntimeLimits::resolve_on(&readings, Some(given), None, None);
        assert_eq!(limits, CapsuleRuntimeLimits { blocking_concurrency: expected, ..derived });
        let limits = CapsuleRuntimeLimits::resolve_on(&readings, None, Some(given), None);
        assert_eq!(limits, CapsuleRuntimeLimits { io_concurrency: expected, ..derived });
        let limits = CapsuleRuntimeLimits::resolve_on(&readings, None, None, Some(given));
        assert_eq!(limits, CapsuleRuntimeLimits { instance_pool_size: expected, ..derived });
    }
}

/// Semaphores are of the sizes resolved, within what tokio can hold: the seed panicked above that.
#[test]
fn semaphores_never_panic() {
    for (given, permits) in [
        (0, 1),
        (1, 1),
        (300, 300),
        (Semaphore::MAX_PERMITS, Semaphore::MAX_PERMITS),
        (Semaphore::MAX_PERMITS + 1, Semaphore::MAX_PERMITS),
        (usize::MAX, Semaphore::MAX_PERMITS),
    ] {
        let limits = CapsuleRuntimeLimits::resolve(Some(given), Some(given), Some(given));
        assert_eq!(limits.blocking_semaphore().available_permits(), permits);
        assert_eq!(limits.io_semaphore().available_permits(), permits);
    }
    let by_hand = CapsuleRuntimeLimits { blocking_concurrency: 0, io_concurrency: 0, instance_pool_size: 0 };
    assert_eq!(by_hand.io_semaphore().available_permits(), 1);
    assert_eq!(by_hand.instance_pool_min_idle(), 1);
}

/// The pool keeps four warm, or all of a smaller one, and always one.
#[test]
fn pool_keeps_up_to_four_warm() {
    for (size, warm) in [(0, 1), (1, 1), (2, 2), (3, 3), (4, 4), (5, 4), (64, 4), (usize::MAX, 4)] {
        let limits = CapsuleRuntimeLimits::resolve(None, None, Some(size));
        assert_eq!(limits.instance_pool_min_idle(), warm);
    }
}

/// The live version has the same three gates, of the same limits, and follows the host.
#[tokio::test]
async fn live_version_agrees_and_follows() {
    let here = CapsuleRuntimeLimits::governor().build().await.unwrap();
    let limits = here.gates([BLOCKING, IO, POOL]).unwrap().map(|gate| gate.limit().get() as usize);
    let expected = seed_here();
    assert_eq!(limits, [expected.blocking_concurrency, expected.io_concurrency, expected.instance_pool_size]);

    let cpu = MockProbe::new(Resource::CPU, Reading::whole(16));
    let fd = MockProbe::new(Resource::FD, Reading::whole(1 << 20));
    let mocked = Governor::builder().plan(astrid::plan()).probe(cpu.clone()).probe(fd.clone());
    let mocked = mocked.build().await.unwrap();
    let io = mocked.gate(IO).unwrap();
    assert_eq!(io.limit(), Limit::new(1024));
    fd.set(Reading::whole(50));
    mocked.refresh().await.unwrap();
    assert_eq!(io.limit(), Limit::new(25));
    fd.set_measurement(Measurement::new(Reading::Unlimited));
    cpu.set(Reading::whole(1));
    mocked.refresh().await.unwrap();
    assert_eq!(io.limit(), Limit::new(64));
}

/// The engine's variables set the engine's gates, and a live gate holds what a gate can hold of a huge one.
#[tokio::test]
async fn engine_environment_is_a_layer() {
    let settings = |name: &str| match name {
        "ASTRID_CAPSULE_HOST_BLOCKING_CONCURRENCY" => Some("3".into()),
        "ASTRID_CAPSULE_HOST_IO_CONCURRENCY" => Some(usize::MAX.to_string().into()),
        "ASTRID_CAPSULE_INSTANCE_POOL_SIZE" => Some("0".into()),
        other => panic!("the engine has no variable {other}"),
    };
    let overrides = Overrides::new().then(OverrideLayer::env(ENV_VARS, settings).unwrap());
    let governor = CapsuleRuntimeLimits::governor().overrides(overrides).build().await.unwrap();
    let limits = governor.gates([BLOCKING, IO, POOL]).unwrap().map(|gate| gate.limit());
    assert_eq!(limits, [Limit::new(3), Limit::MAX, Limit::MIN]);
}
