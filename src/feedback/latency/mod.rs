//! The rule `latency`: keeps a small queue at the server, judged by latency and throughput.

mod fall;
mod figures;
mod phase;

use std::time::Duration;

use crate::plan::Limit;

use super::rule::{Band, Opinion, Reason, Rule, WindowTerms};
use super::window::{Observed, as_ms};

use fall::Fall;
use figures::{average, in_flight, is_busy, median, most_queue, step_of};
use phase::Phase;

/// Keeps a small queue at the server, as TCP Vegas does, and finds the latency without a queue by lowering the limit on trial.
///
/// The latency without a queue is the *baseline* `b`. By Little's law, of `n` requests in flight with a latency of `r`,
/// `n·(1 − b/r)` wait at the server. The rule keeps this queue between 7 % and 14 % of the limit, in steps of
/// `k = ⌊log₁₀ limit⌋`, but at least 1 and at most 3:
///
/// - A longer queue lowers the limit, window by window, until the queue is short: by `k`, or to 0.9 of its value if more than a
///   quarter of the limit waits.
/// - A shorter queue raises the limit by `k`, if the limit was reached. After three such windows in a row the limit grows by an
///   eighth, and by at least `2k`.
///
/// The latency of a window is its mean, where each sample above the 90th percentile counts as the 90th percentile. Little's law holds
/// for means, and a few slow answers do not move this one. A decision needs the same result for the smoothed latency: the median of
/// the last five windows, exponentially weighted with α = 0.3.
///
/// **Start.** The limit doubles each window while the throughput grows by at least 30 % of the growth of the limit. If it does not, a
/// second window at the same limit must confirm that. A limit of which less than half is in flight grows by `k` instead.
///
/// **Baseline.** A window whose smoothed latency is below the baseline lowers the baseline by 15 % of the difference. The baseline rises
/// only in windows in which the limit was not reached, by at most 1 % per window. A server that is always busy has no such windows, and
/// its smoothed latency includes a queue. So after slow start, and after 100 busy windows, the limit falls on trial, window by window,
/// until the throughput falls (by 22 % after slow start, by 16 % later). There the latency is the baseline. The limit returns to the
/// number of permits that the earlier throughput needs at that latency, plus a tenth. Later trials lower the baseline by half of the
/// difference, or raise it by at most 1 %.
///
/// **A slower server.** Lower limits do not help if three things hold: congestion has lowered the limit to 0.6 of its value, the
/// throughput has fallen with it, and the latency has not (elasticity below 0.4 in a linear regression). Then the baseline is learnt
/// anew, and the limit returns to where the fall began. A shorter fall, to 0.85, counts if twelve windows show the same. If the queue is
/// still long after 30 windows at the floor, the baseline is learnt anew, too, with a slow start.
///
/// **Unused limits.** After 30 windows in a row that used less than half of the limit, it falls window by window to twice the peak of
/// the permits in use, but not below the limit at the start.
///
/// **Overload.** If at least one in a hundred samples of a window reports overload, or the host was under the pressure that counts as
/// overload, the limit falls once, to 0.9 of its value. Ignored outcomes are not counted.
///
/// A window has at least 100 samples and lasts at least 1 s, or 250 ms while the limit falls for congestion. Times in the numbers are in
/// milliseconds. Sources: Brakmo and Peterson 1995, "TCP Vegas"; Netflix's concurrency-limits for `k`; Little 1961, "A
/// proof for the queuing formula L = λW"; the trial after BBR (Cardwell and others, 2016). The fractions were chosen on the
/// plants (simulated servers) of `tests/feedback/`.
///
/// ```
/// use std::time::Duration;
/// use concurrency_governor::Limit;
/// use concurrency_governor::feedback::{Band, Latency, Observed, Reason, Rule};
///
/// let mut rule = Latency::new();
/// let ms = Duration::from_millis(10);
/// let busy = Observed {
///     length: Duration::from_secs(1),
///     samples: 1600,
///     completed: 1600,
///     mean: ms,
///     center: ms,
///     p90: ms,
///     peak: 16,
///     reached: true,
///     ..Observed::default()
/// };
/// let opinion = rule.decide(&busy, Limit::new(16), Band::new(Limit::new(4), Limit::new(64)));
/// assert_eq!((opinion.limit(), opinion.reason()), (Limit::new(32), Reason::Double));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Latency {
    phase: Phase,
    /// The latency without a queue in milliseconds; 0 while it is unknown.
    baseline: f64,
    /// 1 if the baseline was measured without a queue, 0 if it is merely the first latency.
    confirmed: f64,
    /// The smoothed latency in milliseconds; 0 while it is unknown.
    smooth: f64,
    /// The throughput before the trial, with which the windows of the trial are compared.
    best: f64,
    /// The number of windows of which `best` is the average.
    best_windows: f64,
    /// Latency and limit since the present congestion began.
    fall: Fall,
    /// The limit of the first window.
    start: f64,
    /// The number of busy windows since the last trial.
    busy_windows: f64,
    /// The number of windows of the trial.
    trial_windows: f64,
    /// The number of windows in a row in which the queue was short enough to raise the limit.
    growing: f64,
    /// The number of windows in a row in which the limit was reached, at the floor or below.
    at_floor: f64,
    /// The number of windows in a row that used less than half of the limit.
    unused: f64,
    /// The last windows, newest first. An entry with the limit 0 is empty.
    recent: [Seen; RECENT],
}

