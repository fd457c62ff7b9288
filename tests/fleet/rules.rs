//! One scenario for each rule of the exchange and of the lease. Without the rule, its scenario fails.

use std::time::Duration;

use concurrency_governor::Limit;
use concurrency_governor::fleet::{
    Ask, Claim, Fence, Grant, Lease, LeasePhase, LeaseTerms, LedgerServer, LedgerState, LimitVersion,
    Replayed,
};

const SECOND: u64 = 1000;

/// A ledger with a server clock, and a limit of 24.
struct Bench {
    state: LedgerState,
    now_ms: u64,
    run: &'static str,
}

/// What a holder reports in an exchange.
#[derive(Clone, Copy)]
struct Says {
    held: u32,
    wants: u32,
    claim: Claim,
}

fn says(held: u32, wants: u32) -> Says {
    Says { held, wants, claim: Claim::Current }
}

/// ttl 9 s, grace 5 s, guard 4 s: a span of 18 s, and turns of 3 s.
fn terms() -> LeaseTerms {
    terms_of(9, 5, 4)
}

fn terms_of(ttl: u64, grace: u64, guard: u64) -> LeaseTerms {
    let [ttl, grace, guard] = [ttl, grace, guard].map(Duration::from_secs);
    LeaseTerms::from_parts(ttl, grace, guard).unwrap()
}

fn limit(limit: u32) -> LimitVersion {
    LimitVersion::configured(Limit::new(limit))
}

impl Bench {
    /// A ledger that knows that there are no leases.
    fn new() -> Self {
        let server = LedgerServer { now_ms: 1_000_000, run: "r1" };
        Self { state: LedgerState::without_leases(server), now_ms: server.now_ms, run: server.run }
    }

    fn server(&self) -> LedgerServer<'static> {
        LedgerServer { now_ms: self.now_ms, run: self.run }
    }

    /// The number of an exchange is one more than the number of earlier exchanges, so it always rises.
    fn exchange(&mut self, holder: &str, said: Says) -> Grant {
        let seq = self.state.status().exchanges + 1;
        let Says { held, wants, claim } = said;
        let ask = Ask { holder, seq, epoch: 0, held, wants, claim, terms: terms(), limit: limit(24) };
        self.state.exchange(&ask, self.server()).unwrap()
    }

    /// Lets time pass in steps of a second, in which another holder keeps the clock going.
    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now_ms += SECOND;
            self.exchange("clock", says(0, 0));
        }
    }

    fn is_known(&self, holder: &str) -> bool {
        self.state.status().holders.iter().any(|known| known.holder == holder)
    }
}

/// Rule 1: one step of the server's clock, however far, moves the lease clock by at most the guard, so no lease ends before its
/// grace.
#[test]
fn a_step_of_the_servers_clock_ends_no_lease_early() {
    let mut bench = Bench::new();
    bench.exchange("a", says(0, 24));
    bench.now_ms += 3600 * SECOND;
    bench.exchange("b", says(0, 24));
    bench.pass(13);
    assert_eq!(bench.exchange("b", says(0, 24)).cap, 0, "a's lease and its grace last 14 s");
    assert!(bench.is_known("a"));
    bench.pass(1);
    assert!(!bench.is_known("a"), "then its entry expires");
}

/// Rule 1: a clock that steps back does not make leases end later than a span after it goes on.
#[test]
fn a_clock_that_steps_back_goes_on() {
    let mut bench = Bench::new();
    bench.exchange("a", says(0, 24));
    bench.now_ms -= 500 * SECOND;
    bench.exchange("b", says(0, 24));
    bench.pass(17);
    assert!(bench.is_known("a"));
    bench.pass(1);
    assert!(!bench.is_known("a"));
}

