//! The routes for operators. They pass no gate, so they respond under any load.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use concurrency_governor::integration::metrics::{Metrics, MetricsError, SECONDS, WAIT};
use concurrency_governor::plan::LeaseState;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::limits::{Limits, PROVIDER};

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

/// Explains the limit of this process, with its part of the fleet's limit and the last decisions of the rule.
async fn explain_limits(State(operator): State<Arc<Operator>>) -> Result<String, String> {
    let governor = &operator.limits.governor;
    let limit = governor.explain(PROVIDER).map_err(|error| error.to_string())?;
    let decisions: String = governor.feedbacks().map(|feedback| feedback.history.to_string()).collect();
    Ok(format!("{limit:#}\n{decisions}"))
}

/// Lists the tenants with the most requests waiting and permits in use, the busiest first.
async fn list_busiest_tenants(State(operator): State<Arc<Operator>>) -> String {
    let tenants = operator.limits.provider.busiest_keys(10).into_iter();
    tenants
        .map(|tenant| format!("{}: {} in use, {} waiting\n", tenant.key, tenant.in_use, tenant.waiting))
        .collect()
}

/// Returns the diagnosis: which work holds the permits, and why no request is admitted, if none is.
async fn diagnose(State(operator): State<Arc<Operator>>) -> String {
    format!("{}\n", operator.limits.governor.diagnose())
}

/// Records the metrics of the gate, and renders all metrics for Prometheus.
async fn scrape(State(operator): State<Arc<Operator>>) -> String {
    operator.metrics.record();
    operator.prometheus.render()
}

/// For a load balancer: 200 while this process has a part of the fleet's limit, else 503.
async fn check_readiness(State(operator): State<Arc<Operator>>) -> (StatusCode, String) {
    let lease = operator.limits.provider.status().explanation();
    let is_ready = lease.state == LeaseState::Leased && lease.block > 0;
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, format!("{lease}\n"))
}
