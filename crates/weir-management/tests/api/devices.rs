//! What a device has to keep to.

use serde_json::{Value, json};

use crate::Given;

const DEVICE: &str = "/v1/devices/{t}/4711";

#[tokio::test]
async fn devices_that_break_a_rule() {
    let given = Given::with_device().await;
    let long = "a".repeat(257);
    let with_long = |member: &str| format!(r#"{{"{member}": ["a", "{long}"]}}"#);
    let [via, groups, member_of] = ["via", "viaGroups", "memberOf"].map(with_long);
    let rows = [
        (via.as_str(), "via[1]: has more than 256 bytes"),
        (&groups, "viaGroups[1]: has more than 256 bytes"),
        (&member_of, "memberOf[1]: has more than 256 bytes"),
        (r#"{"vai": null}"#, "vai: there is no such"),
        (r#"{"via": [null]}"#, "via: a string or an array"),
        (
            r#"{"authorities": [{"auto-provisioning-enabled": null}]}"#,
            "authorities[0]: a string",
        ),
        (r#"{"enabled": "true"}"#, "enabled: a boolean is"),
        (r#"{"vai": []}"#, "vai: there is no such"),
        (r#"{"defaults": []}"#, "defaults: an object is"),
        (r#"{"ext": 5}"#, "ext: an object is"),
        (r#"{"via": 1}"#, "via: a string or an array"),
        (r#"{"via": [1]}"#, "via: a string or an array"),
        (r#"{"via": ["gw", ""]}"#, "via[1]: is empty"),
        (r#"{"viaGroups": ""}"#, "viaGroups[0]: is empty"),
        (r#"{"memberOf": {}}"#, "memberOf: a string or an array"),
        (r#"{"memberOf": ["g"], "via": ["gw"]}"#, "memberOf: "),
        (r#"{"memberOf": "g", "viaGroups": "g"}"#, "memberOf: "),
        (r#"{"authorities": "x"}"#, "authorities: an array is"),
        (r#"{"authorities": ["all"]}"#, "authorities[0]: "),
        (
            r#"{"downstream-message-mapper": 1}"#,
            "downstream-message-mapper: ",
        ),
        (
            r#"{"upstream-message-mapper": []}"#,
            "upstream-message-mapper: ",
        ),
        (
            r#"{"command-endpoint": ["http://x/"]}"#,
            "command-endpoint: an object",
        ),
        (
            r#"{"command-endpoint": {}}"#,
            "command-endpoint.uri: is required",
        ),
        (
            r#"{"command-endpoint": {"uri": ""}}"#,
            "command-endpoint.uri: ",
        ),
        (
            r#"{"command-endpoint": {"uri": "a b"}}"#,
            "command-endpoint.uri: ",
        ),
        (
            r#"{"command-endpoint": {"uri": "/path"}}"#,
            "command-endpoint.uri: ",
        ),
        (
            r#"{"command-endpoint": {"uri": "http://x/{{device}}"}}"#,
            "command-endpoint.uri: ",
        ),
        (
            r#"{"command-endpoint": {"uri": "http://x/", "headers": {"a": [1]}}}"#,
            "command-endpoint.headers.a: a string",
        ),
        (
            r#"{"command-endpoint": {"uri": "http://x/", "payload-properties": {"a": null}}}"#,
            "command-endpoint.payload-properties.a: a string",
        ),
        (
            r#"{"command-endpoint": {"uri": null}}"#,
            "command-endpoint.uri: is required",
        ),
        (
            r#"{"command-endpoint": {"uri": "http://x/", "header": {}}}"#,
            "command-endpoint.header: there is no",
        ),
    ];
    for (body, text) in rows {
        for (verb, path) in [
            ("POST", "/v1/devices/{t}"),
            ("POST", "/v1/devices/{t}/new"),
            ("PUT", DEVICE),
        ] {
            given.rows(&[(verb, path, body, 400, text)]).await;
        }
    }
    given
        .rows(&[("GET", "/v1/devices/{t}/new", "", 404, "")])
        .await;
}

#[tokio::test]
async fn what_is_set_of_a_device_is_shown_and_defaults_are_not() {
    let given = Given::with_device().await;
    // What is sent, and what is shown unless it is the same.
    let rows: Vec<(Value, Option<Value>)> = vec![
        (json!({"enabled": false}), None),
        (
            json!({"enabled": true, "defaults": {"importance": "high"}, "ext": {"a": [1, null]},
                   "via": ["gw-1", "nobody"], "viaGroups": ["g"],
                   "downstream-message-mapper": "down", "upstream-message-mapper": "up"}),
            None,
        ),
        (
            json!({"via": "gw", "viaGroups": "g", "memberOf": []}),
            Some(json!({"enabled": true, "via": ["gw"], "viaGroups": ["g"]})),
        ),
        (
            json!({"enabled": true, "memberOf": ["g", "h"],
                   "authorities": ["auto-provisioning-enabled"]}),
            None,
        ),
        (
            json!({"enabled": true, "command-endpoint": {
                "uri": "https://lora.example.com:8443/down/{{deviceId}}?x=1",
                "headers": {"Authorization": "Bearer x"}, "payload-properties": {"port": "1"}
            }}),
            None,
        ),
        (
            json!({"command-endpoint": {"uri": "http://x/", "headers": {}}}),
            Some(json!({"enabled": true, "command-endpoint": {"uri": "http://x/"}})),
        ),
        (
            json!({"command-endpoint": {"uri": "http://x/",
                   "headers": {"a": 1, "b": true, "c": "", "d": -2.5},
                   "payload-properties": {"port": 5, "ack": false}}}),
            Some(
                json!({"enabled": true, "command-endpoint": {"uri": "http://x/",
                        "headers": {"a": "1", "b": "true", "c": "", "d": "-2.5"},
                        "payload-properties": {"port": "5", "ack": "false"}}}),
            ),
        ),
        (
            json!({"enabled": null, "defaults": null, "via": null, "viaGroups": null,
                   "memberOf": null, "authorities": null, "downstream-message-mapper": null,
                   "upstream-message-mapper": null, "command-endpoint": null, "ext": null,
                   "status": null}),
            Some(json!({"enabled": true})),
        ),
        (
            json!({"command-endpoint": {"uri": "http://x/", "headers": null,
                                        "payload-properties": null},
                   "defaults": {"a": null}, "ext": {"b": null}}),
            Some(
                json!({"enabled": true, "command-endpoint": {"uri": "http://x/"},
                        "defaults": {"a": null}, "ext": {"b": null}}),
            ),
        ),
        (
            json!({"status": {"created": "yesterday"}}),
            Some(json!({"enabled": true})),
        ),
        (json!({"status": 5}), Some(json!({"enabled": true}))),
        (json!({}), Some(json!({"enabled": true}))),
    ];
    for (sent, shown) in rows {
        given.ok("PUT", DEVICE, Some(sent.clone())).await;
        let got = given.get(DEVICE).await;
        let mut object = got.clone();
        object.as_object_mut().unwrap().remove("status").unwrap();
        assert_eq!(object, shown.unwrap_or(sent));
        let again = given.ok("PUT", DEVICE, Some(got)).await;
        assert_eq!(again.status(), 204);
    }
}

#[tokio::test]
async fn the_status_is_the_registrys_own() {
    let given = Given::with_device().await;
    let status = given.get(DEVICE).await["status"].clone();
    let created = status["created"].as_str().unwrap().to_owned();
    assert!(created.ends_with('Z'), "{created}");
    assert_eq!(status, json!({"created": created, "last-user": "op"}));

    let body = json!({"status": {"created": "2000-01-01T00:00:00Z", "last-user": "me",
                                 "auto-provisioned": true, "any": "thing"}});
    given.ok("PUT", DEVICE, Some(body)).await;
    let status = given.get(DEVICE).await["status"].clone();
    let updated = status["updated"].as_str().unwrap().to_owned();
    assert!(updated.ends_with('Z') && updated >= created, "{updated}");
    assert_eq!(
        status,
        json!({"created": created, "updated": updated, "last-user": "op"})
    );
}
