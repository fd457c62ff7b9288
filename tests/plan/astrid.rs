//! The Astrid preset derives the numbers of the original engine: on a grid of hosts, on this host, and on this host under
//! other limits.

use std::num::NonZeroUsize;
use std::process::Command;
use std::thread;

use concurrency_governor::plan::Measurement;
use concurrency_governor::preset::astrid::{
    self, BLOCKING, CapsuleGates, CapsuleRuntimeLimits, ENV_VARS, IO, POOL, WARM_MIN_IDLE,
    host_blocking_concurrency_default, host_instance_pool_size_default, host_io_concurrency_default,
};
use concurrency_governor::testing::MockProbe;
use concurrency_governor::{
    Governor, Limit, OverrideLayer, Overrides, Quantity, Reading, Readings, Resource,
};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{RLIM_INFINITY, Resource as Rlimit, getrlimit};
use nix::unistd::Pid;
use tokio::sync::Semaphore;

use crate::support::host;

/// Computes the limits with the arithmetic of the original engine, from whole cores and from descriptors if they are known.
fn original(cores: Option<u64>, descriptors: Option<u64>) -> CapsuleRuntimeLimits {
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

/// Descriptor limits around each value at which the clamp changes, with the number that the original engine used.
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

fn readings(cpu: Reading, fd: Reading) -> Readings {
    Readings::new().with(Resource::CPU, cpu).with(Resource::FD, fd)
}

fn assert_limits(readings: &Readings, expected: CapsuleRuntimeLimits) {
    assert_eq!(CapsuleRuntimeLimits::resolve_on(readings, None, None, None), expected, "{readings:?}");
    let resolution = astrid::plan().resolve(readings, &Overrides::new()).unwrap();
    let limits = [BLOCKING, IO, POOL].map(|gate| resolution.limit(gate).unwrap().get() as usize);
    assert_eq!(
        limits,
        [expected.blocking_concurrency, expected.io_concurrency, expected.instance_pool_size],
        "{readings:?}"
    );
}

// Parity with the original engine on mocked hosts

/// The limits equal those of the original engine on every host with 1 to 1024 cores and each descriptor limit.
#[test]
fn grid_of_hosts_matches_the_original() {
    for cores in 1..=1024 {
        for (fd, known) in DESCRIPTORS {
            assert_limits(&readings(Reading::whole(cores), fd), original(Some(cores), known));
        }
    }
}

/// The original engine used whole CPUs: a quota is rounded down, but to at least one core.
#[test]
fn fraction_of_a_core_is_rounded_down() {
    for (fd, known) in DESCRIPTORS {
        for thousandths in [1, 500, 999, 1000, 1001, 1500, 1999, 2000, 2999, 3999, 4500, 65_001] {
            let cpu = Reading::Finite(Quantity::from_thousandths(thousandths));
            assert_limits(&readings(cpu, fd), original(Some(thousandths / 1000), known));
        }
    }
}

/// Unknown cores count as two.
#[test]
fn unknown_cores_count_as_two() {
    for (fd, known) in DESCRIPTORS {
        assert_limits(&readings(Reading::Unknown, fd), original(None, known));
        assert_limits(&Readings::new().with(Resource::FD, fd), original(None, known));
    }
}

/// The preset gives a few numbers that were computed by hand, so that it cannot be wrong together with the formula
/// above.
#[test]
fn hand_computed_hosts_match() {
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
        let limits = CapsuleRuntimeLimits::resolve_on(&readings(Reading::whole(cores), fd), None, None, None);
        let expected = CapsuleRuntimeLimits {
            blocking_concurrency: blocking,
            io_concurrency: io,
            instance_pool_size: pool,
        };
        assert_eq!(limits, expected, "{cores} cores, fd {fd}");
    }
}

