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
    let names: BTreeSet<&str> = expressions.iter().flat_map(|text| metric_names(text)).collect();
    assert_eq!(names, ALL.iter().map(|metric| metric.name).collect());

    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "panel ids are unique");
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        assert!(!panel["targets"].as_array().unwrap().is_empty(), "{panel}");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{panel}");
    }
}

/// The panels stand in the order of the file, in a grid of 24 columns, and none covers another.
#[test]
fn panels_do_not_overlap() {
    let dashboard: serde_json::Value = serde_json::from_str(&document("grafana-dashboard.json")).unwrap();
    let places = dashboard["panels"].as_array().unwrap().iter().map(|panel| {
        let [x, y, width, height] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
        assert!(x + width <= 24, "{}", panel["title"]);
        (panel["title"].as_str().unwrap(), (y, x), (y + height, x + width))
    });
    let places: Vec<_> = places.collect();
    assert!(places.is_sorted_by_key(|(_, start, _)| *start), "{places:?}");
    for (at, (title, (top, left), (bottom, right))) in places.iter().enumerate() {
        for (other, (other_top, other_left), (other_bottom, other_right)) in &places[at + 1..] {
            let is_apart =
                bottom <= other_top || other_bottom <= top || right <= other_left || other_right <= left;
            assert!(is_apart, "{title} and {other}");
        }
    }
}

