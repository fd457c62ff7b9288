//! The metrics, as a scrape of a Prometheus endpoint shows them.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![expect(clippy::float_cmp, reason = "a scrape has whole numbers as floats, which are exact")]

mod documents;
mod keys;
#[cfg(feature = "fleet")]
mod lease;
mod pool;
mod recording;
mod scrape;

use std::collections::BTreeMap;

use concurrency_governor::GateName;
use concurrency_governor::integration::metrics::{
    HOLD, LEDGER_EXCHANGE, POOL_CREATE, POOL_WAIT, SECONDS, WAIT,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::support::{complete, poll};

const UPLOADS: GateName = GateName::new("uploads");
const HISTOGRAMS: [&str; 5] = [WAIT, HOLD, LEDGER_EXCHANGE, POOL_CREATE, POOL_WAIT];

fn builder() -> PrometheusBuilder {
    HISTOGRAMS.into_iter().fold(PrometheusBuilder::new(), |builder, name| {
        builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), &SECONDS).unwrap()
    })
}

/// A recorder for one test, with the handle that renders a scrape.
pub(crate) fn recorder() -> (PrometheusRecorder, PrometheusHandle) {
    let recorder = builder().build_recorder();
    let handle = recorder.handle();
    (recorder, handle)
}

/// Parses a scrape to the value of each series, by its name and labels.
pub(crate) fn series(scrape: &str) -> BTreeMap<&str, f64> {
    let lines = scrape.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series, value.parse().unwrap())
        })
        .collect()
}

/// Returns the metric of a series: its name without labels and without the suffixes of a histogram.
fn metric_of(series: &str) -> &str {
    let name = series.split('{').next().unwrap();
    let part_of = |suffix| name.strip_suffix(suffix).filter(|name| HISTOGRAMS.contains(name));
    part_of("_bucket").or_else(|| part_of("_sum")).or_else(|| part_of("_count")).unwrap_or(name)
}
