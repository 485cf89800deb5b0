//! What is written about the metrics elsewhere: the documents, the alert rules and the dashboard name those that there are.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;

use super::*;

const RULES: &str = include_str!("../../../../../examples/alerts.yml");
const DASHBOARD: &str = include_str!("../../../../../examples/grafana.json");
const PAGE: &str = include_str!("../../../../../docs/scripting.md");
const RUNBOOK: &str = include_str!("../../../../../docs/runbook.md");

/// Every metric that can be on a page.
fn metrics() -> BTreeSet<String> {
    let fleet = fleet(&["pi1"]);
    let run = run(vec![report("pi1", failed(Class::Config), busy())]);
    let mut known = known(&[("pi1", 90)]);
    known.storage.as_mut().unwrap().full_in = Some(Duration::ZERO);
    let page = page(Some(&known), &Earlier::default(), Some(&fleet), &ended(0, 100, Some(&run)));
    let page = String::from_utf8(page).unwrap();
    page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).map(str::to_owned).collect()
}

/// Words that look like a metric.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("pipeline_") && *word != "pipeline_core").map(str::to_owned).collect()
}

#[test]
fn every_metric_is_documented_and_no_other_is_named() {
    let metrics = metrics();
    assert_eq!(metrics.len(), 33);
    let documented = named(PAGE);
    assert_eq!(documented, metrics);
    for text in [RULES, DASHBOARD, RUNBOOK] {
        let strangers: Vec<_> = named(text).difference(&metrics).cloned().collect();
        assert!(strangers.is_empty(), "{strangers:?}");
    }
}

#[test]
fn every_alert_leads_to_a_page_of_the_runbook() {
    let headings: BTreeSet<&str> =
        RUNBOOK.lines().filter_map(|line| line.trim_start_matches('#').strip_prefix(' ')).collect();
    let pages =
        RULES.lines().filter_map(|line| line.trim().strip_prefix("runbook: \"docs/runbook.md: ")?.strip_suffix('"'));
    let pages: Vec<&str> = pages.collect();
    assert_eq!(pages.len(), RULES.matches("- alert: ").count());
    for page in pages {
        assert!(headings.contains(page), "{page}");
    }
}

/// Every expression of the dashboard.
fn expressions(dashboard: &Value, found: &mut Vec<String>) {
    match dashboard {
        Value::Object(fields) => {
            found.extend(fields.get("expr").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| expressions(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

#[test]
fn prometheus_understands_the_rules_and_the_dashboard() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rules = here.join("../../examples/alerts.yml");
    promtool(&["check", "rules", rules.to_str().unwrap()], None);
    for tests in ["alerts.yml", "alerts_slow.yml"] {
        promtool(&["test", "rules", here.join("tests/data").join(tests).to_str().unwrap()], None);
    }

    let mut found = Vec::new();
    expressions(&serde_json::from_str(DASHBOARD).unwrap(), &mut found);
    assert!(found.len() > 30, "{found:?}");
    let mut text = String::from("groups:\n- name: dashboard\n  rules:\n");
    for (at, expression) in found.iter().enumerate() {
        // What Grafana puts in their place.
        let expression = expression.replace("$__rate_interval", "5m").replace("$device", ".*");
        writeln!(text, "  - {{ record: 'panel:{at}', expr: {expression:?} }}").unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rules.yml");
    fs::write(&file, text).unwrap();
    promtool(&["check", "rules", file.to_str().unwrap()], None);
}

/// What Grafana's model of a dashboard demands: <https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/>.
#[test]
fn the_dashboard_is_as_grafana_wants_it() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    assert!(dashboard["schemaVersion"].as_u64().is_some() && dashboard["title"].is_string());
    // Written into it, an id would be taken for that of another dashboard.
    assert!(dashboard.get("id").is_none_or(Value::is_null));
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let variables: BTreeSet<&str> = variables.iter().map(|variable| variable["name"].as_str().unwrap()).collect();
    let source: Value = serde_json::json!({ "type": "prometheus", "uid": "${datasource}" });

    let panels = dashboard["panels"].as_array().unwrap();
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel:#}");
        assert!(panel["type"].is_string() && panel["title"].is_string(), "{panel:#}");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
        assert!(w > 0 && h > 0 && x + w <= 24, "{panel:#}");
        let apart = (x..x + w).all(|x| (y..y + h).all(|y| cells.insert((x, y))));
        assert!(apart, "it lies over another: {panel:#}");
        let targets = panel["targets"].as_array().unwrap();
        let names: BTreeSet<&str> = targets.iter().map(|target| target["refId"].as_str().unwrap()).collect();
        assert!(!targets.is_empty() && names.len() == targets.len(), "{panel:#}");
        assert!(targets.iter().chain([panel]).all(|asked| asked["datasource"] == source), "{panel:#}");
    }
    // Each variable that is used is there, but for those that Grafana has itself.
    let used = DASHBOARD.split('$').skip(1).map(|rest| rest.trim_start_matches('{'));
    let used = used.map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap());
    let used: BTreeSet<&str> = used.filter(|name| !name.starts_with("__")).collect();
    assert_eq!(used, variables);
}
