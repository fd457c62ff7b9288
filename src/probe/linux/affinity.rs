//! Which CPUs the process may run on.

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::getpid;

use super::cpu_list::CpuList;
use super::evidence::{Evidence, text};
use super::roots::Roots;
use crate::plan::{Quantity, Source};

/// Adds the number of CPUs that the process may run on, as a limit in cores.
pub(in crate::probe) fn affinity(roots: &Roots, evidence: &mut Evidence) {
    let cpus = if roots.is_host() { call(evidence) } else { None };
    if let Some(cpus) = cpus.or_else(|| files(roots, evidence)) {
        evidence.limit(Quantity::whole(cpus.count()));
    }
}

/// What the system call says. It is asked for the process, which is its first thread: asked for the calling thread, a
/// worker that is pinned to one core would speak for all.
fn call(evidence: &mut Evidence) -> Option<CpuList> {
    match sched_getaffinity(getpid()) {
        Ok(set) => {
            let cpus = list(&set);
            evidence.saw(Source::new("sched_getaffinity", cpus.to_string()));
            Some(cpus)
        }
        // EINVAL if the host has more CPUs than the set has room for; others where a sandbox forbids the call.
        Err(errno) => {
            evidence.note(format!("sched_getaffinity failed: {errno}"));
            None
        }
    }
}

/// The CPUs of a set that the system call filled in.
fn list(set: &CpuSet) -> CpuList {
    let cpus = (0_u32..).zip(0..CpuSet::count());
    cpus.filter(|(_, at)| set.is_set(*at) == Ok(true)).map(|(cpu, _)| cpu).collect()
}

/// What the files say: the CPUs that are allowed, as far as they are online. The list of a process that was never
/// restricted holds every CPU that might ever be plugged in, and the system call leaves those out as well.
fn files(roots: &Roots, evidence: &mut Evidence) -> Option<CpuList> {
    let allowed = allowed(roots, evidence);
    let online = online(roots, evidence);
    let (Some(allowed), Some(online)) = (&allowed, &online) else { return allowed.or(online) };
    let both = allowed.intersection(online);
    if both.count() == 0 {
        evidence.doubt(format!("of the CPUs {allowed}, which are allowed, none is online ({online})"));
        return None;
    }
    Some(both)
}

/// `Cpus_allowed_list` of the process's status.
fn allowed(roots: &Roots, evidence: &mut Evidence) -> Option<CpuList> {
    const KEY: &[u8] = b"Cpus_allowed_list:";

    let path = roots.proc("self/status");
    let status = evidence.require(&path)?;
    let value =
        status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(KEY)).unwrap_or_default();
    evidence.saw(Source::new(path.display().to_string(), text(value)));
    some_cpus(value).or_else(|| {
        evidence.doubt(format!("{} does not tell which CPUs are allowed", path.display()));
        None
    })
}

/// The CPUs that are plugged in and on.
fn online(roots: &Roots, evidence: &mut Evidence) -> Option<CpuList> {
    let path = roots.sys("devices/system/cpu/online");
    let list = evidence.require(&path)?;
    evidence.saw(Source::new(path.display().to_string(), text(&list)));
    some_cpus(&list).or_else(|| {
        evidence.doubt(format!("{} does not tell which CPUs are online", path.display()));
        None
    })
}

/// A list with a CPU in it: without one, this process would not be running.
fn some_cpus(list: &[u8]) -> Option<CpuList> {
    CpuList::parse(list).filter(|cpus| cpus.count() > 0)
}
