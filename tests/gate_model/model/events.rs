//! The events that a run of the model can reach, and how often it reached each of them.
//!
//! Only these counts show it when the step generator no longer reaches a state.

/// Defines the events of a model, and the counts of them.
macro_rules! events {
    ($($event:ident: $text:literal,)*) => {
        /// An event that the random runs must reach.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Event {
            $($event,)*
        }

        impl Event {
            pub(crate) const ALL: [(Self, &'static str); [$($text),*].len()] = [$((Self::$event, $text)),*];
        }

        /// The number of checked steps of a run, or of several runs, and the number of times that each event
        /// happened.
        #[derive(Clone)]
        pub(crate) struct Coverage {
            /// The number of steps after which everything was checked.
            pub(crate) steps: u64,
            counts: [u64; Event::ALL.len()],
        }

        impl Coverage {
            pub(crate) const fn new() -> Self {
                Self { steps: 0, counts: [0; Event::ALL.len()] }
            }

            pub(crate) fn record(&mut self, event: Event) {
                self.counts[event as usize] += 1;
            }

            pub(crate) fn record_if(&mut self, happened: bool, event: Event) {
                self.counts[event as usize] += u64::from(happened);
            }

            pub(crate) const fn count(&self, event: Event) -> u64 {
                self.counts[event as usize]
            }

            /// Adds the steps and the counts of `other`.
            pub(crate) fn add(&mut self, other: &Self) {
                self.steps += other.steps;
                for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
                    *mine += theirs;
                }
            }

            /// Returns the texts of the events that happened less than once in `steps` steps.
            pub(crate) fn events_rarer_than(&self, steps: u64) -> Vec<&'static str> {
                let rare = Event::ALL.iter().filter(|(event, _)| self.count(*event) < self.steps / steps);
                rare.map(|(_, text)| *text).collect()
            }
        }

        impl std::fmt::Display for Coverage {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                Event::ALL.iter().try_for_each(|(event, text)| writeln!(f, "{:>12}  {text}", self.count(*event)))
            }
        }
    };
}

pub(crate) use events;

events! {
    AdmittedImmediately: "admitted immediately",
    AdmittedWithWholeLimit: "admitted immediately with a weight equal to the limit",
    TryAdmitted: "admitted by try_acquire",
    TryRejected: "rejected by try_acquire for lack of permits",
    TryRejectedBehindQueue: "rejected by try_acquire because others wait, although it fits",
    EnqueuedBehindQueue: "enqueued because others wait, although it fits",
    EnqueuedUnderDebt: "enqueued under debt",
    EnqueuedFirst: "enqueued in an empty queue",
    BlockingAdmitted: "admitted by acquire_blocking",
    BlockingRejected: "rejected by acquire_blocking",
    AdmittedByRelease: "admitted from the queue by a release",
    AdmittedByRaisedLimit: "admitted from the queue by a raised limit",
    AdmittedByLoweredLimit: "admitted from the queue by a lowered limit that rejected the head",
    AdmittedByCancelledHead: "admitted from the queue by the cancellation of the head",
    AdmittedByExpiredHead: "admitted from the queue by the expiry of the head",
    AdmittedByUnclaimedPermit: "admitted from the queue by the cancellation of an admitted request",
    AdmittedTogether: "several admitted from the queue by one step",
    AdmittedWithNewWaker: "admitted from the queue after its waker was replaced",
    ClaimedWithSameWaker: "permit claimed with the waker of the wait",
    ClaimedWithNewWaker: "permit claimed with another waker",
    ClaimedAfterDeadline: "permit claimed after the deadline",
    PolledWithSameWaker: "polled again while waiting, with the same waker",
    PolledWithNewWaker: "polled again while waiting, with another waker",
    PolledUnderDebt: "polled again while waiting under debt",
    CancelledUnpolled: "cancelled before the first poll",
    CancelledHead: "cancelled at the head of the queue",
    CancelledMiddle: "cancelled in the middle of the queue",
    CancelledLast: "cancelled at the end of the queue",
    CancelledAlone: "cancelled as the only waiter",
    CancelledAdmitted: "cancelled after it was admitted",
    CancelledAdmittedWithoutQueue: "cancelled after it was admitted, with an empty queue",
    CancelledAdmittedUnderDebt: "cancelled after it was admitted, which paid debt",
    CancelledRejected: "cancelled after it was rejected",
    ExpiredHead: "expired at the head of the queue",
    ExpiredBehindHead: "expired behind the head of the queue",
    ExpiredTogether: "several expired together",
    ExpiredOnTime: "expired in the millisecond of its deadline",
    ExpiredByGate: "expired by the max_wait of the gate",
    RejectedExpired: "rejected because its deadline had passed",
    RejectedStrictly: "rejected because its deadline had passed, although it fits",
    RejectedStrictlyAboveLimit: "rejected because its deadline had passed, although it waits for the limit",
    EnqueuedAboveLimit: "enqueued although its weight exceeds the limit",
    KeptAboveLimit: "kept in the queue although the limit was lowered below its weight",
    RejectedQueueFull: "rejected because the queue was full",
    RejectedTooLarge: "rejected because its weight exceeds the limit",
    RejectedZeroWeight: "rejected because its weight is zero",
    RejectedClosed: "rejected because the gate was closed",
    Released: "released with an empty queue",
    ReleasedTooLittle: "released, and the head still does not fit",
    DebtCreated: "debt created by a lowered limit",
    DebtCreatedWithQueue: "debt created by a lowered limit while others wait",
    DebtPaidInPart: "debt paid in part",
    DebtPaid: "debt paid in full",
    DebtPaidAndAdmitted: "debt paid in full by a release that also admitted a waiter",
    DebtEndedByRaisedLimit: "debt ended by a raised limit",
    RaisedTooLittle: "limit raised, and the head still does not fit",
    ResizedToSame: "limit set to its present value",
    LoweredBelowHead: "head rejected by a limit lowered below its weight",
    LoweredBelowOther: "waiter behind the head rejected by a limit lowered below its weight",
    ResizedToMaximum: "limit raised to the maximum",
    TryRejectedPaused: "rejected by try_acquire because the gate is paused, although it fits",
    EnqueuedPaused: "enqueued because the gate is paused, although it fits",
    Paused: "paused with an empty queue",
    PausedWithQueue: "paused while others wait",
    PausedUnderDebt: "paused under debt",
    AdmittedByResume: "admitted from the queue by the end of a pause",
    ResumedTooLittle: "resumed, and the head still does not fit",
    ResizedPaused: "limit changed while the gate is paused",
    Closed: "closed with an empty queue",
    ClosedWithQueue: "closed while others wait",
    ClosedWithUnclaimedPermit: "closed while an admitted request has not claimed its permit",
    ClosedUnderDebt: "closed under debt",
    ClosedAgain: "closed twice",
    ClaimedAfterClose: "permit claimed after the gate was closed",
    DrainedImmediately: "drained resolves on its first poll",
    DrainedPending: "drained waits after its first poll",
    DrainedWoken: "drained woken",
    DrainedSeveralWoken: "several drained woken together",
    DrainedLate: "drained resolves while the gate is in use again",
    DrainedPolledWithNewWaker: "drained polled again with another waker",
    DrainedCancelled: "drained cancelled",
    HandlesDropped: "every handle dropped while permits are in use",
    ReleasedWithoutHandle: "released when the gate has no handle",
    HandleRecreated: "handle created from a permit when the gate has no handle",
    GoneWithHandle: "gate gone with its last handle",
    GoneWithPermit: "gate gone with its last permit",
    AdvancedToDeadline: "time advanced to the exact deadline of a waiter",
}