/// The three formulas equal the closed form in the design document, on small hosts and on hosts with fractional cores.
#[test]
fn preset_matches_its_closed_form() {
    let thousandths = (0..=130_000).step_by(250).chain([1, 999, 1001, 1999, 2001, 256_000_000]);
    let descriptors = [0, 1, 2, 3, 4, 49, 50, 51, 126, 127, 128, 129, 130, 1024, 20_000, 65_536, 1 << 20];
    for cpu in thousandths {
        let cores = cpu / 1000;
        for fd in descriptors {
            let readings = Readings::new()
                .with(Resource::CPU, Reading::from(Quantity::from_thousandths(cpu)))
                .with(Resource::FD, Reading::whole(fd));
            let io = (64 * cores).max(64);
            assert_eq!(
                limits(&readings),
                [cores.saturating_sub(2).max(2), io.min((fd / 2).max(1)), (2 * cores).clamp(8, 64),]
            );
            for unclamping in [Reading::Unlimited, Reading::Unknown] {
                let readings = readings.clone().with(Resource::FD, unclamping);
                assert_eq!(limits(&readings)[1], io);
            }
        }
    }
}

/// Unknown cores count as 2. With unlimited cores, each limit is the lowest other bound of its formula.
#[test]
fn unknown_and_unlimited_readings_have_defined_limits() {
    let most = u64::from(Limit::MAX);
    for (cpu, fd, expected) in [
        (Reading::Unknown, Reading::Unknown, [2, 128, 8]),
        (Reading::Unknown, Reading::whole(100), [2, 50, 8]),
        (Reading::Unlimited, Reading::Unknown, [most, most, 64]),
        (Reading::Unlimited, Reading::whole(20_000), [most, 10_000, 64]),
    ] {
        let readings = Readings::new().with(Resource::CPU, cpu).with(Resource::FD, fd);
        assert_eq!(limits(&readings), expected);
    }
    assert_eq!(limits(&Readings::new()), [2, 128, 8]);
}

/// `CapsuleRuntimeLimits` has the limits of the plan. A setting is kept as given, with 0 as 1. The warm minimum is 4 or
/// the size of the pool.
#[test]
fn capsule_limits_match_the_plan() {
    for cores in 0..=40 {
        let readings = host(cores, 20_000);
        let [blocking, io, pool] = limits(&readings).map(|limit| usize::try_from(limit).unwrap());
        let derived = CapsuleRuntimeLimits::resolve_on(&readings, None, None, None);
        assert_eq!(
            derived,
            CapsuleRuntimeLimits {
                blocking_concurrency: blocking,
                io_concurrency: io,
                instance_pool_size: pool,
            }
        );
        for (given, kept) in [(0, 1), (1, 1), (2, 2), (5, 5), (1 << 30, 1 << 30), (usize::MAX, usize::MAX)] {
            let set = CapsuleRuntimeLimits::resolve_on(&readings, Some(given), Some(given), Some(given));
            assert_eq!(
                set,
                CapsuleRuntimeLimits {
                    blocking_concurrency: kept,
                    io_concurrency: kept,
                    instance_pool_size: kept,
                }
            );
            assert_eq!(set.instance_pool_min_idle(), kept.min(4));
        }
        let only_io = CapsuleRuntimeLimits::resolve_on(&readings, None, Some(7), None);
        assert_eq!(only_io, CapsuleRuntimeLimits { io_concurrency: 7, ..derived });
    }
}

/// The gates and the environment variables print as the documentation lists them.
#[test]
fn gates_print_as_documented() {
    assert_eq!(astrid::plan().specs(), [BLOCKING, IO, POOL]);
    let texts = [BLOCKING, IO, POOL].map(|spec| format!("{}: {}", spec.name(), spec.formula()));
    assert_eq!(
        texts,
        [
            "blocking: whole cpu or 2 | reserve 2 | floor 2",
            "io: (whole cpu or 2) * 64 | floor 64 | at most fd * 1/2",
            "pool: (whole cpu or 2) * 2 | floor 8 | ceiling 64",
        ]
    );
    assert_eq!(
        ENV_VARS.map(|(gate, variable)| format!("{gate} {variable}")),
        [
            "blocking ASTRID_CAPSULE_HOST_BLOCKING_CONCURRENCY",
            "io ASTRID_CAPSULE_HOST_IO_CONCURRENCY",
            "pool ASTRID_CAPSULE_INSTANCE_POOL_SIZE",
        ]
    );
}

