//! The routes for operators. They pass no gate, so they respond under any load.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use concurrency_governor::integration::metrics::{Metrics, MetricsError, SECONDS, WAIT};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::limits::Limits;

struct Operator {
    limits: Arc<Limits>,
    metrics: Metrics,
    prometheus: PrometheusHandle,
}

/// Returns the routes `/limits`, `/tenants`, `/diagnosis`, `/metrics` and `/ready`.
pub fn routes(limits: Arc<Limits>) -> Result<Router, axum::BoxError> {
    let prometheus = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full(WAIT.to_owned()), &SECONDS)?
        .install_recorder()?;
    let metrics = record_limits(&limits)?;
    let routes = Router::new()
        .route("/limits", get(explain_limits))
        .route("/tenants", get(list_busiest_tenants))
        .route("/diagnosis", get(diagnose))
        .route("/metrics", get(scrape))
        .route("/ready", get(check_readiness));
    Ok(routes.with_state(Arc::new(Operator { limits, metrics, prometheus })))
}

fn record_limits(limits: &Limits) -> Result<Metrics, MetricsError> {
    Metrics::builder().governor(&limits.governor).build()
}

/// Explains the limit of this process, with the last decisions of its rule, and its part of the fleet's limit.
async fn explain_limits(State(operator): State<Arc<Operator>>) -> String {
    let governor = &operator.limits.governor;
    let limits: String =
        governor.resolution().explanations().iter().map(|limit| format!("{limit:#}\n")).collect();
    let decisions: String = governor.feedbacks().map(|feedback| feedback.history.to_string()).collect();
    format!("{limits}{}\n{decisions}", describe_fleet(&operator.limits))
}

/// Lists the tenants with the most requests waiting and permits in use, the busiest first.
async fn list_busiest_tenants(State(operator): State<Arc<Operator>>) -> String {
    let tenants = operator.limits.provider.busiest_keys(10).into_iter();
    tenants
        .map(|tenant| format!("{}: {} in use, {} waiting\n", tenant.key, tenant.in_use, tenant.waiting))
        .collect()
}

/// Says which work holds the permits, and why nothing moves, if nothing does.
async fn diagnose(State(operator): State<Arc<Operator>>) -> String {
    format!("{}\n{}\n", operator.limits.governor.diagnose(), describe_fleet(&operator.limits))
}

/// Records the metrics of the gate, and renders all metrics for Prometheus.
async fn scrape(State(operator): State<Arc<Operator>>) -> String {
    operator.metrics.record();
    operator.prometheus.render()
}

/// For a load balancer: 200 while requests can be admitted, else 503.
async fn check_readiness(State(operator): State<Arc<Operator>>) -> (StatusCode, String) {
    let status = if operator.limits.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, format!("{}\n", describe_fleet(&operator.limits)))
}

fn describe_fleet(limits: &Limits) -> String {
    let fleet = limits.fleet();
    let (used, cap, limit) = (fleet.in_use, fleet.cap, fleet.limit.limit);
    let mut text = format!("fleet: {used} in use of {cap} leased, the limit is {limit}; {:?}", fleet.phase);
    if cap > 0 {
        text += &format!(" for {:.1} s", fleet.remaining.as_secs_f64());
    }
    if let Some(error) = fleet.last_error {
        text += &format!("; {error}");
    }
    text
}
