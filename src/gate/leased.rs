//! What a lease of the module `fleet` asks about the gate whose limit it sets, which is standalone or the root of its tree, and about the
//! gates below it.

use super::handle::Gate;
use super::lock::GateLock;
use super::permits::Word;
use crate::plan::{GateName, Limit};

impl Gate {
    /// Returns the limit that the permits in use and the requests that wait now need: the lowest one that is as useful to them as `limit`.
    /// A request that fits only in part counts with what is left of the limit, because it can be admitted once other permits are released.
    /// Caps of keys and limits of children count. The result is above `limit` only if more permits than that are in use.
    pub(crate) fn demand(&self, limit: Limit) -> u32 {
        let shared = self.shared();
        if let Some(node) = &shared.node {
            return node.demand(limit);
        }
        let word = shared.permits().load();
        if !word.has(Word::WAITERS) {
            return word.in_use();
        }
        shared.locked(|state, word| {
            let in_use = word.in_use();
            in_use.saturating_add(state.queue.usable_weight(in_use, limit.get()))
        })
    }

    /// Returns the gate that would reject this weight as too large if the root of the tree had the limit `limit`, and the limit of that
    /// gate: this gate or one above it. The gate of a key stands for the key.
    pub(crate) fn limit_below_weight(&self, weight: u32, limit: Limit) -> Option<(GateName, Limit)> {
        match &self.shared().node {
            Some(node) => node.limit_below_weight(weight, limit),
            None => (weight > limit.get()).then(|| (self.name(), limit)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;
    use crate::plan::{Keys, Part};

    fn tree(block: u32, cap: Part) -> [Gate; 6] {
        let keys = Keys::up_to(8).cap(cap);
        let io = Gate::builder(GateName::new("io"), Limit::new(block)).keyed(keys).build();
        let mail = Gate::builder(GateName::new("mail"), Limit::new(3)).with_children().within(&io).unwrap();
        let mail = mail.build();
        let news = Gate::builder(GateName::new("news"), Limit::new(2)).within(&mail).unwrap().build();
        [io.key("a"), io.key("b"), io, mail, news.clone(), news]
    }

    proptest! {
        /// The demand is the smallest limit that admits as much as `limit` does, with caps of keys and limits of children.
        #[test]
        fn the_demand_is_the_smallest_limit_that_is_enough(
            requests in proptest::collection::vec(0..6_usize, 0..40),
            block in 1..6_u32,
            limit in 6..40_u32,
            numerator in 1..4_u32,
            pauses in any::<bool>(),
        ) {
            let gates = tree(block, Part::of(numerator, 4));
            let (io, limit) = (&gates[2], Limit::new(limit));
            if pauses {
                io.pause();
            }
            let mut waiting: Vec<_> = requests.iter().map(|at| Box::pin(gates[*at].acquire_owned())).collect();
            let mut cx = Context::from_waker(Waker::noop());
            let mut permits: Vec<_> = waiting.iter_mut().map(|request| request.poll_unpin(&mut cx)).collect();
            let demand = io.demand(limit);
            prop_assert!(demand <= limit.get());
            let cap = Part::of(numerator, 4).of_limit(limit);
            prop_assert_eq!(gates[0].limit_below_weight(cap.get(), limit), None);
            prop_assert_eq!(gates[0].limit_below_weight(cap.get().saturating_add(1), limit), Some((io.name(), cap)));

            io.resume();
            let used_at = |limit: u32| {
                io.resize(Limit::saturating(limit.into()));
                // Requests that were admitted in the meantime have permits, too.
                io.in_use()
            };
            let less = used_at(demand.saturating_sub(1));
            let enough = used_at(demand);
            prop_assert_eq!(used_at(limit.get()), enough, "a higher limit would not admit more");
            prop_assert!(demand <= block.max(1) || less < enough, "{} is not enough, and {} is", demand.saturating_sub(1), demand);
            prop_assert_eq!(io.demand(limit), demand, "what still waits could not use more");
            permits.clear();
        }

        /// `Part::limit_for` returns the smallest limit whose part is at least that many permits.
        #[test]
        fn the_limit_for_a_part_is_the_smallest(permits in 1..1000_u32, numerator in 1..20_u32, more in 0..20_u32) {
            let part = Part::of(numerator, numerator.saturating_add(more));
            let limit = part.limit_for(permits);
            prop_assert!(part.of_limit(limit).get() >= permits);
            prop_assert!(limit == Limit::MIN || part.of_limit(Limit::saturating(u64::from(limit.get()).saturating_sub(1))).get() < permits);
        }

        /// The same at a standalone gate.
        #[test]
        fn the_demand_of_a_standalone_gate(requests in 0..20_usize, block in 1..6_u32, limit in 6..12_u32) {
            let io = Gate::new(GateName::new("io"), Limit::new(block));
            let mut waiting: Vec<_> = (0..requests).map(|_| Box::pin(io.acquire_owned())).collect();
            let mut cx = Context::from_waker(Waker::noop());
            let permits: Vec<_> = waiting.iter_mut().map(|request| request.poll_unpin(&mut cx)).collect();
            let demand = io.demand(Limit::new(limit));
            io.resize(Limit::new(limit));
            prop_assert_eq!(io.in_use(), demand);
            drop(permits);
        }
    }

    /// A request that is heavier than a limit on its path is no demand, nor are those behind it. Other queues are not affected.
    #[test]
    fn requests_above_a_limit_are_no_demand() {
        let gates = tree(1, Part::of(1, 4));
        let (a, b, io) = (&gates[0], &gates[1], &gates[2]);
        let mut cx = Context::from_waker(Waker::noop());
        let requests = [(a, 9), (a, 1), (b, 5), (b, 9)];
        let requests = requests.map(|(gate, weight)| gate.request().weight(weight).wait_for_limit());
        let mut waiting = requests.map(|request| Box::pin(request.acquire_owned()));
        for request in &mut waiting {
            assert!(request.poll_unpin(&mut cx).is_pending());
        }
        assert_eq!(io.demand(Limit::new(40)), 40, "each key needs its cap of 10");
        assert_eq!(
            io.demand(Limit::new(20)),
            20,
            "only the first request of `b` fits, and needs the cap of 5"
        );
        assert_eq!(io.demand(Limit::new(19)), 0, "the cap is 4");
    }
}
