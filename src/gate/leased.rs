//! What a lease needs of the gate that it bounds. The gate is the root of its tree, if it has one.

use super::core::Core;
use super::handle::Gate;
use super::permits::Word;
use super::wake_list::WakeList;
use crate::plan::Limit;

impl Gate {
    /// Returns the permits in use, and those that the requests that wait could use if the limit were `limit`. Caps of keys and limits of
    /// children count, so it is what the gate would use with that limit.
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

    /// Sets the limit of which each key has its part, in place of the limit of the gate. The caller wakes the waiters by dropping the list,
    /// after it releases its own lock.
    pub(crate) fn set_key_base(&self, base: Limit, wake_list: &mut WakeList) {
        if let Some(node) = &self.shared().node {
            node.set_key_base(base, wake_list);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;
    use crate::plan::{GateName, Keys, Part};

    fn tree(block: u32, cap: Part) -> [Gate; 6] {
        let keys = Keys::up_to(8).cap(cap);
        let io = Gate::builder(GateName::new("io"), Limit::new(block)).keyed(keys).build();
        let mail = Gate::builder(GateName::new("mail"), Limit::new(3)).with_children().within(&io).unwrap();
        let mail = mail.build();
        let news = Gate::builder(GateName::new("news"), Limit::new(2)).within(&mail).unwrap().build();
        [io.key("a"), io.key("b"), io, mail, news.clone(), news]
    }

    proptest! {
        /// The demand at a limit is what is in use at that limit, once it is in force: caps, limits of children and levels included.
        #[test]
        fn the_demand_is_what_would_be_in_use(
            requests in proptest::collection::vec(0..6_usize, 0..40),
            block in 1..6_u32,
            limit in 6..40_u32,
            numerator in 1..4_u32,
            pauses in any::<bool>(),
        ) {
            let gates = tree(block, Part::of(numerator, 4));
            let (io, limit) = (&gates[2], Limit::new(limit));
            let mut wake_list = WakeList::default();
            io.set_key_base(limit, &mut wake_list);
            if pauses {
                io.pause();
            }
            let mut waiting: Vec<_> = requests.iter().map(|at| Box::pin(gates[*at].acquire_owned())).collect();
            let mut cx = Context::from_waker(Waker::noop());
            let mut permits: Vec<_> = waiting.iter_mut().map(|request| request.poll_unpin(&mut cx)).collect();
            let demand = io.demand(limit);
            let cap = Part::of(numerator, 4).of_limit(limit);
            prop_assert_eq!(gates[0].limit(), cap, "the block does not count for the cap");

            io.resume();
            io.resize(limit);
            prop_assert_eq!(io.in_use(), demand);
            prop_assert_eq!(io.demand(limit), demand, "what still waits could not use more");
            permits.clear();
        }

        /// The same at a gate by itself.
        #[test]
        fn the_demand_of_a_gate_by_itself(requests in 0..20_usize, block in 1..6_u32, limit in 6..12_u32) {
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
        let mut wake_list = WakeList::default();
        io.set_key_base(Limit::new(40), &mut wake_list);
        let mut cx = Context::from_waker(Waker::noop());
        let requests = [(a, 9), (a, 1), (b, 5), (b, 9)];
        let requests = requests.map(|(gate, weight)| gate.request().weight(weight).wait_for_limit());
        let mut waiting = requests.map(|request| Box::pin(request.acquire_owned()));
        for request in &mut waiting {
            assert!(request.poll_unpin(&mut cx).is_pending());
        }
        assert_eq!(io.demand(Limit::new(40)), 10 + 10, "each key has a cap of 10");
        io.set_key_base(Limit::new(20), &mut wake_list);
        assert_eq!(io.demand(Limit::new(20)), 5, "and now of 5: only the first request of `b` fits");
    }
}
