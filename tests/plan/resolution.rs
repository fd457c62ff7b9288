//! Resolutions: which limit a formula reads, keys, and the readings that are kept.

use concurrency_governor::plan::{Bound, Explanation, Measurement, Source};
use concurrency_governor::preset::astrid::{self, IO};
use concurrency_governor::{
    Formula, GateName, GateSpec, OverrideLayer, Overrides, Plan, Reading, Readings, Resource,
};

use crate::support::{astrid, host};

/// A formula that reads the limit of another gate gets it after its override, in any order of declaration.
#[test]
fn formula_reads_the_limit_after_its_override() {
    let cache = GateSpec::new("cache", Formula::of(IO.fraction(1, 2)));
    let overrides = Overrides::new().then(OverrideLayer::new("cli").set(IO, 10));
    for specs in [[cache, IO], [IO, cache]] {
        let resolution = Plan::new(specs).unwrap().resolve(&host(2, 20_000), &overrides).unwrap();
        assert_eq!(resolution.limit(cache).unwrap().get(), 5);
        assert_eq!(resolution.limit(IO).unwrap().get(), 10);
        assert_eq!(
            resolution.explanations().iter().map(Explanation::gate).collect::<Vec<_>>(),
            specs.map(GateName::from)
        );
    }
}

/// A spec, a reference to a spec and a name are equal keys. The error for an unknown name lists the declared gates.
#[test]
fn gate_is_found_by_spec_or_name() {
    let resolution = astrid(4, 20_000, &Overrides::new());
    let by_reference = &IO;
    assert_eq!(resolution.limit(IO), resolution.limit(by_reference));
    assert_eq!(resolution.limit(IO), resolution.limit(GateName::new("io")));
    let error = resolution.limit(GateName::new("ios")).unwrap_err();
    assert_eq!(error.to_string(), "the plan declares no gate `ios` (it declares blocking, io, pool)");
    assert_eq!(resolution.explain(GateName::new("ios")).unwrap_err(), error);
}

/// A resolution keeps the measurements that it was resolved against, with sources, notes and staleness.
#[test]
fn resolution_keeps_its_measurements() {
    let measured = Measurement::new(Reading::whole(2))
        .at_most()
        .source(Source::new("/sys/fs/cgroup/cpu.max", "200000 100000").at_level("/a"))
        .note("ancestors are hidden")
        .stale("the file went away");
    let readings = Readings::new().with(Resource::CPU, measured.clone());
    let resolution = astrid::plan().resolve(&readings, &Overrides::new()).unwrap();
    assert_eq!(resolution.readings(), &readings);
    let kept = resolution.readings().get(Resource::CPU).unwrap();
    assert_eq!(kept, &measured);
    assert_eq!((kept.reading(), kept.bound()), (Reading::whole(2), Bound::AtMost));
    assert_eq!(kept.staleness(), Some("the file went away"));
    assert_eq!(kept.notes(), ["ancestors are hidden"]);
    assert_eq!(kept.sources()[0].to_string(), "/sys/fs/cgroup/cpu.max: 200000 100000 (level /a)");
    assert_eq!(Source::new("sched_getaffinity", "4").to_string(), "sched_getaffinity: 4");
    assert_eq!([Bound::Exact, Bound::AtMost].map(|bound| bound.to_string()), ["exact", "at most"]);
}

/// A later measurement of a resource replaces the earlier one. An absent one reads as unknown. Readings are listed by
/// name.
#[test]
fn readings_hold_one_measurement_per_resource() {
    let mut readings = host(2, 50).with(Resource::CPU, Reading::whole(3));
    assert_eq!(readings.reading(Resource::CPU), Reading::whole(3));
    assert_eq!(readings.reading(Resource::TASKS), Reading::Unknown);
    assert_eq!(readings.get(Resource::TASKS), None);
    assert_eq!(readings.insert(Resource::CPU, Reading::Unlimited.into()), Some(Reading::whole(3).into()));
    assert_eq!(readings.insert(Resource::TASKS, Reading::Unknown.into()), None);
    let listed: Vec<String> =
        readings.iter().map(|(resource, one)| format!("{resource} = {}", one.reading())).collect();
    assert_eq!(listed, ["cpu = unlimited", "fd = 50", "tasks = unknown"]);
}
