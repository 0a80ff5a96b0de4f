//! Searching tenants and devices.

use reqwest::{Response, Url};
use serde_json::{Value, json};

use crate::{Given, error, header, unique};

/// Parameters with their values, repeatable ones too.
type Asked<'a> = &'a [(&'a str, &'a str)];

impl Given {
    async fn search(&self, path: &str, asked: Asked<'_>) -> Response {
        let mut url = Url::parse("http://any").unwrap();
        url.query_pairs_mut().extend_pairs(asked);
        let path = format!("{path}?{}", url.query().unwrap());
        self.request("GET", &path).send().await.unwrap()
    }

    /// The total and the ids on the page.
    async fn found_ids(&self, path: &str, asked: Asked<'_>) -> (u64, String) {
        let response = self.search(path, asked).await;
        assert_eq!(response.status(), 200, "{asked:?}");
        let page: Value = response.json().await.unwrap();
        let ids = page["result"].as_array().unwrap().iter();
        let ids: Vec<&str> = ids.map(|found| found["id"].as_str().unwrap()).collect();
        (page["total"].as_u64().unwrap(), ids.join(" "))
    }
}

async fn given() -> Given {
    let given = Given::new().await;
    given.ok("POST", "/v1/tenants/{t}", None).await;
    for (id, members) in [
        ("a", json!({"ext": {"floor": 2, "group": "x"}})),
        (
            "b",
            json!({"ext": {"floor": 1, "group": "x"}, "via": ["gw"]}),
        ),
        (
            "c",
            json!({"ext": {"floor": 1, "group": "y"}, "enabled": false}),
        ),
        ("gw", json!({"defaults": {"ttl": 30}})),
        ("m", json!({"memberOf": ["g"]})),
    ] {
        let path = format!("/v1/devices/{{t}}/{id}");
        given.ok("POST", &path, Some(members)).await;
    }
    given
}

