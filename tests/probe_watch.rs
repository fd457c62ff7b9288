//! The probes while the host changes: what is told at once, what is looked for, and what nobody must miss.
//!
//! The hosts are directories, whose files change as those of a running host do; `tests/probe_live.rs` has the real ones.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::future::Future;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use concurrency_governor::governor::RefreshPolicy;
use concurrency_governor::plan::Measurement;
use concurrency_governor::probe::{Cpu, Memory, OpenFiles, Pressure, Roots, Tasks};
use concurrency_governor::{Formula, GateSpec, Governor, Limit, Quantity, Reading, Resource, ResourceProbe};
use tokio::runtime::Builder;
use tokio::time::timeout;

const WORKERS: GateSpec = GateSpec::new("workers", Formula::scale(Resource::CPU, 1));

/// A gate follows a quota on the heels of the write: with both clocks at an hour, only the kernel's word can do it.
#[tokio::test]
async fn written_quota_moves_the_gate() {
    let tree = Tree::new("gate");
    let governor = Governor::builder().gate(WORKERS).probe(tree.cpu()).build().await.unwrap();
    let _refresh = governor.spawn_refresh(RefreshPolicy::new().every(HOUR).rise_after(1));
    let workers = governor.gate(WORKERS).unwrap();
    let mut resolutions = governor.subscribe();
    let mut took = Vec::new();
    for cores in [7, 3].repeat(10) {
        let written = Instant::now();
        tree.grant(cores);
        while workers.limit() != Limit::new(cores) {
            timeout(LONG, resolutions.changed()).await.expect("the gate follows").unwrap();
        }
        took.push(written.elapsed());
    }
    took.sort();
    let median = took[took.len().div_ceil(2)];
    assert!(median < Duration::from_millis(100), "{took:?}");
}

/// A rise is told as fast as a fall, and believed when the policy says.
#[tokio::test]
async fn rise_is_damped() {
    let tree = Tree::new("rise");
    let governor = Governor::builder().gate(WORKERS).probe(tree.cpu()).build().await.unwrap();
    let policy = RefreshPolicy::new().every(Duration::from_millis(20)).rise_after(u32::MAX);
    let _refresh = governor.spawn_refresh(policy);
    let limit = || governor.gate(WORKERS).unwrap().limit();
    assert_eq!(limit(), Limit::new(4));
    tree.grant(8);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(limit(), Limit::new(4));
    tree.grant(2);
    until(|| limit() == Limit::new(2)).await;
}

/// Writes on each other's heels come as one change, to the last of them; the same value again is none.
#[tokio::test]
async fn writes_in_a_row_are_one_change() {
    const ROUNDS: u32 = 20;

    let tree = Tree::new("coalesced");
    let cpu = tree.cpu();
    let mut at_once = 0_u32;
    for round in 0..ROUNDS {
        let wanted = round % 2 + 1;
        assert_ne!(cores(&cpu).await, Quantity::whole(wanted.into()));
        let mut changed = pin!(cpu.changed());
        assert!(timeout(SHORT, &mut changed).await.is_err(), "nothing has changed");
        // As a shell does it: the first event shows something else than what is to be.
        let path = tree.path("sys/fs/cgroup/a/b/cpu.max");
        let writer = thread::spawn(move || {
            fs::write(&path, "700000 100000\n").unwrap();
            thread::sleep(Duration::from_millis(1));
            fs::write(&path, format!("{wanted}00000 100000\n")).unwrap();
        });
        timeout(LONG, changed).await.unwrap();
        let is_last = cores(&cpu).await == Quantity::whole(wanted.into());
        at_once = at_once.saturating_add(is_last.into());
        writer.join().unwrap();
        // On a busy machine the second write may come late.
        while cores(&cpu).await != Quantity::whole(wanted.into()) {
            timeout(LONG, cpu.changed()).await.unwrap();
        }
        tree.grant(wanted);
        assert!(timeout(SHORT, cpu.changed()).await.is_err(), "the same again is none");
    }
    assert!(at_once > ROUNDS / 2, "{at_once}");
}

