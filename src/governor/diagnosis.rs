//! The diagnosis: why nothing moves.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::panic::Location;
use std::ptr;
use std::time::Duration;

use super::Governor;
use super::shares::Shares;
use crate::gate::{Gate, Holder, HolderState, Stall, WaitCycle, format_duration, wait_cycles};
use crate::plan::{Decision, Explanation, GateName, LeaseExplanation, Limit, Resolution};

impl Governor {
    /// Returns what an operator needs to find out why nothing moves: for each gate its numbers, what keeps its requests waiting, and
    /// which work holds its permits; and the tasks that wait for each other.
    ///
    /// Holders, stalls and cycles are known for gates that [track their holders](crate::GateSpec::track_holders). The gates are visited
    /// one after the other. The numbers, the holders and the stall of a gate are each of one instant, but not of the same one. It
    /// prints as a text for a person.
    ///
    /// ```
    /// use std::time::Duration;
    /// use concurrency_governor::{Formula, GateSpec, Governor, Holders};
    ///
    /// const JOBS: GateSpec = GateSpec::new("jobs", Formula::fixed(2))
    ///     .track_holders(Holders::overdue_after(Duration::from_secs(30)));
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let governor = Governor::builder().gate(JOBS).build().await?;
    /// let jobs = governor.gate(JOBS)?;
    /// let permit = jobs.acquire().await?;
    /// permit.label("thumbnail");
    /// let diagnosis = governor.diagnose();
    /// assert_eq!(diagnosis.gates[0].holders[0].label.as_deref(), Some("thumbnail"));
    /// println!("{diagnosis}");
    /// # drop(permit);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn diagnose(&self) -> Diagnosis {
        let (resolution, declared) = (self.resolution(), self.declared());
        let gates = &declared.gates;
        Diagnosis {
            gates: gates.iter().map(|gate| diagnose_gate(gate, gates, &self.0.shares, &resolution)).collect(),
            cycles: wait_cycles(gates),
        }
    }
}

fn diagnose_gate(gate: &Gate, gates: &[Gate], shares: &Shares, resolution: &Resolution) -> GateDiagnosis {
    let (status, holders, stall) = (gate.status(), holder_groups(gate), gate.inspect().stall);
    GateDiagnosis {
        gate: gate.name(),
        limit: status.limit,
        in_use: status.in_use,
        debt: status.debt,
        waiting: status.waiting,
        unclaimed: status.unclaimed,
        paused: status.paused,
        closed: status.closed,
        bottleneck: if status.waiting > 0 && (!status.paused || shares.lack_permits(gate.name())) {
            bottleneck(gate, gates, shares, resolution)
        } else {
            None
        },
        lease: shares.lease_of(gate.name()),
        tracked: gate.tracks_holders(),
        holders,
        stall,
    }
}

/// Returns the nearest gate without room: this gate, or one above it. If each of them has room, the first request is too
/// heavy for the room, and the result is this gate.
fn bottleneck(gate: &Gate, gates: &[Gate], shares: &Shares, resolution: &Resolution) -> Option<Bottleneck> {
    let explanation = resolution.explain(gate.name()).ok()?;
    let parents = explanation.path().parents().iter().rev();
    let above = parents.filter_map(|name| gates.iter().find(|gate| gate.name() == *name));
    let full = std::iter::once(gate).chain(above).find(|gate| gate.available() == 0).unwrap_or(gate);
    let explanation = resolution.explain(full.name()).ok()?;
    // The block of a lease is the limit of its gate if it is lower than the derived limit.
    let lease = shares.lease_of(full.name());
    let lease =
        lease.filter(|lease| lease.block.saturating_add(lease.without_lease) < shares.limit_of(full).get());
    let decided_by = lease.map_or_else(|| decided_by(explanation), |lease| format!("the {lease}"));
    Some(Bottleneck { gate: full.name(), limit: full.limit(), decided_by })
}

/// Why nothing moves; from [`Governor::diagnose`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Diagnosis {
    /// The gates, in the order of the plan.
    pub gates: Vec<GateDiagnosis>,
    /// The tasks that wait for each other, so that none of them can continue.
    pub cycles: Vec<WaitCycle>,
}

/// The part of a [`Diagnosis`] about one gate.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GateDiagnosis {
    /// The gate.
    pub gate: GateName,
    /// The largest number of permits that may be in use.
    pub limit: Limit,
    /// Permits in use, those of children and keys included.
    pub in_use: u32,
    /// Permits in use above the limit.
    pub debt: u32,
    /// Requests in the queue, those of children and keys included.
    pub waiting: usize,
    /// Admitted requests whose future has not resolved yet, so the caller does not have the permit.
    pub unclaimed: usize,
    /// Whether the gate, or one above it, is [paused](Gate::pause).
    pub paused: bool,
    /// Whether the gate was closed.
    pub closed: bool,
    /// What keeps the requests waiting. `None` if none waits, or an operator has paused the gate. A shared gate without
    /// permits from its ledger is paused, too, and waits for its lease.
    pub bottleneck: Option<Bottleneck>,
    /// The lease, if the gate shares its limit with other processes or is within such a gate.
    pub lease: Option<LeaseExplanation>,
    /// Whether the gate tracks its holders. If not, the fields below are empty.
    pub tracked: bool,
    /// The permits in use, in groups of the same label, location and state. The group with the oldest permit is the first.
    pub holders: Vec<HolderGroup>,
    /// The stall, if requests wait here and nothing moves.
    pub stall: Option<Stall>,
}

