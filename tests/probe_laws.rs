//! The laws of the probes: what is true of every tree of control groups, however a kernel shows it.
#![cfg(target_os = "linux")]
#![expect(clippy::arithmetic_side_effects, clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "model/probe_bytes.rs"]
mod bytes;
#[path = "model/probe_tree.rs"]
mod model;

use std::path::Path;

use concurrency_governor::Reading;
use concurrency_governor::plan::{Bound, Measurement};
use concurrency_governor::probe::{Cpu, Memory, Roots, Tasks};
use proptest::prelude::*;

use model::{Files, Granted, Tree, View, group, tree, views};

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// One tree gives one value, however it is shown: what the kernel grants. Hidden groups leave a bound of what can
    /// be seen.
    #[test]
    fn one_tree_gives_one_value(tree in tree()) {
        for view in views(&tree) {
            let (granted, bounds) = measure(&tree.files(&view).roots());
            let (hidden, bound) = match view.hidden() {
                0 => (0, Bound::Exact),
                hidden => (hidden - 1, Bound::AtMost),
            };
            prop_assert_eq!(granted, tree.granted(hidden), "{:?}", view);
            prop_assert_eq!(bounds, [bound; 5], "{:?}", view);
        }
    }

    /// To hide groups may only weaken what is known.
    #[test]
    fn hiding_groups_only_weakens(tree in tree()) {
        let (whole, _) = measure(&tree.files(&View::V2).roots());
        for hidden in 1..=tree.groups.len() {
            let (part, _) = measure(&tree.files(&View::Part(hidden)).roots());
            prop_assert!(no_more(whole, part), "{:?} {:?}", whole, part);
        }
    }

    /// To lower a limit, or to add a group, never raises a reading.
    #[test]
    fn less_is_never_more(tree in tree(), lower in group(), at in any::<prop::sample::Index>()) {
        for view in [View::V1, View::V2, View::Hybrid] {
            let (before, _) = measure(&tree.files(&view).roots());
            let mut longer = tree.clone();
            longer.groups.insert(at.index(tree.groups.len() + 1), lower.clone());
            let (after, _) = measure(&longer.files(&view).roots());
            prop_assert!(no_more(after, before), "{:?}", view);

            let mut lowered = tree.clone();
            if lowered.groups.is_empty() { continue }
            let at = at.index(lowered.groups.len());
            let group = &mut lowered.groups[at];
            let least = |old: Option<(u64, u64)>, new: Option<(u64, u64)>| match (old, new) {
                (Some((old, of)), Some((new, _))) => Some((old.min(new), of)),
                (old, new) => old.or(new),
            };
            group.cpu = least(group.cpu, lower.cpu);
            group.memory = least(group.memory, lower.memory);
            group.pids = least(group.pids, lower.pids);
            let (after, _) = measure(&lowered.files(&view).roots());
            prop_assert!(no_more(after, before), "{:?}", view);
        }
    }

    /// The order of lines does not count, and foreign lines change nothing.
    #[test]
    fn foreign_lines_change_nothing(
        tree in tree(),
        view in prop::sample::select(vec![View::V1, View::V2, View::Hybrid]),
        lines in prop::collection::vec("[0-9]{1,3}:(name=[a-z]{1,4}|freezer|cpusets?|memory2):/[a-z/]{0,9}", 0..6),
        mounts in prop::collection::vec("[0-9]{2} 24 0:9 /[a-z]{0,4} /home/[a-z]{1,9} rw - (ext4|cgroup|cgroup3) x rw,(cpuset|name=cpu)", 0..6),
        seed in any::<u64>(),
    ) {
        let mut files = tree.files(&view);
        let before = measure(&files.roots());
        shuffle(&mut files, "/proc/self/cgroup", &lines, seed);
        insert(&mut files, "/proc/self/mountinfo", &mounts, seed);
        prop_assert_eq!(measure(&files.roots()), before);
    }

    /// A quota and a period that are as many times larger are the same cores.
    #[test]
    fn only_the_ratio_of_a_quota_counts(tree in tree(), times in 2_u64..1000) {
        let mut scaled = tree.clone();
        for group in &mut scaled.groups {
            group.cpu = group.cpu.map(|(quota, period)| (quota * times, period * times));
        }
        for view in [View::V1, View::V2] {
            let [before, after] = [&tree, &scaled].map(|tree| measure(&tree.files(&view).roots()).0.cores);
            prop_assert_eq!(before, after);
        }
    }

    /// What stands in a file in place of a limit is a doubt, and lowers nothing below what the other files say.
    #[test]
    fn faults_lower_nothing(
        tree in tree(),
        view in prop::sample::select(vec![View::V1, View::V2, View::Hybrid]),
        garbage in prop_oneof!["x.*", "[1-9][0-9]{21}", "\u{0}", "1 2 3 4"],
        at in any::<prop::sample::Index>(),
    ) {
        let files = tree.files(&view);
        let (before, _) = measure(&files.roots());
        let limits: Vec<_> = files.0.keys().filter(|path| is_limit(path)).cloned().collect();
        if limits.is_empty() { return Ok(()) }
        let mut broken = files.clone();
        broken.0.insert(at.get(&limits).clone(), garbage.into_bytes());
        let (after, bounds) = measure(&broken.roots());
        prop_assert!(no_more(before, after), "{:?} {:?}", before, after);
        prop_assert!(bounds.contains(&Bound::AtMost));
    }

    /// Any bytes in any file are measured or refused, and nothing else happens.
    #[test]
    fn any_bytes_are_measured(
        bytes in prop_oneof![
            any::<Vec<u8>>(),
            "(max|some|full|MemTotal:|Max open files|cgroup2?| - |avg10=|total=|-|[0-9]{1,3}|[0-9]{20}|,| |\n|:|/|[.][.]|cpu){0,12}"
                .prop_map(String::into_bytes),
        ],
    ) {
        bytes::drive(None, &bytes);
    }
}