/// Every level counts, also one that comes, goes, or is replaced.
#[tokio::test]
async fn levels_come_and_go() {
    let tree = Tree::new("levels");
    let cpu = tree.cpu();
    let told = async |change: &dyn Fn(), expected| {
        told_of(&cpu, change).await;
        assert_eq!(cores(&cpu).await, Quantity::whole(expected));
    };
    assert_eq!(cores(&cpu).await, Quantity::whole(4));
    told(&|| tree.write("sys/fs/cgroup/a/cpu.max", "300000 100000"), 3).await;
    told(&|| fs::remove_file(tree.path("sys/fs/cgroup/a/cpu.max")).unwrap(), 4).await;
    told(&|| tree.write("sys/fs/cgroup/a/cpu.max", "100000 100000"), 1).await;
    let other = tree.path("sys/fs/cgroup/a/other");
    let replace = || {
        fs::write(&other, "200000 100000").unwrap();
        fs::rename(&other, tree.path("sys/fs/cgroup/a/cpu.max")).unwrap();
    };
    told(&replace, 2).await;
    told(&|| tree.write("sys/fs/cgroup/a/cpu.max", "100000 100000"), 1).await;
    told(&|| fs::remove_dir_all(tree.path("sys/fs/cgroup/a")).unwrap(), 8).await;
    let anew = || {
        fs::create_dir_all(tree.path("sys/fs/cgroup/a/b")).unwrap();
        tree.grant(5);
    };
    told(&anew, 5).await;
    told(&|| tree.grant(6), 6).await;
}

/// The other probes are told of their files, and all look for what nothing tells of.
#[tokio::test]
async fn each_probe_follows_its_own() {
    let tree = Tree::new("each");
    let memory = Memory::new().with_roots(tree.roots()).poll_every(HOUR);
    let tasks = Tasks::new().with_roots(tree.roots()).poll_every(HOUR);
    let files = OpenFiles::new().with_roots(tree.roots()).poll_every(Duration::from_millis(20));
    for (probe, path, content, expected) in [
        (&memory as &dyn ResourceProbe, "sys/fs/cgroup/a/b/memory.max", "4096", 4096),
        (&tasks, "sys/fs/cgroup/a/pids.max", "77", 77),
        (&files, "proc/self/limits", "Max open files 99 99 files\nMax processes 9 9 processes\n", 99),
    ] {
        drop(probe.measure().await.unwrap());
        told_of(probe, &|| tree.write(path, content)).await;
        assert_eq!(probe.measure().await.unwrap().reading(), Reading::whole(expected), "{path}");
    }
}

/// A process that is moved is found by a look, and its new group is watched from then on, the old one no more.
#[tokio::test]
async fn moved_process_is_looked_for() {
    let tree = Tree::new("moved");
    tree.write("sys/fs/cgroup/c/cpu.max", "200000 100000");
    let cpu = tree.cpu().poll_every(Duration::from_millis(20));
    assert_eq!(cores(&cpu).await, Quantity::whole(4));
    told_of(&cpu, &|| tree.write("proc/self/cgroup", "0::/c\n")).await;
    assert_eq!(cores(&cpu).await, Quantity::whole(2));

    // Whoever measures finds it as well.
    let cpu = tree.cpu();
    assert_eq!(cores(&cpu).await, Quantity::whole(2));
    assert!(timeout(SHORT, cpu.changed()).await.is_err());
    tree.write("proc/self/cgroup", "0::/a/b\n");
    assert_eq!(cores(&cpu).await, Quantity::whole(4));
    told_of(&cpu, &|| tree.grant(3)).await;
    assert_eq!(cores(&cpu).await, Quantity::whole(3));
    tree.write("sys/fs/cgroup/c/cpu.max", "100000 100000");
    assert!(timeout(SHORT, cpu.changed()).await.is_err());
}

/// Whatever changes between two calls is told by the next one: before the first, behind a future that was dropped, or
/// while nobody waits.
#[tokio::test]
async fn change_between_calls_is_told() {
    let tree = Tree::new("between");
    let cpu = tree.cpu();
    known(&cpu);
    tree.grant(3);
    timeout(LONG, cpu.changed()).await.expect("before the first call");
    assert_eq!(cores(&cpu).await, Quantity::whole(3));

    assert!(timeout(SHORT, cpu.changed()).await.is_err());
    let clone = cpu.clone();
    tree.grant(2);
    timeout(LONG, cpu.changed()).await.expect("behind a future that was dropped");
    timeout(LONG, clone.changed()).await.expect("a clone starts where its original stood");

    // Measured meanwhile, and back again before anybody looked.
    let mut changed = pin!(cpu.changed());
    assert_eq!(poll_once(changed.as_mut()), Poll::Pending);
    tree.grant(1);
    assert_eq!(cores(&cpu).await, Quantity::whole(1));
    tree.grant(2);
    timeout(LONG, changed).await.expect("what was measured last counts");
}

