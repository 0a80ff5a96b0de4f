//! Search, row by row: the devices that are searched, and how.

mod filters;
mod pages;
mod tenants;

use serde_json::{Value, json};
use weir_registry::{Direction, Filter, Op, Search, Sort};

use crate::{Given, device};

/// The devices that are searched.
fn devices() -> Vec<(&'static str, Value)> {
    vec![
        ("plain", json!({})),
        ("off", json!({"enabled": false, "defaults": {"ttl": 30}})),
        ("behind-1", json!({"via": ["gw-1"]})),
        (
            "behind-2",
            json!({"via": ["gw-1", "gw-2"], "downstream-message-mapper": "m"}),
        ),
        (
            "gw-1",
            json!({"authorities": ["auto-provisioning-enabled"]}),
        ),
        ("gw-3", json!({"memberOf": ["g"]})),
        ("grouped", json!({"viaGroups": ["g"]})),
        ("n-int", json!({"ext": {"n": 1}})),
        ("n-real", json!({"ext": {"n": 1.0}})),
        ("n-half", json!({"ext": {"n": -2.5}})),
        ("n-nine", json!({"ext": {"n": 9}})),
        ("n-ten", json!({"ext": {"n": 10}})),
        (
            "n-huge",
            json!({"ext": {"n": 18_446_744_073_709_551_615_u64}}),
        ),
        ("n-exact", json!({"ext": {"n": 9_007_199_254_740_993_i64}})),
        ("n-text", json!({"ext": {"n": "1"}})),
        ("n-upper", json!({"ext": {"n": "B"}})),
        ("n-lower", json!({"ext": {"n": "a"}})),
        ("n-true", json!({"ext": {"n": true}})),
        ("n-false", json!({"ext": {"n": false}})),
        ("n-null", json!({"ext": {"n": null}})),
        ("n-object", json!({"ext": {"n": {"x": 1}}})),
        ("n-list", json!({"ext": {"n": ["1", 9, null]}})),
        ("n-empty", json!({"ext": {"n": []}})),
        ("n-nested", json!({"ext": {"n": [[7]]}})),
        ("k-dot", json!({"ext": {"a.b": 5, "a": {"b": 6}}})),
        ("k-slash", json!({"ext": {"a/b": 5, "c~d": 5}})),
        ("k-empty", json!({"ext": {"": {"": 5}}})),
        ("k-quotes", json!({"ext": {"q\"'`\\[0]*$?": 5}})),
        ("k-digit", json!({"ext": {"0": {"1": 5}}})),
        (
            "k-json",
            json!({"ext": {"j": "{\"x\":1}", "u": "\u{e4}\n\u{1f600}"}}),
        ),
        ("s-star", json!({"ext": {"s": "a*b"}})),
        ("s-percent", json!({"ext": {"s": "a%b"}})),
        ("s-line", json!({"ext": {"s": "a_b"}})),
        ("s-bracket", json!({"ext": {"s": "a[b"}})),
        ("s-class", json!({"ext": {"s": "[a]b"}})),
        ("s-slash", json!({"ext": {"s": "a\\b"}})),
        ("s-wide", json!({"ext": {"s": "a\u{1f600}b"}})),
        ("s-long", json!({"ext": {"s": "a--b--c"}})),
        ("s-case", json!({"ext": {"s": "A-B"}})),
        ("s-none", json!({"ext": {"s": ""}})),
        ("s-nul", json!({"ext": {"s": "a\u{0}b\\u0000"}})),
        (
            "l-1",
            json!({"ext": {"l": [{"x": 1, "y": [5]}, {"x": 2}, 3]}}),
        ),
        (
            "l-2",
            json!({"ext": {"l": [{"x": 2, "y": [6, 7]}, [{"x": 4}]]}}),
        ),
    ]
}

async fn given() -> Given {
    let given = Given::new().await;
    for (id, members) in devices() {
        given.device(id, device(members)).await;
    }
    given
}

fn op(name: &str) -> Op {
    match name {
        "in" => Op::In,
        "not_in" => Op::NotIn,
        _ => Op::Eq,
    }
}

fn filter(field: &str, name: &str, value: Value) -> Filter {
    Filter::new(field.parse().unwrap(), op(name), value).unwrap()
}

fn sort(field: &str, direction: Direction) -> Sort {
    Sort {
        field: field.parse().unwrap(),
        direction,
    }
}

impl Given {
    async fn found(&self, filters: Vec<Filter>, sort: Vec<Sort>) -> Vec<String> {
        let search = Search::new(filters, sort, 200, 0).unwrap();
        self.page(&search).await.1
    }

    /// The total and the ids on the page.
    async fn page(&self, search: &Search) -> (u64, Vec<String>) {
        let page = self.registry.search_devices(&self.tenant, None, search);
        let page = page.await.unwrap();
        let ids = page.items.into_iter().map(|(id, _)| id.to_string());
        (page.total, ids.collect())
    }
}