/// The numbers of a past window that the rule remembers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Seen {
    limit: f64,
    latency: f64,
    throughput: f64,
}

impl Latency {
    /// Creates the rule. It knows no latency yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Doubles until the throughput no longer follows.
    fn double(&mut self, observed: &Observed, limit: f64, floor: f64) -> Opinion {
        if !observed.reached {
            return Opinion::new(limit, Reason::NotReached);
        }
        // The throughput must grow by 30 % of the growth of the limit. If it does not, a second window at the same limit must confirm that.
        let here = self.recent.iter().take_while(|seen| (seen.limit - limit).abs() < 0.5).count();
        let throughput = average(self.recent[..here].iter().map(|seen| seen.throughput));
        let gained = match self.recent.get(here).filter(|seen| seen.limit > 0.0) {
            Some(seen) => throughput >= seen.throughput * (1.0 + 0.3 * (limit / seen.limit - 1.0)),
            None => here == 1,
        };
        if gained && observed.mean_in_flight() >= 0.5 * limit {
            return Opinion::new(limit * 2.0, Reason::Double);
        }
        if gained {
            return Opinion::new(limit + step_of(limit), Reason::Grow);
        }
        if here < 2 {
            return Opinion::new(limit, Reason::Steady);
        }
        if self.confirmed == 0.0 && is_busy(observed, limit) {
            self.begin_trial(Phase::FirstTrial, throughput, 1.0);
            return self.try_lower(observed, limit, floor);
        }
        self.phase = Phase::Follow;
        self.follow(observed, limit, floor)
    }

    /// Returns the last windows, newest first, at most this many.
    fn newest(&self, windows: usize) -> impl Iterator<Item = &Seen> {
        self.recent.iter().take(windows).filter(|seen| seen.limit > 0.0)
    }

    fn begin_trial(&mut self, phase: Phase, best: f64, windows: f64) {
        self.phase = phase;
        (self.best, self.best_windows) = (best, windows);
        (self.busy_windows, self.trial_windows, self.growing) = (0.0, 0.0, 0.0);
    }

