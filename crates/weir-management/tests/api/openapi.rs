//! What the API says of itself is what it does.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::{Given, header};

/// Where the routes are written down; a router does not tell them.
const ROUTES: &str = include_str!("../../src/api.rs");

/// The operations of a path, by verb.
fn operations(item: &Value) -> impl Iterator<Item = (String, &Value)> {
    let members = item.as_object().unwrap().iter();
    let is_operation = |(name, _): &(&String, _)| *name != "parameters";
    members
        .filter(is_operation)
        .map(|(verb, operation)| (verb.to_uppercase(), operation))
}

async fn described(given: &Given) -> Map<String, Value> {
    let mut document = given.get("/v1/openapi.json").await;
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["servers"], json!([{"url": "/v1"}]));
    serde_json::from_value(document["paths"].take()).unwrap()
}

/// A path with a tenant and a device that are there.
fn filled(path: &str) -> String {
    let path = path.replace("{tenant}", "{t}").replace("{device}", "4711");
    format!("/v1{path}")
}

#[tokio::test]
async fn every_route_is_described() {
    let given = Given::new().await;
    let paths = described(&given).await;
    let described: BTreeSet<_> = paths.keys().map(|path| format!("/v1{path}")).collect();
    let strings = ROUTES.split('"').skip(1).step_by(2);
    let routes: BTreeSet<_> = strings
        .filter(|text| text.starts_with("/v1/"))
        .map(str::to_owned)
        .collect();
    assert_eq!(routes, described);
}

#[tokio::test]
async fn every_verb_is_described_and_every_described_one_is_there() {
    let given = Given::with_device().await;
    for (path, item) in described(&given).await {
        let response = given.send("PATCH", &filled(&path), None).await;
        assert_eq!(response.status(), 405, "{path}");
        let allowed = header(&response, "allow");
        let allowed: BTreeSet<_> = allowed
            .split(',')
            .map(|verb| verb.trim().to_owned())
            .filter(|verb| verb != "HEAD" && verb != "OPTIONS")
            .collect();
        let described: BTreeSet<_> = operations(&item).map(|(verb, _)| verb).collect();
        assert_eq!(allowed, described, "{path}");
        let asked = given.anonymous("OPTIONS", &filled(&path)).send().await;
        let announced = header(&asked.unwrap(), "access-control-allow-methods");
        for verb in announced.split(", ") {
            assert!(described.contains(verb), "{verb} {path}");
        }
    }
}

#[tokio::test]
async fn whatever_is_answered_is_described() {
    for body in [None, Some(json!({})), Some(json!([])), Some(json!(""))] {
        let given = Given::with_device().await;
        for (path, item) in described(&given).await {
            for (verb, operation) in operations(&item) {
                let answers = operation["responses"].as_object().unwrap();
                let path = filled(&path);
                for tenant in ["{t}", "{t}-none", "@"] {
                    let path = path.replace("{t}", tenant);
                    let status = given.send(&verb, &path, body.clone()).await.status();
                    let row = format!("{verb} {path} {body:?}: {status}");
                    assert!(answers.contains_key(status.as_str()), "{row}");
                }
                let anonymous = given.anonymous(&verb, &path).send().await.unwrap();
                assert_eq!(anonymous.status(), 401, "{verb} {path}");
                assert!(answers.contains_key("401"), "{verb} {path}");
            }
        }
    }
}