/// Writes in any rhythm, waits that are given up in any place: the last value is always the one that is known.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_change_is_lost() {
    const ROUNDS: u32 = 150;

    let tree = Tree::new("stress");
    let cpu = tree.cpu();
    let mut random = 1_u64;
    for round in 0..ROUNDS {
        let mut next = move |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        let last = if round % 2 == 0 { 2 } else { 3 };
        let (before, rhythm) = (next(4), next(12_000));
        let path = tree.path("sys/fs/cgroup/a/b/cpu.max");
        let writer = thread::spawn(move || {
            for cores in (0..before).map(|at| at % 5 + 1).chain([last]) {
                fs::write(&path, format!("{cores}00000 100000")).unwrap();
                thread::sleep(Duration::from_micros(rhythm));
            }
        });
        let (mut known, wanted) = (cores(&cpu).await, Quantity::whole(last));
        while known != wanted || !writer.is_finished() {
            // A wait that is given up leaves what it would have told to the next.
            let patience = Duration::from_micros(next(25_000));
            let mut told = timeout(patience, cpu.changed()).await.is_ok();
            if !told && known != wanted && writer.is_finished() {
                timeout(LONG, cpu.changed()).await.expect("told of the last value");
                told = true;
            }
            if told {
                known = cores(&cpu).await;
            }
        }
        writer.join().unwrap();
        random = next(u64::MAX) | 1;
    }
}

/// Two governors that follow one host by clones of one probe both do, and so do two that wait on one.
#[tokio::test]
async fn clones_are_told_apart() {
    let tree = Tree::new("clones");
    let cpu = tree.cpu();
    let mut governors = Vec::new();
    for probe in [cpu.clone(), cpu.clone()] {
        let governor = Governor::builder().gate(WORKERS).probe(probe).build().await.unwrap();
        let refresh = governor.spawn_refresh(RefreshPolicy::new().every(HOUR).rise_after(1));
        governors.push((governor, refresh));
    }
    for cores in [2, 6, 1] {
        tree.grant(cores);
        for (governor, _) in &governors {
            until(|| governor.gate(WORKERS).unwrap().limit() == Limit::new(cores)).await;
        }
    }
    known(&cpu);
    let (mut one, mut other) = (pin!(cpu.changed()), pin!(cpu.changed()));
    assert!(timeout(SHORT, &mut one).await.is_err() && timeout(SHORT, &mut other).await.is_err());
    tree.grant(3);
    timeout(LONG, one).await.unwrap();
    timeout(LONG, other).await.unwrap();
}

/// Without I/O in the runtime it is the clock alone, and the measurement says so; without a timer the kernel's word
/// alone; with neither, or no runtime, it waits. No panic reaches anybody.
#[test]
fn runtime_may_lack_anything() {
    // Without a timer only another thread can say that it takes too long.
    let (done, is_done) = mpsc::channel();
    let tested = thread::spawn(move || {
        lack_anything();
        done.send(()).unwrap();
    });
    let waited = is_done.recv_timeout(LONG);
    assert_ne!(waited, Err(mpsc::RecvTimeoutError::Timeout), "a change is not told");
    tested.join().unwrap();
}

