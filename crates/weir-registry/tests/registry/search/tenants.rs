//! Searching tenants.

use serde_json::{Value, json};
use weir_core::TenantId;
use weir_registry::{Direction, Search};

use super::{filter, sort};
use crate::{Given, unique};

#[tokio::test]
async fn tenants_are_searched_alike() {
    let given = Given::new().await;
    let mark = unique("mark");
    let anchor = |dn: &str| {
        json!({
            "id": dn, "subject-dn": dn, "public-key": "AAAA", "algorithm": "RSA",
            "not-before": "2020-01-01T00:00:00Z", "not-after": "2040-01-01T00:00:00Z"
        })
    };
    let (one, two) = (unique("CN=one"), unique("CN=two"));
    let alias = unique("first");
    let rows = [
        (
            "a",
            json!({"alias": alias, "enabled": false, "ext": {"mark": mark, "n": 2}}),
        ),
        (
            "b",
            json!({"trusted-ca": [anchor(&one), anchor(&two)], "ext": {"mark": mark, "n": 1}}),
        ),
        (
            "c",
            json!({
                "adapters": [{"type": "hono-http"}, {"type": "hono-mqtt", "enabled": true}],
                "minimum-message-size": 4096, "ext": {"mark": mark}
            }),
        ),
    ];
    for (name, members) in rows {
        let tenant = serde_json::from_value(members).unwrap();
        let id = TenantId::from(format!("{mark}-{name}"));
        let created = given.registry.create_tenant(Some(id), tenant);
        created.await.unwrap();
    }
    let found = async |filters: &[(&str, &str, Value)], rules| {
        let own = filter("/ext/mark", "eq", json!(mark));
        let more = filters
            .iter()
            .map(|(field, op, value)| filter(field, op, value.clone()));
        let filters = [own].into_iter().chain(more).collect();
        let search = Search::new(filters, rules, 200, 0).unwrap();
        let page = given.registry.search_tenants(&search).await.unwrap();
        for (id, tenant) in &page.items {
            let read = given.registry.read_tenant(id).await.unwrap();
            assert_eq!(*tenant, read.0);
        }
        assert_eq!(page.total, page.items.len() as u64);
        let names = page
            .items
            .iter()
            .filter_map(|(id, _)| id.as_str().chars().last());
        names.collect::<String>()
    };
    let rows = [
        ("/id", "eq", json!("*-b"), "b"),
        ("/enabled", "eq", json!(true), "bc"),
        ("/alias", "eq", json!(alias), "a"),
        ("/alias", "eq", json!(null), "bc"),
        ("/trusted-ca/subject-dn", "in", json!([two]), "b"),
        ("/trusted-ca/1/subject-dn", "eq", json!(one), ""),
        ("/adapters/type", "eq", json!("hono-mqtt"), "c"),
        ("/adapters/enabled", "eq", json!(true), "c"),
        ("/minimum-message-size", "eq", json!(4096), "c"),
        ("/minimum-message-size", "eq", json!(0), ""),
        ("/status/created", "eq", json!(null), "abc"),
    ];
    for (field, op, value, expected) in rows {
        let row = format!("{field} {op} {value}");
        assert_eq!(
            found(&[(field, op, value)], vec![]).await,
            expected,
            "{row}"
        );
    }
    let by_n = vec![sort("/ext/n", Direction::Ascending)];
    assert_eq!(found(&[], by_n).await, "cba");
    let by_id = vec![sort("/id", Direction::Descending)];
    assert_eq!(found(&[], by_id).await, "cba");
    let all = given.registry.search_tenants(&Search::default()).await;
    assert!(all.unwrap().total >= 4);
}