/// What keeps the requests of a gate waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bottleneck {
    /// The gate that has no room: the gate itself, or one above it.
    pub gate: GateName,
    /// Its limit.
    pub limit: Limit,
    /// What decides the limit: a part of its formula, or a setting.
    pub decided_by: String,
}

/// Permits that were requested at the same place, with the same label and in the same state.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HolderGroup {
    /// The label.
    pub label: Option<Cow<'static, str>>,
    /// Where the permits were requested.
    pub location: &'static Location<'static>,
    /// Whether they are held, granted and not polled, or forgotten.
    pub state: HolderState,
    /// The number of holders.
    pub holders: usize,
    /// The sum of their permits.
    pub permits: u32,
    /// How long the oldest has held its permits.
    pub oldest: Duration,
    /// The number of holders that are overdue.
    pub overdue: usize,
}

/// Returns the holders of a gate, those that requested at the same place, with the same label and in the same state, as one.
pub(super) fn holder_groups(gate: &Gate) -> Vec<HolderGroup> {
    let overdue_after = gate.overdue_after().and_then(|nanos| u64::try_from(nanos).ok());
    group_holders(gate.holders(), overdue_after.map(Duration::from_nanos))
}

fn group_holders(holders: Vec<Holder>, overdue_after: Option<Duration>) -> Vec<HolderGroup> {
    // First by the address of the location, which is fast. A place in the source may have several addresses, so the few groups are then
    // joined by its text.
    let mut by_address: HashMap<
        (*const Location<'static>, HolderState, Option<Cow<'static, str>>),
        HolderGroup,
    > = HashMap::new();
    for holder in holders {
        let Holder { label, location, state, weight: permits, age: oldest, .. } = holder;
        let overdue = usize::from(overdue_after.is_some_and(|overdue_after| oldest > overdue_after));
        let group =
            HolderGroup { label: label.clone(), location, state, holders: 1, permits, oldest, overdue };
        match by_address.entry((ptr::from_ref(location), state, label)) {
            Entry::Occupied(mut joined) => joined.get_mut().join(&group),
            Entry::Vacant(vacant) => {
                vacant.insert(group);
            }
        }
    }
    let mut groups: Vec<HolderGroup> = Vec::with_capacity(by_address.len());
    for group in by_address.into_values() {
        match groups.iter_mut().find(|joined| joined.is_like(&group)) {
            Some(joined) => joined.join(&group),
            None => groups.push(group),
        }
    }
    groups.sort_by_key(|group| (Reverse(group.oldest), group.location.line(), group.label.clone()));
    groups
}

impl HolderGroup {
    fn is_like(&self, other: &Self) -> bool {
        self.location == other.location && self.state == other.state && self.label == other.label
    }

    /// Adds the numbers of a group of the same kind.
    fn join(&mut self, other: &Self) {
        self.holders = self.holders.saturating_add(other.holders);
        self.permits = self.permits.saturating_add(other.permits);
        self.oldest = self.oldest.max(other.oldest);
        self.overdue = self.overdue.saturating_add(other.overdue);
    }
}

fn decided_by(explanation: &Explanation) -> String {
    match explanation.decision() {
        Decision::Overridden { origin, value, .. } => format!("{origin} = {value}"),
        Decision::Derived => format!("`{}`", explanation.derivation().binding().text()),
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, cycle) in self.cycles.iter().enumerate() {
            writeln!(f, "WAIT CYCLE {}: {cycle}", index.saturating_add(1))?;
        }
        // The gates that are stalled come first, then those at which requests wait.
        let mut gates: Vec<&GateDiagnosis> = self.gates.iter().collect();
        gates.sort_by_key(|gate| (gate.stall.is_none(), gate.waiting == 0));
        for (index, gate) in gates.into_iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            gate.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for GateDiagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { gate, limit, in_use, debt, waiting, .. } = self;
        write!(f, "gate {gate}: {in_use} of {limit} in use, {waiting} waiting")?;
        if *debt > 0 {
            write!(f, ", debt {debt}")?;
        }
        if self.paused {
            f.write_str(", paused")?;
        }
        if self.closed {
            f.write_str(", closed")?;
        }
        if let Some(stall) = &self.stall {
            write!(f, "\n  STALLED: nothing was acquired or released for {}", format_duration(stall.lasted))?;
        }
        if let Some(Bottleneck { gate, limit, decided_by }) = &self.bottleneck {
            write!(f, "\n  waits for gate {gate}: limit {limit}, from {decided_by}")?;
        }
        if let Some(lease) = &self.lease {
            write!(f, "\n  {lease}")?;
        }
        if self.unclaimed > 0 && !self.tracked {
            write!(f, "\n  {} granted and not polled", self.unclaimed)?;
        }
        for group in &self.holders {
            write!(f, "\n  {group}")?;
        }
        Ok(())
    }
}

impl fmt::Display for HolderGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let permits = if self.permits == 1 { "permit" } else { "permits" };
        write!(f, "{} {permits} {}", self.permits, self.state)?;
        if let Some(label) = &self.label {
            write!(f, " for {label:?}")?;
        }
        write!(f, ", requested at {}; the oldest for {}", self.location, format_duration(self.oldest))?;
        if self.overdue > 0 {
            write!(f, "; {} of {} overdue", self.overdue, self.holders)?;
        }
        Ok(())
    }
}
