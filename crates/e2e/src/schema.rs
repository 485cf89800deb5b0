//! What programs write as JSON, held against the schemas in `docs/schema`.
//!
//! A reader of our JSON must ignore fields that he does not know, so the schemas allow them. Here none is allowed: a field that
//! is written and not described is a gap in the documents.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use jsonschema::Validator;
use serde_json::{Map, Value};

/// Keywords whose schemas are about a part of the value, not about the value itself.
const OF_PARTS: [&str; 2] = ["items", "additionalProperties"];

/// Asserts that `value` is as `docs/schema/NAME.json` says, and has nothing that it does not say.
///
/// # Panics
/// Where it is not so, or there is no such schema.
#[track_caller]
pub fn assert_described(name: &str, value: &Value) {
    let problems: Vec<String> = validator(name)
        .iter_errors(value)
        .map(|error| format!("{} at '{}'", error.masked(), error.instance_path()))
        .collect();
    assert!(problems.is_empty(), "not as {name}.json says: {}\n{value:#}", problems.join("; "));
}

/// Made once for each schema.
#[track_caller]
fn validator(name: &str) -> Arc<Validator> {
    static MADE: Mutex<BTreeMap<String, Arc<Validator>>> = Mutex::new(BTreeMap::new());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let make = || {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schema").join(name).with_extension("json");
        let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let mut schema: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        close_parts(&mut schema);
        close(&mut schema);
        Arc::new(jsonschema::validator_for(&schema).unwrap_or_else(|error| panic!("{name}: {error}")))
    };
    made.entry(name.to_owned()).or_insert_with(make).clone()
}

/// Allows nothing that the schema does not describe, in this value.
fn close(schema: &mut Value) {
    if let Value::Object(schema) = schema {
        schema.entry("unevaluatedProperties").or_insert(false.into());
    }
}

/// The same in its parts. Not in schemas that describe the value together with others (`oneOf`, `$defs`): each of them alone
/// knows only some of its fields.
fn close_parts(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::Object(properties)) = fields.get_mut("properties") {
                properties.values_mut().for_each(close);
            }
            close_named(fields);
            fields.values_mut().for_each(close_parts);
        }
        Value::Array(schemas) => schemas.iter_mut().for_each(close_parts),
        _ => {}
    }
}

fn close_named(fields: &mut Map<String, Value>) {
    OF_PARTS.iter().filter_map(|keyword| fields.get_mut(*keyword).map(close)).for_each(drop);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_schema_is_one() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schema");
        let mut count = 0;
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            let schema: Value = serde_json::from_str(&text).unwrap();
            let checked = jsonschema::meta::validate(&schema);
            assert!(checked.is_ok(), "{}: {checked:?}", path.display());
            validator(path.file_stem().unwrap().to_str().unwrap());
            count += 1;
        }
        assert!(count > 0);
    }

    #[test]
    fn what_is_missing_wrong_or_not_described_is_found() {
        let event = |event: Value| {
            let mut value = json!({ "schema": 1, "time": "2026-11-21T10:00:00.007Z" });
            value.as_object_mut().unwrap().extend(event.as_object().unwrap().clone());
            validator("events").is_valid(&value)
        };
        let plan = |extra: &str| {
            let names = ["files", "receive", "receive_bytes", "release", "release_bytes", "defer", "wait", "prune"];
            let counts = names.into_iter().chain([extra].into_iter().filter(|name| !name.is_empty()));
            let plan: Map<String, Value> = counts.map(|name| (name.to_owned(), 1.into())).collect();
            json!({ "event": "device_planned", "device": "pi", "plan": plan })
        };
        assert!(event(json!({ "event": "device_started", "device": "pi" })));
        assert!(!event(json!({ "event": "device_started" })), "a field is missing");
        assert!(!event(json!({ "event": "device_started", "device": 7 })), "no name");
        assert!(!event(json!({ "event": "device_started", "device": "pi", "more": 1 })), "a field too many");
        assert!(!event(json!({ "event": "device_exploded", "device": "pi" })), "no such event");
        assert!(event(plan("")));
        assert!(!event(plan("more")), "a field too many, further down");
    }
}