/// P73: the entry of a holder outlasts its work, with a clock of the holder that is 1 % slow, and a clock of the server that is 1 %
/// fast. The work begins just before the deadline, and is suspended for a second.
#[test]
fn an_entry_outlasts_its_work_on_clocks_that_are_wrong_by_one_percent() {
    const HOUR: u64 = 3600 * SECOND;
    for (ttl_ms, max_hold_ms) in [
        (100, 0),
        (10 * SECOND, 30 * SECOND),
        (10 * SECOND, HOUR),
        (24 * HOUR, 0),
        (24 * HOUR, 30 * 24 * HOUR),
    ] {
        let [ttl, max_hold] = [ttl_ms, max_hold_ms].map(Duration::from_millis);
        let terms = LeaseTerms::new(ttl, max_hold).unwrap();
        let mut bench = Bench::new();
        let sent_ms = bench.now_ms;
        let mut lease = Lease::new("a", terms, limit(24));
        let grant = bench.state.exchange(&lease.begin(Duration::ZERO, 0, 24), bench.server()).unwrap();
        assert!(lease.finish(1, &grant), "{grant:?}");

        let work_ends = lease.deadline().mul_f64(1.0 / 0.99) + max_hold + Duration::from_secs(1);
        let end_ms = sent_ms + work_ends.mul_f64(1.01).as_millis() as u64;
        for seq in 1.. {
            bench.now_ms = end_ms.min(bench.now_ms + terms.guard().as_millis() as u64);
            let claim = Claim::Current;
            let ask =
                Ask { holder: "clock", seq, epoch: 0, held: 0, wants: 0, claim, terms, limit: limit(24) };
            bench.state.exchange(&ask, bench.server()).unwrap();
            if bench.now_ms == end_ms {
                break;
            }
        }
        assert!(bench.is_known("a"), "ttl {ttl:?}, max_hold {max_hold:?}");
    }
}

/// Rule 2: after a restart the ledger begins an epoch and grants nothing new for a span, whatever its entries say.
#[test]
fn a_restarted_ledger_learns_for_one_span() {
    let mut bench = Bench::new();
    let before = bench.exchange("a", says(0, 4)).fence;
    bench.pass(10);
    bench.run = "r2";
    let grant = bench.exchange("b", says(0, 24));
    assert!(grant.fence.epoch > before.epoch);
    assert_eq!((grant.cap, grant.learning), (0, terms().span()));
    bench.pass(17);
    assert_eq!(bench.exchange("b", says(0, 24)).cap, 0);
    assert!(bench.is_known("a"), "its holder may have renewed it in what was lost");
    bench.pass(1);
    assert_eq!(bench.exchange("b", says(0, 24)).cap, 24);
}

/// Rule 2: a ledger without state learns too, because it cannot distinguish a first start from a loss.
#[test]
fn a_ledger_without_state_learns() {
    let mut bench = Bench::new();
    bench.exchange("a", says(0, 24));
    bench.state = LedgerState::new();
    assert_eq!(bench.exchange("b", says(0, 24)).cap, 0, "a has a lease that the ledger has forgotten");
    assert_eq!(bench.exchange("a", says(24, 24)).cap, 24, "a renews it");
    bench.pass(9);
    assert_eq!(bench.exchange("b", says(0, 24)).cap, 0);
}

/// Rule 2, P77: a holder that knows a later epoch shows that the ledger has lost state, and epochs rise although their number was
/// lost.
#[test]
fn epochs_rise_although_the_state_was_lost() {
    let mut bench = Bench::new();
    bench.run = "r2";
    let first = bench.exchange("a", says(0, 4)).fence.epoch;
    bench.state = LedgerState::new();
    bench.now_ms += SECOND;
    let epoch = bench.exchange("b", says(0, 4)).fence.epoch;
    assert!(epoch > first, "b does not know the first epoch, and its fences are higher all the same");
    bench.state = LedgerState::new();
    bench.now_ms -= 900 * SECOND;
    let lost = bench.exchange("b", says(0, 4)).fence.epoch;
    let ask = Ask {
        holder: "a",
        seq: 9,
        epoch,
        held: 4,
        wants: 4,
        claim: Claim::Current,
        terms: terms(),
        limit: limit(24),
    };
    let grant = bench.state.exchange(&ask, bench.server()).unwrap();
    assert!(lost < epoch && grant.fence.epoch > epoch, "{lost} {epoch} {:?}", grant.fence);
    assert_eq!(grant.learning, terms().span());
}

/// Rule 3: a message that arrives late or twice changes nothing.
#[test]
fn a_replayed_message_changes_nothing() {
    let mut bench = Bench::new();
    let ask = |seq, held| Ask {
        holder: "a",
        seq,
        epoch: 0,
        held,
        wants: 10,
        claim: Claim::Current,
        terms: terms(),
        limit: limit(24),
    };
    bench.state.exchange(&ask(1, 0), bench.server()).unwrap();
    bench.state.exchange(&ask(2, 10), bench.server()).unwrap();
    let before = bench.state.clone();
    for seq in [0, 1, 2] {
        assert_eq!(bench.state.exchange(&ask(seq, 0), bench.server()), Err(Replayed { last: 2 }));
    }
    assert_eq!(bench.state, before);
}