    /// Lowers the limit until the throughput falls.
    fn try_lower(&mut self, observed: &Observed, limit: f64, floor: f64) -> Opinion {
        let is_congested = self.phase == Phase::CongestedTrial;
        let latency = average(self.newest(2).map(|seen| seen.latency));
        let queue = in_flight(observed, limit) * (1.0 - self.baseline / latency);
        self.trial_windows += 1.0;
        let is_demand_low = !observed.reached || observed.mean_in_flight() < 0.5 * limit;
        if is_congested && (queue <= most_queue(limit) || is_demand_low) {
            // The queue is short again: the baseline was right. The windows with the long queue say nothing about this limit.
            self.phase = Phase::Follow;
            self.recent[3..].fill(Seen::default());
            self.smooth = average(self.newest(3).map(|seen| seen.latency));
            return Opinion::new(limit, Reason::Settle);
        }
        if is_demand_low {
            // The demand fell during the trial, so this latency is one without a queue.
            self.end_trial(as_ms(observed.center));
            return Opinion::new(limit, Reason::Settle);
        }

        // A latency that is much higher has a new cause, so it starts a new comparison.
        if latency > 1.25 * self.fall.mean_latency() {
            self.fall = Fall::from_limit(limit);
        }
        self.fall.add(limit, as_ms(observed.center), observed.throughput());
        let seen = self.recent;
        let ends = if is_congested {
            // With a queue, the latency falls with the limit. Without one it stays: the server itself has become slower.
            let throughput = average(self.newest(2).map(|seen| seen.throughput));
            let is_in_vain = limit <= 0.6 * self.fall.from
                && self.fall.elasticity() < 0.4
                && throughput < 0.85 * self.fall.throughput;
            is_in_vain || self.at_floor >= 30.0
        } else {
            // Four windows are compared with the average before them, because the noise of one window is as large as the fall. If the
            // latency still falls with the limit, the fall of the throughput is noise.
            let (windows, share) = if self.phase == Phase::FirstTrial { (8.0, 0.78) } else { (5.0, 0.84) };
            let has_fallen = self.trial_windows >= windows
                && self.best_windows >= 3.0
                && average(seen[..4].iter().map(|seen| seen.throughput)) < share * self.best
                && latency >= 0.85 * average(seen[3..].iter().map(|seen| seen.latency));
            has_fallen || limit <= floor
        };
        if !ends {
            // A window whose throughput has already fallen is not part of the average that later windows are compared with.
            if self.trial_windows >= 5.0 && seen[4].throughput >= 0.84 * self.best {
                self.best_windows += 1.0;
                self.best += (seen[4].throughput - self.best) / self.best_windows.min(8.0);
            }
            let reason = if is_congested { Reason::Congested } else { Reason::Probe };
            let is_near = is_congested && queue < 0.25 * limit;
            return Opinion::new(if is_near { limit - step_of(limit) } else { limit * 0.9 }, reason);
        }
        if is_congested {
            // Return to the limit at which the fall began. At the floor, that limit is too old, so the slow start begins again.
            let (back, is_floor) = (self.fall.from, self.at_floor >= 30.0);
            self.end_trial(latency);
            if is_floor {
                self.phase = Phase::SlowStart;
            }
            return Opinion::new(if is_floor { limit } else { back }, Reason::Relearn);
        }

        // By Little's law, the limit divided by the throughput is the latency, without the noise of the samples.
        let in_server =
            average(self.newest(3).map(|seen| seen.limit / seen.throughput.max(f64::MIN_POSITIVE)));
        let supported = self.best * in_server * 1.1;
        self.end_trial(average(self.newest(3).map(|seen| seen.latency)));
        Opinion::new(supported.max(limit), Reason::Settle)
    }

    fn end_trial(&mut self, latency: f64) {
        if self.phase == Phase::CongestedTrial || self.confirmed == 0.0 {
            self.baseline = latency;
        } else if latency < self.baseline {
            self.baseline += 0.5 * (latency - self.baseline);
        } else {
            self.baseline = latency.min(self.baseline * MOST_RISE);
        }
        self.forget_windows();
    }

    /// Starts to follow the baseline afresh: the last windows had other limits.
    fn forget_windows(&mut self) {
        self.phase = Phase::Follow;
        self.confirmed = 1.0;
        (self.smooth, self.fall) = (0.0, Fall::default());
        self.recent = [Seen::default(); RECENT];
        (self.busy_windows, self.growing, self.at_floor) = (0.0, 0.0, 0.0);
    }

