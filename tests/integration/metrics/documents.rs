//! The dashboard and the document contain exactly the exported metrics.

use std::collections::BTreeSet;
use std::path::Path;

use concurrency_governor::integration::metrics::ALL;

use super::*;

fn document(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)).unwrap()
}

/// Collects every string in a JSON tree that stands under this key.
fn collect_strings<'j>(json: &'j serde_json::Value, key: &str, found: &mut Vec<&'j str>) {
    match json {
        serde_json::Value::Object(object) => {
            found.extend(object.get(key).and_then(serde_json::Value::as_str));
            for value in object.values() {
                collect_strings(value, key, found);
            }
        }
        serde_json::Value::Array(values) => {
            for value in values {
                collect_strings(value, key, found);
            }
        }
        _ => {}
    }
}

/// Every metric name in the dashboard is exported, and every exported metric is in the dashboard.
#[test]
fn the_dashboard_has_exactly_the_exported_metrics() {
    let dashboard: serde_json::Value = serde_json::from_str(&document("grafana-dashboard.json")).unwrap();
    let mut expressions = Vec::new();
    collect_strings(&dashboard, "expr", &mut expressions);
    collect_strings(&dashboard, "query", &mut expressions);
    let is_in_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = expressions.iter().flat_map(|text| text.split(|c| !is_in_name(c)));
    let names: BTreeSet<&str> =
        words.filter(|word| word.starts_with("concurrency_governor")).map(metric_of).collect();
    assert_eq!(names, ALL.iter().map(|metric| metric.name).collect());

    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids: Vec<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    ids.dedup();
    assert_eq!(ids.len(), panels.len(), "panel ids are unique");
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        assert!(!panel["targets"].as_array().unwrap().is_empty(), "{panel}");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{panel}");
    }
}

/// The table of the document has each metric with its type, and no other.
#[test]
fn the_document_has_exactly_the_exported_metrics() {
    let page = document("OBSERVABILITY.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `concurrency_governor_"));
    let documented: BTreeMap<String, String> = rows
        .map(|row| {
            let mut cells = row.split('|').map(str::trim);
            let name = cells.next().unwrap().trim_end_matches('`');
            (format!("concurrency_governor_{name}"), cells.next().unwrap().to_owned())
        })
        .collect();
    let exported =
        ALL.iter().map(|metric| (metric.name.to_owned(), format!("{:?}", metric.kind).to_lowercase()));
    assert_eq!(documented, exported.collect());
}
