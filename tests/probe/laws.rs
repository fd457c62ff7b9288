//! The laws of the probes: what holds for every tree of cgroups, however a kernel shows it.

use std::path::Path;

use concurrency_governor::Reading;
use concurrency_governor::plan::{Bound, Measurement};
use concurrency_governor::probe::{Cpu, Memory, Roots, Tasks};
use proptest::prelude::*;

use crate::model::bytes;
use crate::model::tree::{Cgroup, CgroupTree, GrantedReadings, HostFiles, TreeView, cgroup, tree, views};
use crate::support::temp_dir::TempDir;

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Every view of a tree gives one value: what the kernel grants. If cgroups are hidden, the value is a
    /// bound, computed from the visible ones.
    #[test]
    fn every_view_of_a_tree_gives_one_value(tree in tree()) {
        for view in views(&tree) {
            let (granted, bounds) = measure(&tree.files(&view).roots());
            let (hidden, mut expected) = match view.first_visible() {
                0 => (0, [Bound::Exact; 5]),
                first => (first - 1, [Bound::AtMost; 5]),
            };
            if view.first_visible() == 0 && tree.is_available_a_lower_bound() {
                expected[2] = Bound::AtLeast;
            }
            prop_assert_eq!(granted, tree.granted(hidden), "{:?}", view);
            prop_assert_eq!(bounds, expected, "{:?}", view);
        }
    }

    /// Hiding cgroups never lowers a reading, so that a partial view gives an upper bound.
    #[test]
    fn hiding_cgroups_never_lowers_a_reading(tree in tree()) {
        let (whole, _) = measure(&tree.files(&TreeView::V2).roots());
        for number in 1..=tree.cgroups.len() {
            let (part, _) = measure(&tree.files(&TreeView::V2Part(number)).roots());
            prop_assert!(is_at_most(whole, part), "{:?} {:?}", whole, part);
        }
    }

    /// A lower limit or one more cgroup never raises a reading.
    #[test]
    fn more_limits_never_raise_a_reading(
        tree in tree(),
        lower in cgroup(),
        index in any::<prop::sample::Index>(),
    ) {
        for view in [TreeView::V1, TreeView::V2, TreeView::Hybrid] {
            let (before, _) = measure(&tree.files(&view).roots());
            let mut longer = tree.clone();
            longer.cgroups.insert(index.index(tree.cgroups.len() + 1), lower.clone());
            let (after, _) = measure(&longer.files(&view).roots());
            prop_assert!(is_at_most(after, before), "{:?}", view);

            let mut lowered = tree.clone();
            if lowered.cgroups.is_empty() { continue }
            let index = index.index(lowered.cgroups.len());
            let cgroup = &mut lowered.cgroups[index];
            // The second number, a period or a usage, stays.
            let lowest = |old: Option<(u64, u64)>, new: Option<(u64, u64)>| match (old, new) {
                (Some((old, second)), Some((new, _))) => Some((old.min(new), second)),
                (old, new) => old.or(new),
            };
            cgroup.cpu = lowest(cgroup.cpu, lower.cpu);
            cgroup.memory = lowest(cgroup.memory, lower.memory);
            cgroup.pids = lowest(cgroup.pids, lower.pids);
            let (after, _) = measure(&lowered.files(&view).roots());
            prop_assert!(is_at_most(after, before), "{:?}", view);
        }
    }

    /// Lines of other controllers, mounts of other file systems, and the order of the lines in
    /// `/proc/self/cgroup` have no effect.
    #[test]
    fn foreign_lines_change_nothing(
        tree in tree(),
        view in prop::sample::select(vec![TreeView::V1, TreeView::V2, TreeView::Hybrid]),
        lines in prop::collection::vec("[0-9]{1,3}:(name=[a-z]{1,4}|freezer|cpusets?|memory2):/[a-z/]{0,9}", 0..6),
        mounts in prop::collection::vec("[0-9]{2} 24 0:9 /[a-z]{0,4} /home/[a-z]{1,9} rw - (ext4|cgroup|cgroup3) x rw,(cpuset|name=cpu)", 0..6),
        seed in any::<u64>(),
    ) {
        let mut files = tree.files(&view);
        let before = measure(&files.roots());
        shuffle_lines(&mut files, "/proc/self/cgroup", &lines, seed);
        insert_lines(&mut files, "/proc/self/mountinfo", &mounts, seed);
        prop_assert_eq!(measure(&files.roots()), before);
    }

    /// Quota and period count only as a ratio: multiplied by one factor, they give the same cores.
    #[test]
    fn only_the_ratio_of_quota_and_period_counts(tree in tree(), factor in 2_u64..1000) {
        let mut scaled = tree.clone();
        for cgroup in &mut scaled.cgroups {
            cgroup.cpu = cgroup.cpu.map(|(quota, period)| (quota * factor, period * factor));
        }
        for view in [TreeView::V1, TreeView::V2] {
            let [before, after] = [&tree, &scaled].map(|tree| measure(&tree.files(&view).roots()).0.cores);
            prop_assert_eq!(before, after);
        }
    }

    /// An invalid text in place of a limit makes a reading a bound, and lowers no reading.
    #[test]
    fn invalid_limits_lower_no_reading(
        tree in tree(),
        view in prop::sample::select(vec![TreeView::V1, TreeView::V2, TreeView::Hybrid]),
        garbage in prop_oneof!["x.*", "[1-9][0-9]{21}", "\u{0}", "1 2 3 4"],
        index in any::<prop::sample::Index>(),
    ) {
        let files = tree.files(&view);
        let (before, _) = measure(&files.roots());
        let limits: Vec<_> = files.0.keys().filter(|path| is_limit(path)).cloned().collect();
        if limits.is_empty() { return Ok(()) }
        let mut invalid = files.clone();
        invalid.0.insert(index.get(&limits).clone(), garbage.into_bytes());
        let (after, bounds) = measure(&invalid.roots());
        prop_assert!(is_at_most(before, after), "{:?} {:?}", before, after);
        prop_assert!(bounds.contains(&Bound::AtMost));
    }

    /// Any bytes in any file give a valid measurement or an error, and never a panic.
    #[test]
    fn any_bytes_are_measured_or_an_error(
        bytes in prop_oneof![
            any::<Vec<u8>>(),
            "(max|some|full|MemTotal:|Max open files|cgroup2?| - |avg10=|total=|-|[0-9]{1,3}|[0-9]{20}|,| |\n|:|/|[.][.]|cpu){0,12}"
                .prop_map(String::into_bytes),
        ],
    ) {
        for check in bytes::CHECKS {
            (check.run)(&bytes);
        }
    }
}

