//! How what is found is sorted and cut into pages, and gateways.

use serde_json::json;
use weir_core::TenantId;
use weir_registry::{Direction, ReadError, Search};

use super::{filter, given, sort};
use crate::{Given, device, unique};

#[tokio::test]
async fn values_are_sorted_by_kind_and_then_by_value() {
    let given = given().await;
    // Of an array, the element that comes first in the order.
    let ascending = "n-list n-null n-half n-int n-real n-nine n-ten n-exact n-huge \
                     n-text n-upper n-lower n-empty n-nested n-object n-false n-true";
    let descending = "n-true n-false n-empty n-nested n-object n-lower n-upper n-list n-text \
                      n-huge n-exact n-ten n-nine n-int n-real n-half n-null";
    for (direction, expected) in [
        (Direction::Ascending, ascending),
        (Direction::Descending, descending),
    ] {
        let only = vec![filter("/id", "eq", json!("n-*"))];
        let found = given.found(only, vec![sort("/ext/n", direction)]).await;
        let expected: Vec<&str> = expected.split_whitespace().collect();
        assert_eq!(found, expected, "{direction:?}");
    }
}

#[tokio::test]
async fn several_rules_of_order_apply_one_after_another_and_ids_at_last() {
    let given = Given::new().await;
    for (id, group, floor) in [
        ("e", "x", 2),
        ("d", "x", 10),
        ("c", "y", 1),
        ("b", "y", 1),
        ("a", "z", 0),
    ] {
        let members = json!({"ext": {"group": group, "floor": floor}});
        given.device(id, device(members)).await;
    }
    let (up, down) = (Direction::Ascending, Direction::Descending);
    let rows = [
        (vec![], "abcde"),
        (vec![sort("/id", down)], "edcba"),
        (vec![sort("/ext/group", up)], "debca"),
        (
            vec![sort("/ext/group", up), sort("/ext/floor", up)],
            "edbca",
        ),
        (
            vec![sort("/ext/group", down), sort("/ext/floor", down)],
            "abcde",
        ),
        (
            vec![sort("/ext/floor", up), sort("/ext/group", down)],
            "abced",
        ),
        (vec![sort("/ext/floor", down), sort("/id", down)], "decba"),
        (vec![sort("/ext/none", down)], "abcde"),
    ];
    for (rules, expected) in rows {
        let found = given.found(Vec::new(), rules.clone()).await.concat();
        assert_eq!(found, expected, "{rules:?}");
    }
}

#[tokio::test]
async fn pages_are_counted_and_the_total_is_of_all_of_them() {
    let given = Given::new().await;
    for number in 0..7 {
        given.device(&format!("d{number}"), device(json!({}))).await;
    }
    let rows: [(u32, u32, &[&str]); 5] = [
        (3, 0, &["d0", "d1", "d2"]),
        (3, 1, &["d3", "d4", "d5"]),
        (3, 2, &["d6"]),
        (3, 3, &[]),
        (200, u32::MAX, &[]),
    ];
    for (size, offset, expected) in rows {
        let search = Search::new(Vec::new(), Vec::new(), size, offset).unwrap();
        let (total, ids) = given.page(&search).await;
        assert_eq!(total, 7);
        assert_eq!(ids, expected, "page {offset}");
    }
}

#[tokio::test]
async fn gateways_are_named_by_a_device_or_members_of_a_group() {
    let given = given().await;
    // Another tenant's devices make nobody a gateway here.
    let other = TenantId::from(unique("other"));
    let registry = &given.registry;
    let created = registry.create_tenant(Some(other.clone()), weir_core::Tenant::default());
    created.await.unwrap();
    let foreign = device(json!({"via": ["plain"]}));
    let created = registry.create_device(&other, Some("foreign".into()), foreign, None);
    created.await.unwrap();
    let found = async |is_gateway| {
        let search = Search::new(Vec::new(), Vec::new(), 200, 0).unwrap();
        let page = registry.search_devices(&given.tenant, is_gateway, &search);
        let page = page.await.unwrap();
        assert_eq!(page.total, page.items.len() as u64);
        let ids = page.items.into_iter().map(|(id, _)| id.to_string());
        ids.collect::<Vec<_>>()
    };
    assert_eq!(found(Some(true)).await, ["gw-1", "gw-3"]);
    let mut rest = found(None).await;
    rest.retain(|id| !["gw-1", "gw-3"].contains(&id.as_str()));
    assert_eq!(found(Some(false)).await, rest);
}

#[tokio::test]
async fn a_found_device_is_what_reading_it_gives() {
    let given = given().await;
    let search = Search::default();
    let page = given.registry.search_devices(&given.tenant, None, &search);
    let page = page.await.unwrap();
    assert_eq!(page.items.len(), 30);
    for (id, found) in page.items {
        let read = given.registry.read_device(&given.tenant, &id).await;
        assert_eq!(found, read.unwrap().0, "{id}");
    }
    let nobody = TenantId::from(unique("nobody"));
    let missing = given.registry.search_devices(&nobody, None, &search).await;
    assert!(matches!(missing, Err(ReadError::NotFound)), "{missing:?}");
}
