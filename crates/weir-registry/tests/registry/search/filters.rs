//! What filters match.

use serde_json::{Value, json};
use weir_core::Registry as _;
use weir_registry::{Direction, Search};

use super::{devices, filter, given, sort};
use crate::device;

/// A pointer, an operator, a value, and the ids of the devices that match.
type Row = (&'static str, &'static str, Value, &'static str);

async fn check(rows: &[Row]) {
    let given = given().await;
    for (field, op, value, expected) in rows {
        let filters = vec![filter(field, op, value.clone())];
        let found = given.found(filters, Vec::new()).await.join(" ");
        assert_eq!(found, *expected, "{field} {op} {value}");
    }
}

#[tokio::test]
async fn ids_and_members_are_compared_as_they_are_shown() {
    check(&[
        // The object's id, and members that are written whatever they are.
        ("/id", "eq", json!("gw-1"), "gw-1"),
        ("/id", "eq", json!("gw-?"), "gw-1 gw-3"),
        ("/id", "in", json!(["off", "gw-3", "none"]), "gw-3 off"),
        ("/id", "eq", json!(1), ""),
        ("/id/x", "eq", json!("gw-1"), ""),
        ("/enabled", "eq", json!(false), "off"),
        ("/enabled", "eq", json!("false"), ""),
        ("/enabled", "eq", json!(0), ""),
        ("/defaults/ttl", "eq", json!(30), "off"),
        ("/downstream-message-mapper", "eq", json!("m"), "behind-2"),
        // What is not written because it is as it is by default is absent.
        ("/via", "not_in", json!([null]), "behind-1 behind-2"),
    ])
    .await;
}

#[tokio::test]
async fn an_array_matches_if_any_of_its_elements_does() {
    check(&[
        // Any element of an array.
        ("/via", "eq", json!("gw-1"), "behind-1 behind-2"),
        ("/via", "eq", json!("gw-2"), "behind-2"),
        ("/via", "eq", json!("*2"), "behind-2"),
        ("/via/0", "eq", json!("gw-1"), "behind-1 behind-2"),
        ("/via/1", "eq", json!("gw-1"), ""),
        ("/via/1", "eq", json!("gw-2"), "behind-2"),
        ("/via/01", "eq", json!("gw-2"), ""),
        ("/via/-1", "eq", json!("gw-2"), ""),
        ("/via/-", "eq", json!("gw-2"), ""),
        ("/authorities", "eq", json!("auto*"), "gw-1"),
        ("/viaGroups", "eq", json!("g"), "grouped"),
        // Objects in arrays.
        ("/ext/l/x", "eq", json!(2), "l-1 l-2"),
        ("/ext/l/x", "eq", json!(1), "l-1"),
        ("/ext/l/x", "eq", json!(4), ""),
        ("/ext/l/0/x", "eq", json!(2), "l-2"),
        ("/ext/l/y", "eq", json!(7), "l-2"),
        ("/ext/l/0/y/1", "eq", json!(7), "l-2"),
        ("/ext/l", "eq", json!(3), "l-1"),
    ])
    .await;
}

#[tokio::test]
async fn a_value_matches_its_kind_alone() {
    check(&[
        ("/ext/n", "eq", json!(1), "n-int n-real"),
        ("/ext/n", "eq", json!(1.0), "n-int n-real"),
        ("/ext/n", "eq", json!("1"), "n-list n-text"),
        ("/ext/n", "eq", json!(-2.5), "n-half"),
        ("/ext/n", "eq", json!(9), "n-list n-nine"),
        ("/ext/n", "eq", json!(u64::MAX), "n-huge"),
        ("/ext/n", "eq", json!(9_007_199_254_740_993_i64), "n-exact"),
        ("/ext/n", "eq", json!(9_007_199_254_740_992_i64), ""),
        ("/ext/n", "eq", json!(true), "n-true"),
        ("/ext/n", "eq", json!("true"), ""),
        ("/ext/n", "eq", json!(0), ""),
        ("/ext/n", "eq", json!(7), ""),
        ("/ext/n", "eq", json!("?"), "n-list n-lower n-text n-upper"),
        ("/ext/n", "eq", json!("{\"x\":1}"), ""),
        (
            "/ext/n",
            "in",
            json!([true, "a", 10]),
            "n-lower n-ten n-true",
        ),
        ("/ext/n", "in", json!([]), ""),
        ("/ext/n/x", "eq", json!(1), "n-object"),
        ("/ext/n/x", "eq", json!("*"), ""),
        ("/ext", "eq", json!("*"), ""),
    ])
    .await;
}

#[tokio::test]
async fn names_that_are_special_to_some_language_on_the_way_are_names() {
    check(&[
        ("/ext/a.b", "eq", json!(5), "k-dot"),
        ("/ext/a/b", "eq", json!(6), "k-dot"),
        ("/ext/a~1b", "eq", json!(5), "k-slash"),
        ("/ext/c~0d", "eq", json!(5), "k-slash"),
        ("/ext//", "eq", json!(5), "k-empty"),
        ("/ext/q\"'`\\[0]*$?", "eq", json!(5), "k-quotes"),
        ("/ext/0/1", "eq", json!(5), "k-digit"),
        ("/ext/j/x", "eq", json!(1), ""),
        ("/ext/j", "eq", json!("{\"x\":1}"), "k-json"),
        ("/ext/u", "eq", json!("\u{e4}\n\u{1f600}"), "k-json"),
        ("/ext/u", "eq", json!("?\n?"), "k-json"),
        ("/no such member", "eq", json!("*"), ""),
        ("/1", "eq", json!("*"), ""),
    ])
    .await;
}

#[tokio::test]
async fn strings_are_compared_as_a_whole_with_two_wildcards_and_no_more() {
    check(&[
        ("/ext/s", "eq", json!("a%b"), "s-percent"),
        ("/ext/s", "eq", json!("a_b"), "s-line"),
        ("/ext/s", "eq", json!("a\\?"), "s-slash"),
        ("/ext/s", "eq", json!("a\\b"), "s-slash"),
        ("/ext/s", "eq", json!("a[?"), "s-bracket"),
        ("/ext/s", "eq", json!("[a]*"), "s-class"),
        ("/ext/s", "eq", json!("[?"), ""),
        ("/ext/s", "eq", json!("?[b"), "s-bracket"),
        ("/ext/s", "eq", json!("_*"), ""),
        (
            "/ext/s",
            "eq",
            json!("a?b"),
            "s-bracket s-line s-percent s-slash s-star s-wide",
        ),
        ("/ext/s", "eq", json!("a*-b*c"), "s-long"),
        ("/ext/s", "eq", json!("a-*b"), ""),
        ("/ext/s", "eq", json!("A*"), "s-case"),
        ("/ext/s", "eq", json!(""), "s-none"),
        ("/ext/s", "eq", json!("**********?-B"), "s-case"),
    ])
    .await;
}

#[tokio::test]
async fn null_is_also_what_is_absent_and_not_in_is_all_the_rest() {
    let given = given().await;
    let all: Vec<String> = given.found(Vec::new(), Vec::new()).await;
    assert_eq!(all.len(), devices().len());
    let with_n: Vec<&str> = "n-empty n-exact n-false n-half n-huge n-int n-lower n-nested n-nine \
                             n-object n-real n-ten n-text n-true n-upper"
        .split(' ')
        .collect();
    let rows = [
        ("/ext/n", json!([null]), with_n.clone()),
        ("/ext/n", json!([null, 1]), {
            let others = with_n
                .iter()
                .filter(|id| !["n-int", "n-real"].contains(*id));
            others.copied().collect()
        }),
        (
            "/status",
            json!([null]),
            all.iter().map(String::as_str).collect(),
        ),
        ("/status/updated", json!([null]), Vec::new()),
        ("/status/none", json!([null]), Vec::new()),
        ("/id", json!(["*"]), Vec::new()),
        ("/via", json!(["*"]), {
            let others = all.iter().filter(|id| !id.starts_with("behind-"));
            others.map(String::as_str).collect()
        }),
        ("/via", json!([]), all.iter().map(String::as_str).collect()),
    ];
    for (field, values, without) in rows {
        let row = format!("{field} {values}");
        let not = vec![filter(field, "not_in", values.clone())];
        assert_eq!(given.found(not, Vec::new()).await, without, "not in: {row}");
        let is = vec![filter(field, "in", values)];
        let mut both = given.found(is, Vec::new()).await;
        both.extend(without.into_iter().map(str::to_owned));
        both.sort();
        assert_eq!(both, all, "in: {row}");
    }
    let null = vec![filter("/ext/n", "eq", Value::Null)];
    let found = given.found(null, Vec::new()).await;
    assert_eq!(found.len(), all.len() - with_n.len());
}

#[tokio::test]
async fn all_filters_have_to_match() {
    let given = given().await;
    let both = vec![
        filter("/via", "eq", json!("gw-1")),
        filter("/via", "eq", json!("gw-2")),
    ];
    assert_eq!(given.found(both, Vec::new()).await, ["behind-2"]);
    let deep = format!("/ext{}", "/x".repeat(15));
    let many = vec![filter(&deep, "eq", Value::Null); Search::MAX_FILTERS];
    let sorts = vec![sort(&deep, Direction::Descending); Search::MAX_SORTS];
    assert_eq!(given.found(many, sorts).await.len(), devices().len());
}

#[tokio::test]
async fn the_registrys_own_knowledge_is_searched_as_it_is_shown() {
    let given = given().await;
    let (registry, tenant) = (&given.registry, &given.tenant);
    let off = "off".into();
    let update = registry.update_device(tenant, &off, device(json!({})), None, Some("ann"));
    update.await.unwrap();
    let (shown, _) = registry.read_device(tenant, &off).await.unwrap();
    let status = shown.status.unwrap();
    let rows = [
        ("/status/created", json!(status.created.unwrap()), true),
        ("/status/created", json!("????-??-??T??:??:??Z"), true),
        ("/status/created", json!("1970-*"), false),
        ("/status/updated", json!(status.updated.unwrap()), true),
        ("/status/last-user", json!("ann"), true),
        ("/status/last-user", json!("bob"), false),
        ("/status/auto-provisioned", json!(true), false),
        ("/status/auto-provisioned", json!(false), false),
        ("/status/auto-provisioned", json!(null), true),
        (
            "/status/auto-provisioning-notification-sent",
            json!(null),
            true,
        ),
        ("/status/last-user/x", json!(null), true),
    ];
    for (field, value, expected) in rows {
        let filters = vec![
            filter("/id", "eq", json!("off")),
            filter(field, "eq", value),
        ];
        let found = given.found(filters, Vec::new()).await;
        assert_eq!(found == ["off"], expected, "{field}: {found:?}");
    }
    // A gateway that may has it registered.
    let (new, gateway) = ("new".into(), "gw-1".into());
    let asserted = registry.assert(tenant, &new, Some(&gateway)).await;
    assert!(asserted.unwrap().is_unannounced);
    for (name, expected) in [
        ("auto-provisioned", &["new"][..]),
        ("auto-provisioning-notification-sent", &[]),
    ] {
        let flag = filter(&format!("/status/{name}"), "eq", json!(true));
        let found = given.found(vec![flag], Vec::new()).await;
        assert_eq!(found, expected, "{name}");
    }
    let by_user = vec![sort("/status/last-user", Direction::Descending)];
    assert_eq!(given.found(Vec::new(), by_user).await[0], "off");
}