proptest! {
    // Each case writes about twenty trees to the disk.
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    /// A tree on the disk gives the same readings as in memory.
    #[test]
    fn trees_on_disk_read_as_in_memory(tree in tree()) {
        for view in views(&tree) {
            let files = tree.files(&view);
            let directory = TempDir::new();
            files.write(&directory);
            prop_assert_eq!(measure(&Roots::at(directory.path())), measure(&files.roots()), "{:?}", view);
        }
    }
}

/// A path that the kernel can open is read. A path that is too long for the kernel is reported, and the
/// reading is a bound.
#[test]
fn paths_of_any_length_are_read_or_reported() {
    let nested = |name: &str, count: usize| {
        let cgroup = Cgroup { name: name.into(), cpu: Some((50_000, 100_000)), memory: None, pids: None };
        CgroupTree { cpus: 4, kilobytes: 1 << 20, cgroups: vec![cgroup; count] }
    };
    let long = nested(&"n".repeat(255), 15);
    assert_eq!(measure(&long.files(&TreeView::V2).roots()).0, long.granted(0));
    let deep = nested("d", 300);
    assert_eq!(measure(&deep.files(&TreeView::V2).roots()).0, deep.granted(0));
    let too_long = nested(&"n".repeat(255), 17);
    for view in [TreeView::V1, TreeView::V2] {
        let (granted, bounds) = measure(&too_long.files(&view).roots());
        assert_eq!((granted.cores, bounds), (Reading::whole(4), [Bound::AtMost; 5]));
    }
}

/// Every input in the fuzz corpora passes its check.
#[test]
fn fuzz_corpora_pass() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for bytes::BytesCheck { corpus, .. } in bytes::CHECKS {
        // The published package has no corpora.
        for entry in corpora.join(corpus).read_dir().into_iter().flatten() {
            bytes::check(corpus, &std::fs::read(entry.unwrap().path()).unwrap());
        }
    }
}

/// Returns the five readings of a host and their bounds. Asserts that two measurements are equal.
fn measure(roots: &Roots) -> (GrantedReadings, [Bound; 5]) {
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
    let readings = GrantedReadings { cores, memory, available, tasks, free_tasks };
    // What is left is never more than the limit.
    assert!(is_at_most(GrantedReadings { memory: available, tasks: free_tasks, ..readings }, readings));
    (readings, measured.each_ref().map(Measurement::bound))
}

/// Returns whether each reading of `lower` is at most the same reading of `upper`.
fn is_at_most(lower: GrantedReadings, upper: GrantedReadings) -> bool {
    let quantities = |granted: GrantedReadings| {
        [granted.cores, granted.memory, granted.available, granted.tasks, granted.free_tasks].map(|reading| {
            let Reading::Finite(quantity) = reading else { panic!("{reading}") };
            quantity
        })
    };
    quantities(lower).iter().zip(quantities(upper)).all(|(lower, upper)| *lower <= upper)
}

fn is_limit(path: &Path) -> bool {
    let names = ["cpu.max", "cpu.cfs_quota_us", "memory.max", "memory.limit_in_bytes", "pids.max"];
    path.file_name().is_some_and(|name| names.iter().any(|limit| name == *limit))
}

/// Adds lines to a file, and shuffles all its lines.
fn shuffle_lines(files: &mut HostFiles, path: &str, lines: &[String], seed: u64) {
    let content = files.0.get_mut(Path::new(path)).unwrap();
    let mut all: Vec<Vec<u8>> =
        content.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect();
    all.extend(lines.iter().map(|line| line.clone().into_bytes()));
    // The keys of the lines are a linear congruential sequence.
    let mut state = seed | 1;
    all.sort_by_cached_key(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state >> 33
    });
    *content = all.join(&b'\n');
}

/// Inserts lines into a file, and keeps the order of its own lines, which matters.
fn insert_lines(files: &mut HostFiles, path: &str, lines: &[String], seed: u64) {
    let content = files.0.get_mut(Path::new(path)).unwrap();
    let mut all: Vec<Vec<u8>> = content.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    for (line, position) in lines.iter().zip(seed % 7..) {
        let index = usize::try_from(position).unwrap() % all.len();
        all.insert(index, line.clone().into_bytes());
    }
    *content = all.join(&b'\n');
}