    /// Keeps the queue at the server between two bounds.
    fn follow(&mut self, observed: &Observed, limit: f64, floor: f64) -> Opinion {
        let (step, least) = (step_of(limit), most_queue(limit) / 2.0);
        let queue_at = |latency: f64| {
            in_flight(observed, limit) * (1.0 - self.baseline / latency.max(f64::MIN_POSITIVE))
        };
        let (now, smoothed) = (queue_at(as_ms(observed.center)), queue_at(self.smooth));

        // Both must agree, so neither a single window nor old windows lower the limit.
        if now.min(smoothed) > most_queue(limit) {
            let phase = if self.confirmed == 0.0 { Phase::FirstTrial } else { Phase::CongestedTrial };
            self.begin_trial(phase, 0.0, 0.0);
            return self.try_lower(observed, limit, floor);
        }
        if is_busy(observed, limit) {
            self.busy_windows += 1.0;
            if self.busy_windows >= 100.0 {
                let best = average(self.newest(RECENT).map(|seen| seen.throughput));
                self.begin_trial(Phase::RegularTrial, best, 5.0);
                return self.try_lower(observed, limit, floor);
            }
        }
        if now.max(smoothed) < least && observed.reached {
            self.growing += 1.0;
            self.fall = Fall::default();
            let more = if self.growing > 3.0 { (2.0 * step).max(limit / 8.0) } else { step };
            return Opinion::new(limit + more, Reason::Grow);
        }
        self.growing = 0.0;
        if is_busy(observed, limit) && self.has_fallen_in_vain(observed, limit) {
            // A single fall may be too short to show the difference, so the windows after it are compared, too.
            let back = self.fall.from;
            self.learn_anew(average(self.newest(RECENT).map(|seen| seen.latency)));
            return Opinion::new(back, Reason::Relearn);
        }
        Opinion::new(limit, if observed.reached { Reason::Steady } else { Reason::NotReached })
    }

    /// Adds a busy window after a fall for congestion. Returns whether the fall lowered the throughput and not the latency, over at least
    /// twelve windows.
    fn has_fallen_in_vain(&mut self, observed: &Observed, limit: f64) -> bool {
        if self.fall.from == 0.0 || limit > 0.85 * self.fall.from {
            return false;
        }
        self.fall.add(limit, as_ms(observed.center), observed.throughput());
        let throughput = average(self.newest(RECENT).map(|seen| seen.throughput));
        self.fall.windows() >= 12.0
            && self.fall.elasticity() < 0.4
            && throughput < 0.92 * self.fall.throughput
    }

    /// Learns the baseline anew, because the server itself has become slower.
    fn learn_anew(&mut self, latency: f64) {
        self.baseline = latency;
        self.forget_windows();
    }

    /// Lowers a limit that has been unused for long, so that a later burst does not get a limit that the server once could handle.
    fn lower_unused(&mut self, observed: &Observed, limit: f64) -> Option<Opinion> {
        let used = 2.0 * f64::from(observed.peak);
        self.unused = if used < limit { self.unused + 1.0 } else { 0.0 };
        let target = (limit * 0.9).max(used).max(self.start);
        (self.unused >= 30.0 && target < limit).then(|| Opinion::new(target, Reason::Unused))
    }
}