// Parity with the original engine on this host

/// Computes the limits of the original engine on the host of this test.
fn original_here() -> CapsuleRuntimeLimits {
    let cores = thread::available_parallelism().ok().map(|cores| cores.get() as u64);
    let descriptors = match getrlimit(Rlimit::RLIMIT_NOFILE) {
        Ok((soft, _)) if soft != 0 && soft != RLIM_INFINITY => Some(soft),
        _ => None,
    };
    original(cores, descriptors)
}

/// Each function derives the limits of the original engine on this host, without a runtime.
#[test]
fn live_host_matches_the_original() {
    let expected = original_here();
    assert_eq!(CapsuleRuntimeLimits::default(), expected);
    assert_eq!(CapsuleRuntimeLimits::resolve(None, None, None), expected);
    assert_eq!(host_blocking_concurrency_default(), expected.blocking_concurrency);
    assert_eq!(host_io_concurrency_default(), expected.io_concurrency);
    assert_eq!(host_instance_pool_size_default(), expected.instance_pool_size);
}

/// Prints the limits of its process. The tests below run it in a child process with other limits.
#[test]
#[ignore = "a helper process of other tests"]
fn print_limits() {
    let CapsuleRuntimeLimits { blocking_concurrency, io_concurrency, instance_pool_size } =
        CapsuleRuntimeLimits::default();
    assert_eq!(CapsuleRuntimeLimits::default(), original_here());
    println!("\nlimits: {blocking_concurrency} {io_concurrency} {instance_pool_size}");
}

