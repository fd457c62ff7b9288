//! What a model has seen: how many steps were checked, and how often each thing worth seeing happened. A generator of
//! steps that no longer gets there shows here, and nowhere else.

use std::fmt;

macro_rules! events {
    ($($event:ident: $text:literal,)*) => {
        /// Something worth seeing.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Event {
            $(#[doc = $text] $event,)*
        }

        impl Event {
            pub(crate) const ALL: [(Self, &'static str); [$($text),*].len()] = [$((Self::$event, $text)),*];
        }
    };
}

events! {
    AdmittedAtOnce: "admitted at once",
    AdmittedWhole: "admitted at once, with the whole limit for a weight",
    Tried: "tried, and admitted",
    TriedInVain: "tried, and there was no room",
    TriedPastTheLine: "tried, and would have fitted, but others waited",
    JoinedPastRoom: "joined the line, and would have fitted, but others waited",
    JoinedUnderDebt: "joined the line under debt",
    JoinedFirst: "joined an empty line",
    Blocked: "asked on a blocked thread, and admitted",
    BlockedInVain: "asked on a blocked thread, and refused",
    GrantedByRelease: "granted by a release",
    GrantedByGrowth: "granted by a raised limit",
    GrantedByShrink: "granted by a lowered limit that ended the head",
    GrantedByCancelledHead: "granted by a head that gave up",
    GrantedByExpiredHead: "granted by a head that expired",
    GrantedByUnclaimed: "granted what another was granted and gave up",
    GrantedTogether: "granted together with others in one step",
    GrantedByNewWaker: "granted, and the waker had been replaced",
    ClaimedAtOnce: "claimed with the waker it waited with",
    ClaimedAnew: "claimed with another waker",
    ClaimedPastDeadline: "claimed after its deadline",
    PolledAgain: "polled again while it waits, with the same waker",
    PolledAnew: "polled again while it waits, with another waker",
    PolledUnderDebt: "polled again under debt",
    CancelledUnpolled: "given up before its first poll",
    CancelledHead: "given up at the head of the line",
    CancelledInside: "given up in the middle of the line",
    CancelledLast: "given up at the end of the line",
    CancelledAlone: "given up as the only one in line",
    CancelledGranted: "given up when it was granted",
    CancelledGrantedForNobody: "given up when it was granted, with nobody in line",
    CancelledGrantedUnderDebt: "given up when it was granted, and paid debt by it",
    CancelledRefused: "given up when it was refused and had not been told",
    ExpiredHead: "expired at the head of the line",
    ExpiredInside: "expired behind another",
    ExpiredTogether: "expired together with others",
    ExpiredOnTime: "expired in the very millisecond",
    ExpiredByGate: "expired by the gate's longest wait",
    RefusedLate: "refused because it came too late to wait",
    RefusedFull: "refused because the line was full",
    RefusedTooLarge: "refused because it asked for more than the limit",
    RefusedZero: "refused because it asked for nothing",
    RefusedClosed: "refused because the gate was closed",
    Released: "released, and nobody waited",
    ReleasedTooLittle: "released, and the head still does not fit",
    DebtMade: "a limit lowered below what is out",
    DebtMadeWithLine: "a limit lowered below what is out while others wait",
    DebtPaidInPart: "debt paid in part",
    DebtPaid: "debt paid in full",
    DebtPaidAndGranted: "debt paid in full, and somebody granted by the same release",
    DebtForgiven: "debt ended by a raised limit",
    GrownInVain: "a limit raised, and the head still does not fit",
    ResizedToSame: "a limit set to what it was",
    ShrunkPastHead: "a head ended by a limit lowered below its weight",
    ShrunkPastOther: "another than the head ended by a limit lowered below its weight",
    ResizedToTheMost: "a limit raised to the most there is",
    Closed: "closed, and nobody waited",
    ClosedLine: "closed while others waited",
    ClosedPastGrant: "closed while one was granted and had not been told",
    ClosedUnderDebt: "closed under debt",
    ClosedAgain: "closed twice",
    ClaimedClosed: "claimed what was granted before the gate was closed",
    DrainedAtOnce: "asked for drained when it was",
    DrainJoined: "asked for drained when it was not",
    DrainEnded: "told that the gate is drained",
    DrainsEnded: "several told that the gate is drained",
    DrainEndedLate: "told that the gate was drained, and it is in use again",
    DrainPolledAnew: "asked again for drained, with another waker",
    DrainCancelled: "gave up asking for drained",
    Abandoned: "every handle dropped with permits out",
    ReleasedOrphan: "released with no handle left",
    Revived: "a handle made of a permit when there was none",
    Gone: "a gate gone with its last handle",
    GoneWithPermit: "a gate gone with its last permit",
    PassedExactly: "time moved to the very deadline of the next",
}

/// What a run has seen, or several together.
#[derive(Clone)]
pub(crate) struct Seen {
    /// Steps after which everything was checked.
    pub(crate) steps: u64,
    counts: [u64; Event::ALL.len()],
}

impl Seen {
    pub(crate) const fn new() -> Self {
        Self { steps: 0, counts: [0; Event::ALL.len()] }
    }

    pub(crate) fn note(&mut self, event: Event) {
        self.counts[event as usize] += 1;
    }

    pub(crate) fn note_if(&mut self, happened: bool, event: Event) {
        self.counts[event as usize] += u64::from(happened);
    }

    pub(crate) const fn count(&self, event: Event) -> u64 {
        self.counts[event as usize]
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
            *mine += theirs;
        }
    }

    /// What happened less than once in so many steps.
    pub(crate) fn rarer_than(&self, steps: u64) -> Vec<&'static str> {
        let rare = Event::ALL.iter().filter(|(event, _)| self.count(*event) < self.steps / steps);
        rare.map(|(_, text)| *text).collect()
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Event::ALL.iter().try_for_each(|(event, text)| writeln!(f, "{:>12}  {text}", self.count(*event)))
    }
}
