//! Search, row by row: what filters match, how is sorted, which page it is.

use serde_json::{Value, json};
use weir_core::TenantId;
use weir_registry::{Direction, Filter, Op, ReadError, Search, Sort};

use crate::{Given, device, unique};

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

#[tokio::test]
async fn a_filter_finds_what_has_a_leaf_of_that_kind_and_value() {
    let given = given().await;
    let rows = [
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
        // Kinds.
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
        // Names that are special to some language on the way.
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
        // Wildcards, and what is none.
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
        // Objects in arrays.
        ("/ext/l/x", "eq", json!(2), "l-1 l-2"),
        ("/ext/l/x", "eq", json!(1), "l-1"),
        ("/ext/l/x", "eq", json!(4), ""),
        ("/ext/l/0/x", "eq", json!(2), "l-2"),
        ("/ext/l/y", "eq", json!(7), "l-2"),
        ("/ext/l/0/y/1", "eq", json!(7), "l-2"),
        ("/ext/l", "eq", json!(3), "l-1"),
    ];
    for (field, op, value, expected) in rows {
        let filters = vec![filter(field, op, value.clone())];
        let found = given.found(filters, Vec::new()).await.join(" ");
        assert_eq!(found, expected, "{field} {op} {value}");
    }
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
    let by_user = vec![sort("/status/last-user", Direction::Descending)];
    assert_eq!(given.found(Vec::new(), by_user).await[0], "off");
}

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
#[tokio::test]
async fn zz_scratch() {
    let given = Given::new().await;
    let n = 30_000;
    let t = std::time::Instant::now();
    for chunk in (0..n).collect::<Vec<_>>().chunks(500) {
        let jobs = chunk.iter().map(|i| {
            let (registry, tenant) = (given.registry.clone(), given.tenant.clone());
            let d = device(json!({"via": [format!("d{}", i/2)], "ext": {"n": i % 100, "list": [{"x": i}, {"x": 2}], "s": if i % 3 == 0 {"a".repeat(250)} else {"xyz".into()}, "t": "some text to make it larger some text to make it larger"}}));
            let id = format!("d{i}");
            tokio::spawn(async move { registry.create_device(&tenant, Some(id.as_str().into()), d, None).await.unwrap(); })
        }).collect::<Vec<_>>();
        for job in jobs { job.await.unwrap(); }
    }
    println!("made {:?}", t.elapsed());
    let rows: Vec<(&str, Vec<Filter>, Vec<Sort>, Option<bool>)> = vec![
        ("plain", vec![], vec![], None),
        ("n", vec![filter("/ext/n", "eq", json!(5))], vec![], None),
        ("enabled", vec![filter("/enabled", "eq", json!(true))], vec![], None),
        ("deep", vec![filter("/ext/list/x", "eq", json!(5))], vec![], None),
        ("sort", vec![], vec![sort("/ext/n", Direction::Descending)], None),
        ("sort list", vec![], vec![sort("/ext/list/x", Direction::Descending)], None),
        ("gw", vec![], vec![], Some(true)),
        ("nogw", vec![], vec![], Some(false)),
        ("nogw+sort", vec![filter("/ext/n", "eq", json!(5))], vec![sort("/ext/n", Direction::Descending)], Some(false)),
        ("glob", vec![filter("/ext/s", "eq", json!(format!("{}b", "*a".repeat(16))))], vec![], None),
        ("glob2", vec![filter("/ext/s", "eq", json!(format!("{}b", "*?a".repeat(16))))], vec![], None),
    ];
    for (name, filters, rules, gw) in rows {
        let t = std::time::Instant::now();
        let search = Search::new(filters, rules, 200, 0).unwrap();
        let page = given.registry.search_devices(&given.tenant, gw, &search).await.unwrap();
        println!("{name}: {} {:?}", page.total, t.elapsed());
    }
    given.registry.delete_devices(&given.tenant).await.unwrap();
}