fn lack_anything() {
    let tree = Tree::new("lacking");
    let cpu = tree.cpu();
    known(&cpu);
    assert_eq!(poll_once(pin!(cpu.changed())), Poll::Pending);

    let timed = Builder::new_current_thread().enable_time().build().unwrap();
    timed.block_on(async {
        let cpu = cpu.clone().poll_every(Duration::from_millis(20));
        timeout(LONG, cpu.changed()).await.expect("told of the note");
        let measured = cpu.measure().await.unwrap();
        let note = "changes are not told of (the runtime has no I/O), and looked for every 20ms";
        assert_eq!(measured.notes(), [note]);
        told_of(&cpu, &|| tree.grant(1)).await;
        assert_eq!(cores(&cpu).await, Quantity::whole(1));
    });

    let notified = Builder::new_current_thread().enable_io().build().unwrap();
    notified.block_on(async {
        let cpu = tree.cpu();
        known(&cpu);
        let path = tree.path("sys/fs/cgroup/a/b/cpu.max");
        let mut changed = pin!(cpu.changed());
        assert_eq!(poll_once(changed.as_mut()), Poll::Pending);
        let writer = thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            fs::write(path, "200000 100000").unwrap();
        });
        changed.await;
        // Nothing lets the write settle here, so the file may have been seen empty.
        while cores(&cpu).await != Quantity::whole(2) {
            cpu.changed().await;
        }
        writer.join().unwrap();
    });

    Builder::new_current_thread().build().unwrap().block_on(async {
        let cpu = tree.cpu();
        cpu.changed().await;
        let note = "changes are not told of (the runtime has no I/O), nor looked for";
        assert_eq!(cpu.measure().await.unwrap().notes(), [note]);
        assert_eq!(poll_once(pin!(cpu.changed())), Poll::Pending);
    });
    let in_memory = Cpu::new().with_roots(Roots::in_memory([("/proc/self/cgroup", "")]));
    assert_eq!(poll_once(pin!(in_memory.changed())), Poll::Pending, "texts do not change");
}

/// A probe goes on from one runtime to the next.
#[test]
fn runtimes_come_and_go() {
    let tree = Tree::new("runtimes");
    let cpu = tree.cpu();
    for expected in [3, 2, 1] {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            known(&cpu);
            told_of(&cpu, &|| tree.grant(expected)).await;
            assert_eq!(cores(&cpu).await, Quantity::whole(expected.into()));
        });
    }
}

/// Where the kernel has no notices left to give, the clock stands in, and the measurement says so.
#[test]
fn exhausted_notices_leave_the_clock() {
    const NAME: &str = "exhausted_notices_leave_the_clock";
    if std::env::var_os(CHILD).is_some() {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(async {
            let tree = Tree::new("exhausted");
            let cpu = tree.cpu().poll_every(Duration::from_millis(20));
            known(&cpu);
            timeout(LONG, cpu.changed()).await.expect("told of the note");
            let note =
                "changes are not told of (inotify: EMFILE: Too many open files), and looked for every 20ms";
            assert_eq!(cpu.measure().await.unwrap().notes(), [note]);
            told_of(&cpu, &|| tree.grant(2)).await;
            assert_eq!(cores(&cpu).await, Quantity::whole(2));
            // Once there are some again, they are taken, and told of.
            let allow = || fs::write("/proc/sys/user/max_inotify_instances", "9").unwrap();
            told_of(&cpu, &allow).await;
            assert_eq!(cpu.measure().await.unwrap().notes(), [""; 0]);
        });
    }
    let script =
        "echo 0 > /proc/sys/user/max_inotify_instances || exit 77; exec \"$0\" --exact \"$1\" --nocapture";
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--", "sh", "-c", script])
        .args([std::env::current_exe().unwrap().as_os_str(), NAME.as_ref()])
        .env(CHILD, "1")
        .output();
    match output {
        Ok(output) if output.status.success() => {
            assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
        }
        Ok(output) if String::from_utf8_lossy(&output.stdout).contains("running 1 test") => {
            panic!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        }
        _ => skip(NAME, "this process may make no namespace of users"),
    }
}