#[tokio::test]
async fn devices_are_filtered_sorted_and_paged() {
    let given = given().await;
    let on_1 = ("filterJson", r#"{"field": "/ext/floor", "value": 1}"#);
    let in_x = (
        "filterJson",
        r#"{"field": "/ext/group", "value": "?", "op": "eq"}"#,
    );
    let by_floor = (
        "sortJson",
        r#"{"field": "/ext/floor", "direction": "desc"}"#,
    );
    let by_group = ("sortJson", r#"{"field": "/ext/group"}"#);
    let by_id = ("sortJson", r#"{"field": "/id", "direction": "desc"}"#);
    let rows: [(Asked<'_>, u64, &str); 20] = [
        (&[], 5, "a b c gw m"),
        (&[("whatever", "x"), ("", "")], 5, "a b c gw m"),
        (&[on_1], 2, "b c"),
        (&[on_1, by_id], 2, "c b"),
        (&[in_x], 3, "a b c"),
        (&[on_1, in_x, by_id], 2, "c b"),
        (&[by_floor, by_group], 5, "a b c gw m"),
        (&[by_floor, by_id], 5, "a c b m gw"),
        (&[by_id, by_floor], 5, "m gw c b a"),
        (
            &[(
                "filterJson",
                r#"{"field": "/defaults/ttl", "value": 30, "op": null}"#,
            )],
            1,
            "gw",
        ),
        (
            &[(
                "filterJson",
                r#"{"field": "/id", "value": ["a", "m"], "op": "in"}"#,
            )],
            2,
            "a m",
        ),
        (
            &[(
                "filterJson",
                r#"{"field": "/id", "value": ["a", "?"], "op": "not_in"}"#,
            )],
            1,
            "gw",
        ),
        (
            &[("filterJson", r#"{"field": "/via", "value": null}"#)],
            4,
            "a c gw m",
        ),
        (&[("isGateway", "true")], 2, "gw m"),
        (&[("isGateway", "false")], 3, "a b c"),
        (&[("pageSize", "2")], 5, "a b"),
        (&[("pageSize", "2"), ("pageOffset", "2")], 5, "m"),
        (&[("pageSize", "2"), ("pageOffset", "3")], 5, ""),
        (&[("pageSize", "200"), ("pageOffset", "0")], 5, "a b c gw m"),
        (
            &[
                on_1,
                ("isGateway", "false"),
                ("pageSize", "1"),
                ("pageOffset", "1"),
            ],
            2,
            "c",
        ),
    ];
    for (asked, total, ids) in rows {
        let found = given.found_ids("/v1/devices/{t}", asked).await;
        assert_eq!(found, (total, ids.to_owned()), "{asked:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_by_its_name() {
    let given = given().await;
    let filter = |text| ("filterJson", text);
    let sort = |text| ("sortJson", text);
    let many = [filter(r#"{"field": "/id", "value": "a"}"#); 17];
    let sorts = [sort(r#"{"field": "/id"}"#); 9];
    let rows: [(Asked<'_>, &str); 30] = [
        (&[("pageSize", "0")], "pageSize: "),
        (&[("pageSize", "201")], "pageSize: "),
        (&[("pageSize", "-1")], "pageSize: "),
        (&[("pageSize", "many")], "pageSize: "),
        (&[("pageSize", "")], "pageSize: "),
        (&[("pageSize", "1.0")], "pageSize: "),
        (&[("pageOffset", "-1")], "pageOffset: "),
        (&[("pageOffset", "x")], "pageOffset: "),
        (&[("pageOffset", "99999999999")], "pageOffset: "),
        (&[("isGateway", "yes")], "isGateway: "),
        (&[("isGateway", "")], "isGateway: "),
        (&[filter("")], "filterJson: malformed JSON"),
        (&[filter("{")], "filterJson: malformed JSON"),
        (&[filter(r#"["/id", "a"]"#)], "filterJson: an object"),
        (
            &[filter(r#"{"value": 1}"#)],
            "filterJson.field: is required",
        ),
        (
            &[filter(r#"{"field": "/id"}"#)],
            "filterJson.value: is required",
        ),
        (
            &[filter(r#"{"field": "id", "value": 1}"#)],
            "filterJson.field: a JSON pointer",
        ),
        (
            &[filter(r#"{"field": 1, "value": 1}"#)],
            "filterJson.field: a string",
        ),
        (
            &[filter(r#"{"field": "/id", "value": {}}"#)],
            "filterJson.value: a string",
        ),
        (
            &[filter(r#"{"field": "/id", "value": "a", "op": "in"}"#)],
            "filterJson.value: an array",
        ),
        (
            &[filter(r#"{"field": "/id", "value": "a", "op": "gt"}"#)],
            "filterJson.op: one of",
        ),
        (
            &[filter(
                r#"{"field": "/id", "value": "a", "op": {"eq": null}}"#,
            )],
            "filterJson.op: a string",
        ),
        (
            &[filter(r#"{"field": "/id", "value": "a", "x": null}"#)],
            "filterJson.x: there is no",
        ),
        (
            &[sort(r#"{"field": "/id", "direction": {"asc": null}}"#)],
            "sortJson.direction: a string",
        ),
        (
            &[filter(r#"{"field": "/id", "value": "a", "x": 1}"#)],
            "filterJson.x: there is no",
        ),
        (&many, "filterJson: at most 16"),
        (&[sort("floor")], "sortJson: malformed JSON"),
        (
            &[sort(r#"{"direction": "asc"}"#)],
            "sortJson.field: is required",
        ),
        (
            &[sort(r#"{"field": "/id", "direction": "up"}"#)],
            "sortJson.direction: `asc` or",
        ),
        (&sorts, "sortJson: at most 8"),
    ];
    for (asked, expected) in rows {
        for path in ["/v1/devices/{t}", "/v1/tenants"] {
            if path == "/v1/tenants" && asked[0].0 == "isGateway" {
                continue;
            }
            let response = given.search(path, asked).await;
            assert_eq!(response.status(), 400, "{path} {asked:?}");
            let text = error(response).await;
            assert!(text.starts_with(expected), "{asked:?}: {text}");
        }
    }
}

#[tokio::test]
async fn nothing_found_is_no_empty_page() {
    let given = given().await;
    let none = r#"{"field": "/id", "value": "none"}"#;
    let nobody = format!("/v1/devices/{}", unique("nobody"));
    for (path, asked) in [
        ("/v1/devices/{t}", &[("filterJson", none)][..]),
        ("/v1/tenants", &[("filterJson", none)]),
        (&nobody, &[]),
    ] {
        let response = given.search(path, asked).await;
        assert_eq!(response.status(), 404, "{path}");
        error(response).await;
    }
    given.ok("DELETE", "/v1/devices/{t}", None).await;
    assert_eq!(given.search("/v1/devices/{t}", &[]).await.status(), 404);
    assert_eq!(given.search("/v1/devices/a%20b", &[]).await.status(), 400);
    assert_eq!(
        given
            .anonymous("GET", "/v1/tenants")
            .send()
            .await
            .unwrap()
            .status(),
        401
    );
}

#[tokio::test]
async fn what_is_found_is_shown_as_when_it_is_read_with_its_id() {
    let given = given().await;
    let with_id = |id: &str, mut object: Value| {
        object["id"] = json!(id);
        object
    };
    let asked = [("filterJson", r#"{"field": "/via", "value": "gw"}"#)];
    let response = given.search("/v1/devices/{t}", &asked).await;
    let content_type = header(&response, "content-type");
    assert_eq!(content_type, "application/json; charset=utf-8");
    let page: Value = response.json().await.unwrap();
    let device = with_id("b", given.get("/v1/devices/{t}/b").await);
    assert_eq!(page, json!({"total": 1, "result": [device]}));
    assert!(device["status"]["created"].is_string());

    let (mark, asked_for) = (unique("mark"), given.tenant.clone());
    let tenant = json!({"ext": {"mark": mark}, "minimum-message-size": 4096});
    given.ok("PUT", "/v1/tenants/{t}", Some(tenant)).await;
    let filter = json!({"field": "/ext/mark", "value": mark}).to_string();
    let response = given
        .search("/v1/tenants", &[("filterJson", &filter)])
        .await;
    let page: Value = response.json().await.unwrap();
    let tenant = with_id(&asked_for, given.get("/v1/tenants/{t}").await);
    assert_eq!(page, json!({"total": 1, "result": [tenant]}));
}
