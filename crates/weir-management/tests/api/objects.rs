//! Tenants and devices.

use reqwest::StatusCode;
use reqwest::header::{ETAG, LOCATION};
use serde_json::{Value, json};

use crate::{Given, error, header, is_uuid};

#[tokio::test]
async fn objects_are_created_under_given_and_under_made_up_ids() {
    let given = Given::new().await;
    let rows = [
        ("/v1/tenants", "/{t}"),
        ("/v1/tenants", ""),
        ("/v1/devices/{t}", "/urn:dev=4711"),
        ("/v1/devices/{t}", ""),
    ];
    for (collection, id) in rows {
        let (collection, id) = (given.fill(collection), given.fill(id));
        let response = given.send("POST", &format!("{collection}{id}"), None).await;
        assert_eq!(response.status(), StatusCode::CREATED);
        let (location, version) = (header(&response, LOCATION), header(&response, ETAG));
        assert!(is_uuid(&version), "{version}");
        let body: Value = response.json().await.unwrap();
        let new = body["id"].as_str().unwrap();
        assert_eq!(body, json!({ "id": new }));
        assert!(
            if id.is_empty() {
                is_uuid(new)
            } else {
                id[1..] == *new
            },
            "{new}"
        );
        assert_eq!(location, format!("{collection}/{new}"));
        assert_eq!(
            header(&given.ok("GET", &location, None).await, ETAG),
            version
        );
    }
}

#[tokio::test]
async fn what_was_put_is_what_is_got_and_nothing_else() {
    let given = Given::new().await;
    let tenant = json!({
        "enabled": false,
        "adapters": [{"type": "hono-mqtt", "enabled": true, "device-authentication-required": true,
                      "ext": {"max-ttd": 30}}],
        "defaults": {"ttl": 30},
        "minimum-message-size": 4096,
        "resource-limits": {"max-ttl": 60},
        "ext": {"any": ["thing"]}
    });
    given
        .ok("POST", "/v1/tenants/{t}", Some(tenant.clone()))
        .await;
    assert_eq!(given.get("/v1/tenants/{t}").await, tenant);
    let put = given.ok("PUT", "/v1/tenants/{t}", Some(json!({}))).await;
    assert_eq!(put.status(), StatusCode::NO_CONTENT);
    assert_eq!(given.get("/v1/tenants/{t}").await, json!({"enabled": true}));

    let device = json!({"defaults": {"x": 1}, "via": "gw", "viaGroups": ["g"], "ext": {"y": 2}});
    given.ok("POST", "/v1/devices/{t}/4711", Some(device)).await;
    let mut got = given.get("/v1/devices/{t}/4711").await;
    let status = got.as_object_mut().unwrap().remove("status").unwrap();
    assert_eq!(
        got,
        json!({"enabled": true, "defaults": {"x": 1}, "via": ["gw"], "viaGroups": ["g"],
               "ext": {"y": 2}})
    );
    let members: Vec<_> = status.as_object().unwrap().keys().cloned().collect();
    assert_eq!(members, ["created", "last-user"]);
    // What is got may be put, status and all.
    let got = given.get("/v1/devices/{t}/4711").await;
    given.ok("PUT", "/v1/devices/{t}/4711", Some(got)).await;
    let got = given.get("/v1/devices/{t}/4711").await;
    assert_eq!(got["via"], json!(["gw"]));
    assert!(got["status"]["updated"].as_str().unwrap().ends_with('Z'));
}

