//! `/v1/openapi.json`: what the API is, for programs (OpenAPI 3.1).
//!
//! It is written by hand in `openapi/`: the paths in a file per collection, the objects in `schemas/`.
//! Only the objects as they are returned are made here, out of those that may be sent. Like the rest
//! of the API it is for operators: it tells which release is running.

use std::sync::LazyLock;

use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::answer::JSON;

const DESCRIPTION: &str = include_str!("openapi/description.json");
const PATHS: [&str; 4] = [
    include_str!("openapi/tenants.json"),
    include_str!("openapi/devices.json"),
    include_str!("openapi/credentials.json"),
    include_str!("openapi/log.json"),
];
const SCHEMAS: [&str; 5] = [
    include_str!("openapi/schemas/common.json"),
    include_str!("openapi/schemas/tenant.json"),
    include_str!("openapi/schemas/device.json"),
    include_str!("openapi/schemas/credential.json"),
    include_str!("openapi/schemas/log.json"),
];

static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| document().to_string().into());

pub(crate) async fn read() -> Response {
    ([(CONTENT_TYPE, JSON)], DOCUMENT.clone()).into_response()
}

fn document() -> Value {
    let mut schemas = merged(&SCHEMAS);
    let id = json!({"id": {"type": "string"}});
    let status = json!({"status": {"$ref": "#/components/schemas/DeviceStatus"}});
    for (name, base, more) in [
        ("RegisteredTenant", "Tenant", json!({})),
        ("FoundTenant", "RegisteredTenant", id.clone()),
        ("RegisteredDevice", "Device", status),
        ("FoundDevice", "RegisteredDevice", id),
    ] {
        let schema = returned(&schemas, base, &more);
        schemas.insert(name.to_owned(), schema);
    }
    let mut document = Value::Object(object(DESCRIPTION));
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    document["paths"] = merged(&PATHS).into();
    document["components"]["schemas"] = schemas.into();
    document
}

/// The schema `base` with `more` members, which are always there, and so is `enabled`.
fn returned(schemas: &Map<String, Value>, base: &str, more: &Value) -> Value {
    let mut schema = schemas.get(base).cloned().unwrap_or_default();
    let mut required = vec![json!("enabled")];
    if let Some(before) = schema["required"].as_array() {
        required.clone_from(before);
    }
    for (name, member) in more.as_object().into_iter().flatten() {
        schema["properties"][name] = member.clone();
        required.push(json!(name));
    }
    schema["required"] = required.into();
    schema
}

fn merged(files: &[&str]) -> Map<String, Value> {
    files.iter().flat_map(|text| object(text)).collect()
}

/// One of the files. They are part of the program; the tests read them.
fn object(text: &str) -> Map<String, Value> {
    serde_json::from_str(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Everything that a `$ref` refers to.
    fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
        match value {
            Value::Object(members) => {
                let reference = members.get("$ref").and_then(Value::as_str);
                found.extend(reference);
                members.values().for_each(|value| references(value, found));
            }
            Value::Array(elements) => elements.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn no_file_is_malformed_and_no_name_is_there_twice() {
        for files in [&[DESCRIPTION][..], &PATHS, &SCHEMAS] {
            let parse = |text: &&str| serde_json::from_str::<Map<String, Value>>(text).unwrap();
            let names: usize = files.iter().map(|text| parse(text).len()).sum();
            assert_eq!(merged(files).len(), names);
        }
    }

    #[test]
    fn what_it_refers_to_is_there_and_what_is_there_is_referred_to() {
        let document = document();
        let mut referred = BTreeSet::new();
        references(&document, &mut referred);
        for reference in &referred {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
        for kind in ["schemas", "responses", "headers", "parameters"] {
            for name in document["components"][kind].as_object().unwrap().keys() {
                let reference = format!("#/components/{kind}/{name}");
                assert!(referred.contains(reference.as_str()), "{reference}");
            }
        }
    }
}