/// What a probe keeps for its changes goes with it, and with a wait that is given up what that had.
#[test]
fn descriptors_go_with_the_probe() {
    const NAME: &str = "descriptors_go_with_the_probe";
    if std::env::var_os(CHILD).is_none() {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let output = command.args(["--exact", NAME, "--nocapture"]).env(CHILD, "1").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    let tree = Tree::new("descriptors");
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let before = (open().len(), notices());
    runtime.block_on(async {
        let cpu = tree.cpu();
        assert_eq!(notices(), 0, "nothing is watched for nobody");
        for _ in 0..3 {
            let mut changed = pin!(cpu.changed());
            assert_eq!(poll_once(changed.as_mut()), Poll::Pending);
            assert_eq!(notices(), 2, "the probe's and the waiter's");
        }
    });
    assert_eq!((open().len(), notices()), before);
    runtime.block_on(async {
        let cpu = tree.cpu();
        for _ in 0..3 {
            assert!(timeout(SHORT, cpu.changed()).await.is_err());
            assert_eq!(notices(), 1, "kept between two calls");
        }
        drop(cpu);
        assert_eq!(notices(), 0);
        let governor = Governor::builder().gate(WORKERS).probe(tree.cpu()).build().await.unwrap();
        let refresh = governor.spawn_refresh(RefreshPolicy::new());
        until(|| notices() == 2).await;
        drop((refresh, governor));
        until(|| notices() == 0).await;
    });
    assert_eq!((open().len(), notices()), before);
}

/// On the running host, what a process does to itself is looked for.
#[test]
fn own_limits_are_looked_for() {
    use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
    use nix::sys::resource::{Resource as Rlimit, getrlimit, setrlimit};
    use nix::unistd::getpid;

    const NAME: &str = "own_limits_are_looked_for";
    if std::env::var_os(CHILD).is_none() {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let output = command.args(["--exact", NAME, "--nocapture"]).env(CHILD, "1").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let period = Duration::from_millis(20);
        let (cpu, files) = (Cpu::new().poll_every(period), OpenFiles::new().poll_every(period));
        known(&cpu);
        drop(files.read().unwrap());
        let (soft, hard) = getrlimit(Rlimit::RLIMIT_NOFILE).unwrap();
        let lower = || setrlimit(Rlimit::RLIMIT_NOFILE, soft.saturating_sub(1), hard).unwrap();
        told_of(&files, &lower).await;

        let allowed = sched_getaffinity(getpid()).unwrap();
        let first = (0..CpuSet::count()).find(|cpu| allowed.is_set(*cpu).unwrap()).unwrap();
        if (first..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap()).count() < 2 {
            return skip(NAME, "there is one processor");
        }
        let mut one = CpuSet::new();
        one.set(first).unwrap();
        told_of(&cpu, &|| sched_setaffinity(getpid(), &one).unwrap()).await;
        assert!(cores(&cpu).await <= Quantity::whole(1));
    });
}

/// The kernel tells of stalled work, where it has pressure to tell of; what it refuses is looked for.
#[tokio::test]
async fn stalls_are_told_of() {
    const WINDOW: Duration = Duration::from_secs(2);

    let Ok(Some(_)) = Pressure::on_cpu().sample() else {
        return skip("stalls_are_told_of", "this kernel tells no pressure");
    };
    let untold = Pressure::on_cpu();
    assert_eq!(poll_once(pin!(untold.changed())), Poll::Pending);
    // More threads than processors: some of them always wait.
    let busy = Busy::new();
    for (stall, is_refused) in [(Duration::from_millis(1), false), (WINDOW.saturating_mul(2), true)] {
        let pressure = Pressure::on_cpu().when_stalled(stall, WINDOW);
        let patience = if is_refused { WINDOW.saturating_mul(2) } else { LONG };
        let told = timeout(patience, pressure.changed()).await;
        assert_eq!(told.is_err(), is_refused, "no window has longer stalls");
        let notes = pressure.measure().await.unwrap().notes().join("; ");
        assert_eq!(notes.contains("stalls are not told of"), is_refused, "{notes}");
    }
    drop(busy);
}

/// Where there is no trigger, stalls are looked for once a window; and a captured file is not written to.
#[tokio::test]
async fn stalls_are_looked_for() {
    let tree = Tree::new("stalls");
    let stalled = |total: u32| {
        let averages = "avg10=0.00 avg60=0.00 avg300=0.00";
        tree.write("proc/pressure/memory", &format!("some {averages} total={total}\n"));
    };
    stalled(1000);
    let (stall, window) = (Duration::from_millis(5), Duration::from_millis(20));
    let memory = Pressure::on_memory().with_roots(tree.roots()).when_stalled(stall, window);
    let note = "stalls are not told of (the host is not running), and looked for every 20ms";
    assert!(timeout(SHORT, memory.changed()).await.is_err());
    assert!(memory.measure().await.unwrap().notes().contains(&note.to_owned()));
    stalled(5000);
    assert!(timeout(SHORT, memory.changed()).await.is_err(), "4 ms are no 5");
    stalled(10_000);
    timeout(LONG, memory.changed()).await.expect("what stalled between two calls counts");
    assert!(timeout(SHORT, memory.changed()).await.is_err(), "it counts once");
    let mut changed = pin!(memory.changed());
    assert!(timeout(SHORT, &mut changed).await.is_err());
    stalled(15_000);
    timeout(LONG, changed).await.unwrap();
    assert!(fs::read_to_string(tree.path("proc/pressure/memory")).unwrap().contains("total=15000"));
}