#[tokio::test]
async fn if_match_is_compared_as_it_is() {
    let given = Given::new().await;
    given.ok("POST", "/v1/tenants/{t}", None).await;
    given.ok("POST", "/v1/devices/{t}/4711", None).await;
    let rows = [
        ("PUT", "/v1/credentials/{t}/4711", Some(json!([]))),
        ("PUT", "/v1/devices/{t}/4711", Some(json!({}))),
        ("DELETE", "/v1/devices/{t}/4711", None),
        ("PUT", "/v1/tenants/{t}", Some(json!({}))),
        ("DELETE", "/v1/tenants/{t}", None),
    ];
    for (verb, path, body) in rows {
        let version = header(&given.ok("GET", path, None).await, ETAG);
        let send = async |if_match: &str| {
            let request = given.request(verb, path).header("If-Match", if_match);
            let request = match &body {
                Some(body) => request.json(body),
                None => request,
            };
            request.send().await.unwrap()
        };
        for other in ["other", "*", &format!("\"{version}\"")] {
            let response = send(other).await;
            assert_eq!(response.status(), 412, "{verb} {path} {other}");
            assert!(error(response).await.contains("If-Match"));
        }
        // What asks for another version of what is read is passed over.
        let request = given.request("GET", path).header("If-None-Match", &version);
        assert_eq!(request.send().await.unwrap().status(), 200, "{path}");
        if verb == "PUT" {
            assert_eq!(send("").await.status(), 204, "{path}");
            let version = header(&given.ok("GET", path, None).await, ETAG);
            let response = send(&version).await;
            assert_eq!(response.status(), 204, "{path}");
            let newer = header(&response, ETAG);
            assert!(is_uuid(&newer) && newer != version, "{newer}");
            assert_eq!(send(&version).await.status(), 412, "{path}");
        } else {
            assert_eq!(send(&version).await.status(), 204, "{path}");
            // What is not there is not found, whatever version is asked for.
            assert_eq!(send(&version).await.status(), 404, "{path}");
        }
    }
}

#[tokio::test]
async fn requests_that_break_a_rule() {
    let given = Given::new().await;
    given.ok("POST", "/v1/tenants/{t}", None).await;
    given.ok("POST", "/v1/devices/{t}/4711", None).await;
    let long = "a".repeat(257);
    let long_tenant = format!("/v1/tenants/{long}");
    let device_of_long = format!("/v1/devices/{long}/4711");
    let long_device = format!("/v1/devices/{{t}}/{long}");
    let longest_device = format!("/v1/devices/{{t}}/{}", "a".repeat(256));
    let longest_tenant = "{t}".to_owned() + &"a".repeat(256 - given.tenant.len());
    let longest_tenant = format!("/v1/tenants/{longest_tenant}");
    given
        .rows(&[
            ("POST", &long_tenant, "", 400, "tenant id: has more than"),
            ("POST", &device_of_long, "", 400, "tenant id: has more than"),
            ("POST", &long_device, "", 400, "device id: has more than"),
            ("GET", &long_device, "", 400, "device id: has more than"),
            ("POST", &longest_device, "", 201, ""),
            ("POST", &longest_tenant, "", 201, ""),
            ("POST", "/v1/tenants/{t}", "", 409, "exists"),
            ("POST", "/v1/devices/{t}/4711", "", 409, "exists"),
            ("POST", "/v1/devices/{t}-none/4711", "", 404, "tenant"),
            ("POST", "/v1/devices/{t}-none", "", 404, "tenant"),
            ("POST", "/v1/tenants/a%20b", "", 400, "tenant id"),
            ("POST", "/v1/tenants/a:b", "", 400, "tenant id"),
            ("GET", "/v1/tenants/%F0%9F", "", 400, ""),
            ("POST", "/v1/devices/{t}/a%2Fb", "", 400, "device id"),
            ("GET", "/v1/devices/a=b/c", "", 400, "tenant id"),
            ("GET", "/v1/credentials/{t}/@", "", 400, "device id"),
            ("GET", "/v1/tenants/{t}-none", "", 404, "no such"),
            ("GET", "/v1/devices/{t}/none", "", 404, "no such"),
            ("GET", "/v1/devices/{t}-none/4711", "", 404, "no such"),
            ("GET", "/v1/credentials/{t}/none", "", 404, "no such"),
            ("PUT", "/v1/tenants/{t}-none", "{}", 404, "no such"),
            ("PUT", "/v1/devices/{t}/none", "{}", 404, "no such"),
            ("PUT", "/v1/credentials/{t}/none", "[]", 404, "no such"),
            ("DELETE", "/v1/tenants/{t}-none", "", 404, "no such"),
            ("DELETE", "/v1/devices/{t}/none", "", 404, "no such"),
        ])
        .await;
}
