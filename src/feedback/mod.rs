//! Limits that follow the outcomes of the work, inside what the host grants.
//!
//! [`GateSpec::adaptive`](crate::GateSpec::adaptive) declares such a limit, and a governor connects the parts that this page describes.
//!
//! A derived limit follows from the host. What another server can handle is known only from its answers. A [`Rule`] chooses
//! a limit from them, within a [`Band`] whose ceiling is the derived limit. This module only computes: it has no clock and
//! no lock. Instants are durations since any fixed moment of the caller's clock.
//!
//! - A [`Window`] collects samples: the latency and the [`Outcome`] of each unit of work. When it is closed, it returns its summary,
//!   [`Observed`].
//! - A rule turns this summary into an [`Opinion`]: a limit, a [`Reason`], and the numbers behind it. The rules are [`Latency`],
//!   [`Arc`] and [`Aimd`].
//! - [`Feedback`] connects window, rule and band, and enforces the bounds that hold for every rule.
//! - A [`FeedbackDecision`] records everything that a decision depends on. The last 64 are kept in a [`History`]. Each can be printed,
//!   parsed and replayed.
//!
//! ```
//! use std::time::Duration;
//! use concurrency_governor::Limit;
//! use concurrency_governor::feedback::{Band, Feedback, Latency, Outcome};
//!
//! let band = Band::new(Limit::new(4), Limit::new(64));
//! let mut feedback = Feedback::new(Latency::new(), Limit::new(16), band, Duration::ZERO);
//! for _ in 0..800 {
//!     feedback.record_in_flight(16, 3); // all 16 permits are in use, and 3 requests wait
//!     feedback.record(Duration::from_millis(20), Outcome::Success);
//! }
//! let decision = feedback.step(Duration::from_secs(1)).ok_or("too few samples")?;
//! assert_eq!(decision.after(), Limit::new(32));
//! assert!(decision.to_string().starts_with("16 -> 32: double"));
//! # Ok::<(), &str>(())
//! ```

mod rule;
mod window;

mod aimd;
mod arc;
mod latency;

mod controller;
mod decision;

pub use aimd::Aimd;
pub use arc::Arc;
pub use controller::Feedback;
pub use decision::{FeedbackDecision, History, ReplayError};
pub use latency::Latency;
pub use rule::{Band, Opinion, Reason, Rule, WindowTerms};
pub use window::{Observed, Outcome, OutcomeCounts, Window};