/// Threads that keep every processor busy, until they are dropped.
struct Busy(Arc<AtomicBool>, Vec<thread::JoinHandle<()>>);

impl Busy {
    fn new() -> Self {
        let goes_on = Arc::new(AtomicBool::new(true));
        let processors = thread::available_parallelism().unwrap().get();
        let threads = (0..processors.saturating_mul(2)).map(|_| {
            let goes_on = Arc::clone(&goes_on);
            thread::spawn(move || while goes_on.load(Ordering::Relaxed) {})
        });
        Self(Arc::clone(&goes_on), threads.collect())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
        self.1.drain(..).for_each(|thread| thread.join().unwrap());
    }
}

/// A host of version 2 as a directory, with the process in the group `/a/b`; removed on drop.
struct Tree(PathBuf);

impl Tree {
    fn new(name: &str) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("probe-watch-{name}-{}-{number}", std::process::id());
        let tree = Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name));
        for (path, content) in [
            ("proc/self/status", "Cpus_allowed_list:\t0-7\nCapEff:\t0000000000000000\n"),
            ("proc/self/cgroup", "0::/a/b\n"),
            ("proc/self/mountinfo", "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"),
            (
                "proc/self/limits",
                "Max open files 1024 4096 files\nMax address space unlimited unlimited bytes\nMax processes 1000 1000 processes\n",
            ),
            ("proc/meminfo", "MemTotal: 8192 kB\n"),
            ("sys/devices/system/cpu/online", "0-7\n"),
            ("sys/fs/cgroup/cgroup.controllers", "cpu memory pids\n"),
            ("sys/fs/cgroup/a/cpu.max", "max 100000\n"),
            ("sys/fs/cgroup/a/b/cpu.max", "400000 100000\n"),
            ("sys/fs/cgroup/a/b/memory.max", "max\n"),
            ("sys/fs/cgroup/a/pids.max", "max\n"),
        ] {
            tree.write(path, content);
        }
        tree
    }

    fn roots(&self) -> Roots {
        Roots::at(&self.0)
    }

    /// A probe that looks for nothing by itself.
    fn cpu(&self) -> Cpu {
        Cpu::new().with_roots(self.roots()).poll_every(HOUR)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Sets the quota of the process's own group, as a shell does: the file is emptied first.
    fn grant(&self, cores: u32) {
        self.write("sys/fs/cgroup/a/b/cpu.max", &format!("{cores}00000 100000\n"));
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        // A folder that stays behind in the build folder harms nobody.
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Waits, sees to it that nothing is told, makes a change, and goes on to wait.
async fn told_of(probe: &dyn ResourceProbe, change: &dyn Fn()) {
    let mut changed = pin!(probe.changed());
    assert!(timeout(SHORT, &mut changed).await.is_err(), "nothing has changed yet");
    change();
    timeout(LONG, changed).await.expect("the change is told");
}

/// Measures, so that there is something to compare with.
fn known(cpu: &Cpu) {
    drop(cpu.read().unwrap());
}

async fn cores(cpu: &Cpu) -> Quantity {
    let measured: Measurement = cpu.measure().await.unwrap();
    let Reading::Finite(cores) = measured.reading() else { panic!("{measured:?}") };
    cores
}

/// Waits until something holds, or for too long.
async fn until(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(LONG, waiting).await.expect("it comes to hold");
}

fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// What the descriptors of this process lead to.
fn open() -> Vec<PathBuf> {
    let listed = fs::read_dir("/proc/self/fd").unwrap();
    listed.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok()).collect()
}

fn notices() -> usize {
    open().iter().filter(|link| link.as_os_str() == "anon_inode:inotify").count()
}

/// Says that a test is skipped, past whatever captures what tests print.
fn skip(test: &str, reason: &str) {
    let mut stderr = std::io::stderr();
    writeln!(stderr, "skipped: {test}: {reason}").unwrap();
}

const CHILD: &str = "CONCURRENCY_GOVERNOR_TEST_CHILD";
const HOUR: Duration = Duration::from_secs(3600);
/// Longer than anything here takes on a busy machine.
const LONG: Duration = Duration::from_secs(20);
/// Long enough for what would be told to be told.
const SHORT: Duration = Duration::from_millis(60);