impl Rule for Latency {
    fn name(&self) -> &'static str {
        "latency"
    }

    fn terms(&self) -> WindowTerms {
        // Each window lowers a long queue by a tenth, so shorter windows lower it sooner.
        let min_length = if self.phase == Phase::CongestedTrial { 250 } else { 1000 };
        WindowTerms { min_length: Duration::from_millis(min_length), min_samples: 100 }
    }

    fn decide(&mut self, observed: &Observed, limit: Limit, band: Band) -> Opinion {
        let (limit, floor) = (f64::from(limit.get()), f64::from(band.floor().get()));
        let latency = as_ms(observed.center);
        if self.start == 0.0 {
            self.start = limit;
        }
        if observed.is_overloaded() {
            if self.phase == Phase::SlowStart {
                self.phase = Phase::Follow;
            }
            return self.explain(Opinion::new(limit * 0.9, Reason::Overload), observed);
        }

        if latency == 0.0 {
            // The clock did not advance, as in a test with a paused clock: nothing is known.
            return self.explain(Opinion::new(limit, Reason::Steady), observed);
        }

        // Remember the window, and smooth its latency.
        self.recent.rotate_right(1);
        self.recent[0] = Seen { limit, latency, throughput: observed.throughput() };
        let median =
            median(self.recent.iter().filter(|seen| seen.limit > 0.0).map(|seen| seen.latency).collect());
        self.smooth = if self.smooth == 0.0 { median } else { self.smooth + 0.3 * (median - self.smooth) };
        if self.baseline == 0.0 {
            self.baseline = latency;
        }

        self.at_floor = if limit <= floor && observed.reached { self.at_floor + 1.0 } else { 0.0 };
        let before = self.baseline;
        let opinion = self.lower_unused(observed, limit).unwrap_or_else(|| match self.phase {
            Phase::SlowStart => self.double(observed, limit, floor),
            Phase::Follow => self.follow(observed, limit, floor),
            _ => self.try_lower(observed, limit, floor),
        });

        // A lower smoothed latency lowers the baseline in any window. A higher latency raises it only if neither a reached limit nor the
        // decision indicates congestion.
        let is_learnt = (self.baseline - before).abs() > 0.0;
        let is_decrease = f64::from(opinion.limit().get()) < limit;
        if !is_learnt && self.smooth < before && self.smooth > 0.0 {
            self.baseline += 0.15 * (self.smooth - before);
        } else if !is_learnt && !observed.reached && !is_decrease {
            self.baseline = latency.min(before * MOST_RISE);
            // A latency counts as one without a queue only if less than half of the limit is in flight.
            if observed.mean_in_flight() < 0.5 * limit && self.recent[1].limit > 0.0 && latency < 1.1 * before
            {
                self.confirmed = 1.0;
            }
        }
        self.explain(opinion, observed)
    }

    fn memory(&self) -> Vec<f64> {
        let mut memory = vec![
            self.phase.number(),
            self.baseline,
            self.confirmed,
            self.smooth,
            self.best,
            self.best_windows,
            self.start,
            self.busy_windows,
            self.trial_windows,
            self.growing,
            self.at_floor,
            self.unused,
        ];
        memory.extend(self.fall.numbers());
        memory.extend(self.recent.iter().flat_map(|seen| [seen.limit, seen.latency, seen.throughput]));
        memory
    }

    fn restore(&mut self, memory: &[f64]) {
        let mut numbers = memory.iter().copied();
        let mut next = || numbers.next().unwrap_or_default();
        *self = Self {
            phase: Phase::of_number(next()),
            baseline: next(),
            confirmed: next(),
            smooth: next(),
            best: next(),
            best_windows: next(),
            start: next(),
            busy_windows: next(),
            trial_windows: next(),
            growing: next(),
            at_floor: next(),
            unused: next(),
            fall: Fall::of_numbers(std::array::from_fn(|_| next())),
            recent: std::array::from_fn(|_| Seen { limit: next(), latency: next(), throughput: next() }),
        };
    }
}

impl Latency {
    fn explain(&self, opinion: Opinion, observed: &Observed) -> Opinion {
        opinion
            .with("latency_ms", as_ms(observed.center))
            .with("smooth_ms", self.smooth)
            .with("baseline_ms", self.baseline)
            .with("in_flight", observed.mean_in_flight())
            .with("per_second", observed.throughput())
    }
}

/// The number of windows that are remembered.
const RECENT: usize = 5;

/// The baseline rises by at most 1 % per window.
const MOST_RISE: f64 = 1.01;