/// Each panel of readings draws resources of one unit, and each resource of this crate is in one panel.
#[test]
fn each_reading_is_in_the_panel_of_its_unit() {
    let dashboard: serde_json::Value = serde_json::from_str(&document("grafana-dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let mut readings: Vec<(&str, &str)> = panels
        .filter_map(|panel| {
            let expression = panel["targets"][0]["expr"].as_str()?;
            let unit = panel["fieldConfig"]["defaults"]["unit"].as_str()?;
            expression.starts_with("concurrency_governor_probe_reading{").then_some((expression, unit))
        })
        .collect();
    // One panel for each of the other resources.
    let of_variable =
        readings.iter().position(|(expression, _)| expression.contains(r#"resource=~"$resource""#));
    readings.remove(of_variable.unwrap());

    let units = [
        ("cpu", "cores"),
        ("fd", "descriptors"),
        ("tasks", "tasks"),
        ("memory", "bytes"),
        ("memory.available", "bytes"),
        ("memory.high", "bytes"),
        ("pressure.cpu", "percent"),
        ("pressure.memory", "percent"),
        ("pressure.io", "percent"),
    ];
    let mut drawn = BTreeMap::new();
    for (expression, unit_of_panel) in readings {
        let is_of_panel = |(resource, _): &&(&str, &str)| is_selected(expression, resource);
        let of_panel: BTreeSet<&str> = units.iter().filter(is_of_panel).map(|(_, unit)| *unit).collect();
        assert_eq!(of_panel.len(), 1, "{expression}: {of_panel:?}");
        let is_plain = unit_of_panel == "short";
        assert!(
            is_plain == ["cores", "descriptors", "tasks"].contains(of_panel.first().unwrap()),
            "{expression}"
        );
        assert!(is_plain || of_panel.contains(unit_of_panel), "{expression}");
        for (resource, _) in units.iter().filter(is_of_panel) {
            *drawn.entry(resource).or_insert(0) += 1;
        }
    }
    assert_eq!(drawn, units.iter().map(|(resource, _)| (resource, 1)).collect());

    let mut queries = Vec::new();
    collect_strings(&dashboard["templating"], "query", &mut queries);
    let query = queries.iter().find(|query| query.ends_with(", resource)")).unwrap();
    let is_listed = |resource: &str| is_selected(query, resource);
    assert!(is_listed("connections") && !is_listed("feedback.upstream"), "{query}");
    assert!(!units.iter().any(|(resource, _)| is_listed(resource)), "{query}");
}

/// Returns `true` if the label matcher of an expression selects the resource: it is a list of names and of prefixes.
fn is_selected(expression: &str, resource: &str) -> bool {
    let matcher = expression.split(['{', '}', ' ']).find(|part| part.starts_with("resource")).unwrap();
    let (operator, list) = matcher.trim_start_matches("resource").split_once('"').unwrap();
    let is_in_list = list.trim_end_matches('"').split('|').any(|part| match part.strip_suffix("[.].*") {
        Some(prefix) => resource.split_once('.').is_some_and(|(start, _)| start == prefix),
        None => part == resource,
    });
    match operator {
        "=" | "=~" => is_in_list,
        "!~" => !is_in_list,
        operator => panic!("{operator}"),
    }
}

/// Each panel draws values of one unit, because it has one axis, and its legend names the instance.
#[test]
fn each_panel_has_one_unit_and_names_the_instance() {
    let dashboard: serde_json::Value = serde_json::from_str(&document("grafana-dashboard.json")).unwrap();
    let units: BTreeMap<String, String> =
        documented_metrics().into_iter().map(|(name, [_, unit, _])| (name, unit)).collect();
    let panels = dashboard["panels"].as_array().unwrap();
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let mut drawn = BTreeSet::new();
        for target in panel["targets"].as_array().unwrap() {
            let (expression, legend) =
                (target["expr"].as_str().unwrap(), target["legendFormat"].as_str().unwrap());
            assert!(legend.starts_with("{{instance}}"), "{legend}");
            let names: BTreeSet<&str> = metric_names(expression).collect();
            let is_ratio = expression.contains(" / ");
            assert_eq!(names.len(), if is_ratio { 2 } else { 1 }, "{expression}");
            let unit = if is_ratio { "a ratio" } else { &units[*names.first().unwrap()] };
            let is_duration = unit == "seconds";
            assert_eq!(panel["fieldConfig"]["defaults"]["unit"] == "s", is_duration, "{panel}");
            assert_eq!(panel["fieldConfig"]["defaults"]["unit"] == "percentunit", is_ratio, "{panel}");
            // A rate has another unit than the value itself.
            let is_rate = ["rate(", "increase("].iter().any(|function| expression.contains(function));
            drawn.insert((unit, is_rate));
        }
        assert_eq!(drawn.len(), 1, "{}: {drawn:?}", panel["title"]);
    }
}

/// The alert rules use exported metrics, and the document explains each rule.
#[test]
fn the_alert_rules_use_exported_metrics_and_are_explained() {
    let (rules, page) = (document("prometheus-rules.yaml"), document("OBSERVABILITY.md"));
    let names: BTreeSet<&str> = metric_names(&rules).collect();
    let exported: BTreeSet<&str> = ALL.iter().map(|metric| metric.name).collect();
    assert!(names.len() >= 10 && names.is_subset(&exported), "{:?}", names.difference(&exported));

    let declared: Vec<&str> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let section =
        page.split("### The alert rules").nth(1).and_then(|rest| rest.split("\n### ").next()).unwrap();
    let explained: Vec<&str> =
        section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert_eq!(explained, declared);
}

/// The rules of rejections have each reason, except those that an operator causes: a pause and a close.
#[test]
fn the_alert_rules_have_each_reason_for_a_rejection() {
    let (rules, page) = (document("prometheus-rules.yaml"), document("OBSERVABILITY.md"));
    let table = page.split("| `reason` |").nth(1).unwrap().split("\n\n").next().unwrap();
    let mut reasons: BTreeSet<&str> =
        table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert!(reasons.remove("paused") && reasons.remove("closed"), "{reasons:?}");
    let selected = rules.split("rejected_total{reason=~\"").skip(1);
    let selected = selected.flat_map(|rest| rest.split('"').next().unwrap().split('|')).collect();
    assert_eq!(reasons, selected);
}

/// The table of the document has each metric with its type, and no other.
#[test]
fn the_document_has_exactly_the_exported_metrics() {
    let documented: BTreeMap<String, String> =
        documented_metrics().into_iter().map(|(name, [kind, ..])| (name, kind)).collect();
    let exported =
        ALL.iter().map(|metric| (metric.name.to_owned(), format!("{:?}", metric.kind).to_lowercase()));
    assert_eq!(documented, exported.collect());
}

/// The document has a name for OpenTelemetry beside each metric: with dots, and without the suffixes for the type and the
/// unit.
#[test]
fn each_metric_has_a_documented_name_for_opentelemetry() {
    let page = document("OBSERVABILITY.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `concurrency_governor."));
    let documented: BTreeMap<String, String> = rows
        .map(|row| {
            let cells: Vec<&str> = row.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
            (cells[1].to_owned(), format!("concurrency_governor.{} as {}", cells[0], cells[2]))
        })
        .collect();
    let expected = ALL.iter().map(|metric| {
        let name = metric.name.strip_prefix("concurrency_governor_").unwrap();
        let name = name.trim_end_matches("_total").trim_end_matches("_seconds");
        let name = match name.split_once('_') {
            Some((group @ ("pool" | "probe" | "feedback" | "lease" | "fleet" | "ledger"), rest)) => {
                format!("{group}.{rest}")
            }
            _ => name.to_owned(),
        };
        let instrument = format!("{:?}", metric.kind);
        (metric.name.to_owned(), format!("concurrency_governor.{name} as {instrument}"))
    });
    assert_eq!(documented, expected.collect());
}

/// Returns the metrics of the document's tables, each with its type, its unit and its labels.
fn documented_metrics() -> BTreeMap<String, [String; 3]> {
    let page = document("OBSERVABILITY.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `concurrency_governor_"));
    rows.map(|row| {
        let mut cells = row.split('|').map(|cell| cell.trim().to_owned());
        let name = cells.next().unwrap().trim_end_matches('`').to_owned();
        (format!("concurrency_governor_{name}"), std::array::from_fn(|_| cells.next().unwrap()))
    })
    .collect()
}

/// Returns the metrics that occur in a text.
fn metric_names(text: &str) -> impl Iterator<Item = &str> {
    let is_in_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(move |c| !is_in_name(c))
        .filter(|word| word.starts_with("concurrency_governor_"))
        .map(metric_of)
}