/// Rule 4, P74: an entry expires one span after its last exchange, and not before.
#[test]
fn an_entry_expires_after_one_span() {
    let mut bench = Bench::new();
    bench.exchange("a", says(0, 24));
    bench.pass(17);
    assert_eq!(bench.exchange("b", says(0, 24)).cap, 0);
    bench.pass(1);
    assert_eq!(bench.exchange("b", says(0, 24)).cap, 24);
}

/// Rule 4: thousands of entries that expire at once are dropped in steps, and the permits are granted again as they are dropped.
#[test]
fn many_expired_entries_are_dropped_in_steps() {
    let mut bench = Bench::new();
    for holder in 0..200 {
        bench.exchange(&format!("h{holder}"), says(0, 0));
    }
    bench.pass(17);
    assert_eq!(bench.state.status().holders.len(), 201);
    let mut left = Vec::new();
    for _ in 0..4 {
        bench.now_ms += SECOND;
        bench.exchange("clock", says(0, 0));
        left.push(bench.state.status().holders.len());
    }
    assert_eq!(left, [137, 73, 9, 1]);
}

/// Rule 5: the target is what is wanted, at most an equal share, and what one does not want is shared by the others.
#[test]
fn shares_are_max_min_fair() {
    let mut bench = Bench::new();
    bench.exchange("a", says(0, 24));
    bench.exchange("b", says(0, 4));
    bench.exchange("c", says(0, 24));
    let targets = [("a", 24, 24), ("b", 0, 4), ("c", 0, 24)]
        .map(|(holder, held, wants)| bench.exchange(holder, says(held, wants)).target);
    assert_eq!(targets, [10, 4, 10]);
}

/// Rule 5: wants above 32 count in steps of a sixteenth once there is not enough for all, and exactly otherwise.
#[test]
fn large_wants_are_rounded_only_if_permits_are_scarce() {
    let mut bench = Bench::new();
    bench.state.set_limit(Limit::new(100), "test", bench.server());
    assert_eq!(bench.exchange("a", says(0, 47)).cap, 47);
    assert_eq!(bench.exchange("b", says(0, 80)).target, 54);
    assert_eq!(bench.exchange("a", says(47, 47)).target, 46);
}

/// Rule 5: permits go to the holder that has been short for longest, not to the one that asks most often.
#[test]
fn the_longest_short_holder_is_served_first() {
    let mut bench = Bench::new();
    bench.exchange("a", says(0, 24));
    bench.exchange("b", says(0, 24));
    bench.exchange("c", says(0, 24));
    // a returns 10 of its 24 permits, and asks itself for no more than its share.
    bench.exchange("a", says(14, 24));
    assert_eq!(bench.exchange("c", says(0, 24)).cap, 2, "b was first, and 8 of the 10 are its share");
    assert_eq!(bench.exchange("b", says(0, 24)).cap, 8);
}

/// Rule 5, P80: a spare permit is kept for one turn if another holder waits for it, and for as long as wanted otherwise.
#[test]
fn a_spare_permit_is_kept_for_one_turn() {
    let mut bench = Bench::new();
    bench.state.set_limit(Limit::new(1), "test", bench.server());
    assert_eq!(bench.exchange("a", says(0, 5)).cap, 1);
    bench.pass(8);
    assert_eq!(bench.exchange("a", says(1, 5)).target, 1, "no other holder waits");
    bench.exchange("b", says(0, 5));
    assert_eq!(bench.exchange("a", says(1, 5)).target, 0);
    bench.exchange("a", says(0, 5));
    assert_eq!(bench.exchange("b", says(0, 5)).cap, 1);
    assert_eq!(bench.exchange("b", says(1, 5)).target, 1, "b's turn has just begun");
}

/// Rule 6: no cap grows above what the others leave, whatever the targets are.
#[test]
fn a_cap_grows_only_into_the_room() {
    let mut bench = Bench::new();
    bench.exchange("a", says(0, 20));
    let grant = bench.exchange("b", says(0, 20));
    assert_eq!((grant.cap, grant.target, grant.granted), (4, 12, 24));
    bench.exchange("a", says(20, 20));
    assert_eq!(bench.exchange("b", says(4, 20)).granted, 24);
}

