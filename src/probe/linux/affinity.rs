//! Which CPUs the process may run on.

use nix::sched::CpuSet;

use super::cpu_list::CpuList;
use super::evidence::{Evidence, text};
use super::host::Host;
use crate::plan::{Quantity, Source};

/// What the system call said the last time: it is asked far more often than the answer changes.
#[derive(Clone, Debug)]
pub(super) struct Affinity {
    set: CpuSet,
    cpus: CpuList,
    text: String,
}

/// Adds the number of CPUs that the process may run on, as a limit in cores.
pub(in crate::probe) fn affinity(host: &mut Host, evidence: &mut Evidence) {
    let called = host.answers_calls().then(|| call(host, evidence)).flatten();
    if let Some(cpus) = called.or_else(|| Some(files(host, evidence)?.count())) {
        evidence.limit(Quantity::whole(cpus));
    }
}

/// How many CPUs the system call names.
fn call(host: &mut Host, evidence: &mut Evidence) -> Option<u64> {
    match host.call_affinity() {
        Ok(set) => {
            let affinity = host.affinity.take().filter(|affinity| affinity.set == set);
            let affinity = host.affinity.insert(affinity.unwrap_or_else(|| Affinity::of(set)));
            evidence.saw(Source::new("sched_getaffinity", affinity.text.as_str()));
            Some(affinity.cpus.count())
        }
        // EINVAL if the host has more CPUs than the set has room for; others where a sandbox forbids the call.
        Err(errno) => {
            evidence.note(format!("sched_getaffinity failed: {errno}"));
            None
        }
    }
}

impl Affinity {
    fn of(set: CpuSet) -> Self {
        let cpus = (0_u32..).zip(0..CpuSet::count());
        let cpus: CpuList = cpus.filter(|(_, at)| set.is_set(*at) == Ok(true)).map(|(cpu, _)| cpu).collect();
        let text = cpus.to_string();
        Self { set, cpus, text }
    }
}

/// What the files say: the CPUs that are allowed, as far as they are online. The list of a process that was never
/// restricted holds every CPU that might ever be plugged in, and the system call leaves those out as well.
fn files(host: &mut Host, evidence: &mut Evidence) -> Option<CpuList> {
    let allowed = allowed(host, evidence);
    let online = online(host, evidence);
    let (Some(allowed), Some(online)) = (&allowed, &online) else { return allowed.or(online) };
    let both = allowed.intersection(online);
    if both.count() == 0 {
        evidence.doubt(format!("of the CPUs {allowed}, which are allowed, none is online ({online})"));
        return None;
    }
    Some(both)
}

/// `Cpus_allowed_list` of the process's status.
fn allowed(host: &mut Host, evidence: &mut Evidence) -> Option<CpuList> {
    const KEY: &str = "Cpus_allowed_list:";

    let line = evidence.require_line(host, STATUS, KEY)?;
    let value = line.strip_prefix(KEY.as_bytes()).unwrap_or_default();
    evidence.saw(Source::new(STATUS, text(value)));
    some_cpus(value).or_else(|| {
        evidence.doubt(format!("{STATUS} does not tell which CPUs are allowed"));
        None
    })
}

/// The CPUs that are plugged in and on.
fn online(host: &mut Host, evidence: &mut Evidence) -> Option<CpuList> {
    let list = evidence.require(host, ONLINE)?;
    evidence.saw(Source::new(ONLINE, text(&list)));
    some_cpus(&list).or_else(|| {
        evidence.doubt(format!("{ONLINE} does not tell which CPUs are online"));
        None
    })
}

/// A list with a CPU in it: without one, this process would not be running.
fn some_cpus(list: &[u8]) -> Option<CpuList> {
    CpuList::parse(list).filter(|cpus| cpus.count() > 0)
}

const STATUS: &str = "/proc/self/status";
const ONLINE: &str = "/sys/devices/system/cpu/online";