proptest! {
    // Each case writes some twenty trees to disk.
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    /// On disk a tree reads as in memory.
    #[test]
    fn trees_on_disk_read_as_in_memory(tree in tree()) {
        for view in views(&tree) {
            let files = tree.files(&view);
            let scratch = Scratch::new();
            files.write(&scratch.0).unwrap();
            prop_assert_eq!(measure(&Roots::at(&scratch.0)), measure(&files.roots()), "{:?}", view);
        }
    }
}

/// A path that is longer than the kernel opens is reported, on disk and in memory, and one as long as it may be is
/// followed.
#[test]
fn paths_of_any_length_are_followed_or_reported() {
    let named = |name: &str, count: usize| {
        let group =
            || model::Group { name: name.into(), cpu: Some((50_000, 100_000)), memory: None, pids: None };
        Tree { cpus: 4, kilobytes: 1 << 20, groups: (0..count).map(|_| group()).collect() }
    };
    let long = named(&"n".repeat(255), 15);
    assert_eq!(measure(&long.files(&View::V2).roots()).0, long.granted(0));
    let deep = named("d", 300);
    assert_eq!(measure(&deep.files(&View::V2).roots()).0, deep.granted(0));
    let too_long = named(&"n".repeat(255), 17);
    for view in [View::V1, View::V2] {
        let (granted, bounds) = measure(&too_long.files(&view).roots());
        assert_eq!((granted.cores, bounds), (Reading::whole(4), [Bound::AtMost; 5]));
    }
}

/// What the fuzzers once found worth keeping stays right.
#[test]
fn corpora_replay() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for corpus in ["cgroup", "mountinfo", "cpu_max", "pressure", "meminfo", "limits"] {
        for entry in corpora.join(corpus).read_dir().into_iter().flatten() {
            bytes::drive(Some(corpus), &std::fs::read(entry.unwrap().path()).unwrap());
        }
    }
}

/// What is measured, and how sure each of the five readings is.
fn measure(roots: &Roots) -> (Granted, [Bound; 5]) {
    let (cpu, memory, tasks) = (
        Cpu::new().with_roots(roots.clone()),
        Memory::new().with_roots(roots.clone()),
        Tasks::new().with_roots(roots.clone()),
    );
    let read = || {
        [
            cpu.read().unwrap(),
            memory.read().unwrap(),
            memory.read_available().unwrap(),
            tasks.read().unwrap(),
            tasks.read_free(),
        ]
    };
    let measured = read();
    assert_eq!(measured, read());
    let [cores, memory, available, tasks, free_tasks] = measured.each_ref().map(Measurement::reading);
    (Granted { cores, memory, available, tasks, free_tasks }, measured.each_ref().map(Measurement::bound))
}

/// Whether each reading is no more than its counterpart.
fn no_more(less: Granted, more: Granted) -> bool {
    let of = |granted: Granted| {
        [granted.cores, granted.memory, granted.available, granted.tasks, granted.free_tasks].map(|reading| {
            let Reading::Finite(quantity) = reading else { panic!("{reading}") };
            quantity
        })
    };
    of(less).iter().zip(of(more)).all(|(less, more)| *less <= more)
}

fn is_limit(path: &Path) -> bool {
    let names = ["cpu.max", "cpu.cfs_quota_us", "memory.max", "memory.limit_in_bytes", "pids.max"];
    path.file_name().is_some_and(|name| names.iter().any(|limit| name == *limit))
}

/// Puts lines in between and mixes all of them.
fn shuffle(files: &mut Files, path: &str, lines: &[String], seed: u64) {
    let content = files.0.get_mut(Path::new(path)).unwrap();
    let mut all: Vec<Vec<u8>> =
        content.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect();
    all.extend(lines.iter().map(|line| line.clone().into_bytes()));
    let mut state = seed | 1;
    all.sort_by_cached_key(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state >> 33
    });
    *content = all.join(&b'\n');
}

/// Puts lines in between, and leaves the order of the others, which counts.
fn insert(files: &mut Files, path: &str, lines: &[String], seed: u64) {
    let content = files.0.get_mut(Path::new(path)).unwrap();
    let mut all: Vec<Vec<u8>> = content.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    for (line, at) in lines.iter().zip(seed % 7..) {
        let at = usize::try_from(at).unwrap() % all.len();
        all.insert(at, line.clone().into_bytes());
    }
    *content = all.join(&b'\n');
}

/// A directory of its own, removed on drop.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new() -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);

        let name = format!("probe-laws-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A folder that stays behind in the build folder harms nobody.
        drop(std::fs::remove_dir_all(&self.0));
    }
}