/// Rule 6: while the ledger learns, a lease is renewed as it is, and a holder that lapsed admits nothing.
#[test]
fn a_lapsed_holder_gets_nothing_while_the_ledger_learns() {
    let mut bench = Bench::new();
    bench.run = "r2";
    assert_eq!(bench.exchange("a", says(7, 24)).cap, 7);
    assert_eq!(bench.exchange("b", Says { held: 3, wants: 24, claim: Claim::Lapsed }).cap, 0);
    assert_eq!(bench.state.status().granted, 10, "what is still in use counts");
}

/// Rule 7: what a holder reports as held stays granted, also if its cap is lower, so that no other holder gets it.
#[test]
fn what_is_held_stays_granted() {
    let mut bench = Bench::new();
    bench.exchange("a", says(0, 24));
    bench.state.set_limit(Limit::new(10), "test", bench.server());
    assert_eq!(bench.exchange("a", says(24, 24)).cap, 10);
    assert_eq!(bench.exchange("b", says(0, 24)).cap, 0);
    bench.exchange("a", says(10, 5));
    assert_eq!(bench.exchange("b", says(0, 24)).cap, 0);
    bench.exchange("a", says(5, 5));
    assert_eq!(bench.exchange("b", says(0, 24)).cap, 5);
}

/// A limit that an operator sets counts for all, and holders carry it over a loss of the ledger's state.
#[test]
fn the_newest_limit_counts() {
    let mut bench = Bench::new();
    bench.exchange("a", says(0, 24));
    let set = bench.state.set_limit(Limit::new(50), "ops", bench.server());
    let grant = bench.exchange("a", says(24, 60));
    assert_eq!((grant.limit, grant.cap), (set, 50));
    bench.state = LedgerState::new();
    assert_eq!(bench.exchange("b", says(0, 60)).limit, limit(24));
    let ask = Ask {
        holder: "a",
        seq: 9,
        epoch: 0,
        held: 50,
        wants: 60,
        claim: Claim::Current,
        terms: terms(),
        limit: set,
    };
    assert_eq!(bench.state.exchange(&ask, bench.server()).unwrap().limit, set);
}

/// Two holders with different terms: the longer span and the shorter guard count, so neither lease ends early.
#[test]
fn the_safest_terms_count() {
    let mut bench = Bench::new();
    let ask = |holder, seq, terms| Ask {
        holder,
        seq,
        epoch: 0,
        held: 0,
        wants: 24,
        claim: Claim::Current,
        terms,
        limit: limit(24),
    };
    bench.state.exchange(&ask("long", 1, terms_of(9, 60, 9)), bench.server()).unwrap();
    for seq in 1..=17 {
        bench.now_ms += 5 * SECOND;
        let grant = bench.state.exchange(&ask("short", seq, terms_of(9, 0, 4)), bench.server()).unwrap();
        assert_eq!(grant.cap, 0, "the clock advances by 4 s at most, 17 times");
    }
    for seq in 18..=20 {
        bench.now_ms += 5 * SECOND;
        bench.state.exchange(&ask("short", seq, terms_of(9, 0, 4)), bench.server()).unwrap();
    }
    assert!(!bench.is_known("long"));
}

// The lease.

fn grant(cap: u32, target: u32) -> Grant {
    Grant {
        cap,
        target,
        fence: Fence { epoch: 1, seq: 1 },
        learning: Duration::ZERO,
        limit: limit(24),
        granted: cap.into(),
        holders: 1,
    }
}

/// A lease of 10 permits that was requested at 100 s, and lasts 9 s less 1 % and 10 ms.
fn leased() -> Lease {
    let mut lease = Lease::new("a", terms(), limit(24));
    let seq = lease.begin(Duration::from_secs(100), 0, 10).seq;
    assert!(lease.finish(seq, &grant(10, 10)));
    lease
}

/// The deadline counts from when the ask was sent, and leaves a margin for clocks that differ.
#[test]
fn the_deadline_counts_from_the_send() {
    let lease = leased();
    assert_eq!(lease.deadline(), Duration::from_millis(109_000 - 90 - 10));
    assert!(
        lease.is_valid(Duration::from_millis(108_899)) && !lease.is_valid(Duration::from_millis(108_900))
    );
}