/// Runs `print_limits` in a child process after the shell command `setup`, pinned to the first `cpus` of our CPUs.
fn limits_after(setup: &str, cpus: Option<usize>) -> CapsuleRuntimeLimits {
    let setup = setup.to_owned();
    // The affinity belongs to the thread, and the child inherits it. So another thread is pinned, not this one.
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
            .args(["--ignored", "--exact", "astrid::print_limits", "--nocapture"])
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

/// The clamp reads the soft limit, not the hard one, and goes below the floor of 64.
#[test]
fn soft_descriptor_limit_clamps_on_the_live_host() {
    let cores = thread::available_parallelism().map_or(2, NonZeroUsize::get) as u64;
    for soft in [20, 50, 51, 127, 128] {
        assert_eq!(limits_after(&format!("ulimit -S -n {soft}"), None), original(Some(cores), Some(soft)));
    }
}

/// Only the CPUs of the affinity mask count as cores.
#[test]
fn affinity_limits_the_cores_of_the_live_host() {
    let expected = original(Some(1), Some(300));
    assert_eq!(limits_after("ulimit -S -n 300", Some(1)), expected);
}

// Settings, semaphores and gates

/// A setting is kept as given, with 0 as 1, and leaves the other limits derived.
#[test]
fn settings_are_kept_as_given() {
    let readings = readings(Reading::whole(8), Reading::whole(1024));
    let derived = original(Some(8), Some(1024));
    for (given, expected) in [(0, 1), (1, 1), (7, 7), (1 << 40, 1 << 40), (usize::MAX, usize::MAX)] {
        let limits = CapsuleRuntimeLimits::resolve_on(&readings, Some(given), None, None);
        assert_eq!(limits, CapsuleRuntimeLimits { blocking_concurrency: expected, ..derived });
        let limits = CapsuleRuntimeLimits::resolve_on(&readings, None, Some(given), None);
        assert_eq!(limits, CapsuleRuntimeLimits { io_concurrency: expected, ..derived });
        let limits = CapsuleRuntimeLimits::resolve_on(&readings, None, None, Some(given));
        assert_eq!(limits, CapsuleRuntimeLimits { instance_pool_size: expected, ..derived });
    }
}

/// A semaphore has the resolved size, clamped to the range that tokio allows. The original engine panicked above it.
#[test]
fn semaphores_are_clamped_to_what_tokio_allows() {
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

/// The warm minimum is 4, or the size of a smaller pool, but at least 1.
#[test]
fn pool_keeps_one_to_four_instances_warm() {
    for (size, warm) in [(0, 1), (1, 1), (2, 2), (3, 3), (4, 4), (5, 4), (64, 4), (usize::MAX, 4)] {
        let limits = CapsuleRuntimeLimits::resolve(None, None, Some(size));
        assert_eq!(limits.instance_pool_min_idle(), warm);
    }
    assert_eq!(WARM_MIN_IDLE, 4);
}

/// The plain limits become gates, each with its own number and the name of the preset, clamped to what a gate can hold. Each
/// call creates new gates, and clones are the same gates.
#[test]
fn limits_become_gates() {
    let limits = CapsuleRuntimeLimits { blocking_concurrency: 2, io_concurrency: 100, instance_pool_size: 7 };
    let gates = limits.gates();
    let seen = [&gates.blocking, &gates.io, &gates.pool].map(|gate| (gate.name(), gate.limit().get()));
    assert_eq!(seen, [(BLOCKING.name(), 2), (IO.name(), 100), (POOL.name(), 7)]);

    let (clone, other) = (gates.clone(), limits.gates());
    let _permits = (gates.io.try_acquire().unwrap(), gates.pool.try_acquire_many(7).unwrap());
    assert_eq!((clone.io.status().in_use, clone.pool.status().available), (1, 0));
    assert_eq!((other.io.status().in_use, other.pool.status().available), (0, 7));

    let by_hand = CapsuleRuntimeLimits {
        blocking_concurrency: 0,
        io_concurrency: usize::MAX,
        instance_pool_size: 1 << 30,
    };
    let CapsuleGates { blocking, io, pool } = by_hand.gates();
    assert_eq!([blocking, io, pool].map(|gate| gate.limit()), [Limit::MIN, Limit::MAX, Limit::MAX]);
}

/// The gates of a governor are those that it resizes. Another plan has no such gates.
#[tokio::test]
async fn gates_of_a_governor_follow_it() {
    let governor = CapsuleRuntimeLimits::governor().build().await.unwrap();
    let gates = CapsuleGates::try_from(&governor).unwrap();
    let settings = OverrideLayer::new("cli").set(BLOCKING, 3).set(IO, 30).set(POOL, 300);
    governor.set_overrides(Overrides::new().then(settings)).unwrap();
    let CapsuleGates { blocking, io, pool } = gates;
    assert_eq!([blocking, io, pool].map(|gate| gate.limit().get()), [3, 30, 300]);

    let other = Governor::builder().gate(IO).probe(MockProbe::new(Resource::CPU, Reading::whole(1)));
    let other = other.probe(MockProbe::new(Resource::FD, Reading::Unlimited)).build().await.unwrap();
    let error = CapsuleGates::try_from(&other).unwrap_err().to_string();
    assert!(error.contains("`blocking`"), "{error}");
}

/// The governor has the same three gates with the same limits, and follows the host.
#[tokio::test]
async fn governor_has_the_same_gates_and_follows_the_host() {
    let here = CapsuleRuntimeLimits::governor().build().await.unwrap();
    let limits = here.gates([BLOCKING, IO, POOL]).unwrap().map(|gate| gate.limit().get() as usize);
    let expected = original_here();
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

/// The engine's environment variables set its gates. A setting above the greatest limit becomes the greatest limit.
#[tokio::test]
async fn engine_variables_set_the_engine_gates() {
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

/// Returns the limits of the three gates, in the order of the plan.
fn limits(readings: &Readings) -> [u64; 3] {
    let resolution = astrid::plan().resolve(readings, &Overrides::new()).unwrap();
    [BLOCKING, IO, POOL].map(|gate| resolution.limit(gate).unwrap().into())
}