/// P76: a fall takes effect when the answer arrives. The next report has the lower cap, or the permits that are still in use.
#[test]
fn a_fall_holds_before_it_is_reported() {
    let mut lease = leased();
    let seq = lease.begin(Duration::from_secs(103), 9, 10).seq;
    lease.finish(seq, &grant(10, 4));
    assert_eq!(lease.cap(), 4);
    assert_eq!(lease.clone().begin(Duration::from_secs(104), 9, 10).held, 9);
    assert_eq!(lease.begin(Duration::from_secs(104), 2, 10).held, 4);
}

/// After a lapse only what is in use is reported, and nothing is admitted until the ledger has answered.
#[test]
fn a_lapsed_lease_only_drains() {
    let mut lease = leased();
    let late = Duration::from_secs(120);
    assert_eq!(lease.phase(late), LeasePhase::Draining);
    let ask = lease.begin(late, 3, 10);
    let (seq, claim, held) = (ask.seq, ask.claim, ask.held);
    assert_eq!((claim, held, lease.cap()), (Claim::Lapsed, 3, 0));
    lease.fail(seq);
    assert_eq!(lease.begin(late, 2, 10).held, 2);
    assert!(lease.finish(seq + 1, &grant(8, 8)));
    assert_eq!((lease.cap(), lease.phase(late)), (8, LeasePhase::Leased));
}

/// Only the answer to the latest exchange counts, once, and only if the exchange was not given up.
#[test]
fn only_the_latest_answer_counts() {
    let mut lease = leased();
    let first = lease.begin(Duration::from_secs(103), 0, 24).seq;
    lease.fail(first);
    assert!(!lease.finish(first, &grant(24, 24)), "it was given up");
    let second = lease.begin(Duration::from_secs(104), 0, 24).seq;
    assert!(!lease.finish(first, &grant(24, 24)));
    assert!(lease.finish(second, &grant(12, 12)));
    assert!(!lease.finish(second, &grant(24, 24)), "it was taken before");
    assert_eq!(lease.cap(), 12);
}

/// P75: exchanges are a third of the ttl apart, and 100 ms apart while more is wanted and granted.
#[test]
fn exchanges_become_rarer_if_they_bring_nothing() {
    let mut lease = leased();
    assert_eq!(lease.next_exchange(10, 10), Some(Duration::from_secs(103)));
    assert_eq!(lease.next_exchange(10, 11), Some(Duration::from_millis(100_100)));
    let mut gaps = Vec::new();
    let mut now = Duration::from_secs(101);
    for _ in 0..8 {
        let seq = lease.begin(now, 10, 20).seq;
        assert_eq!(lease.next_exchange(10, 20), None, "one exchange at a time");
        lease.finish(seq, &grant(11, 12));
        let next = lease.next_exchange(10, 20).unwrap();
        gaps.push(next.checked_sub(now).unwrap().as_millis());
        now = next;
    }
    // Only the first one has brought something.
    assert_eq!(gaps, [100, 200, 400, 800, 1600, 3000, 3000, 3000]);
}

/// P75: a holder that has its fair share does not hurry, although it has just grown and wants more. Otherwise all holders of a fleet
/// that has learnt would ask several times within the same seconds.
#[test]
fn a_fair_share_brings_no_early_exchange() {
    let wait_after = |cap, target| {
        let mut lease = leased();
        let before = lease.begin(Duration::from_secs(101), 10, 20).seq;
        lease.finish(before, &grant(10, 10));
        let seq = lease.begin(Duration::from_secs(102), 10, 20).seq;
        lease.finish(seq, &grant(cap, target));
        lease.next_exchange(10, 20).unwrap().checked_sub(Duration::from_secs(102)).unwrap().as_millis()
    };
    assert_eq!(wait_after(12, 15), 100, "3 more are to come");
    assert_eq!(wait_after(12, 12), wait_after(10, 10), "no more are to come");
}

/// Permits that can be returned are reported without waiting for the next renewal.
#[test]
fn returned_permits_are_reported_soon() {
    let mut lease = leased();
    let seq = lease.begin(Duration::from_secs(103), 10, 10).seq;
    lease.finish(seq, &grant(10, 4));
    assert_eq!(lease.next_exchange(10, 4), Some(Duration::from_secs(106)), "all 10 are in use");
    assert_eq!(lease.next_exchange(8, 4), Some(Duration::from_millis(103_100)));
}
