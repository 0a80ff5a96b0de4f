//! What a tenant has to keep to.

use serde_json::{Value, json};

use crate::{Given, unique};

impl Given {
    /// Checks that such a tenant can neither be created nor replace another.
    async fn refuse_tenants(&self, tenants: &[(String, &str)]) {
        self.ok("POST", "/v1/tenants/{t}", None).await;
        for (body, text) in tenants {
            for (verb, path) in [
                ("POST", "/v1/tenants"),
                ("POST", "/v1/tenants/{t}-new"),
                ("PUT", "/v1/tenants/{t}"),
            ] {
                self.rows(&[(verb, path, body, 400, text)]).await;
            }
        }
        self.rows(&[("GET", "/v1/tenants/{t}-new", "", 404, "")])
            .await;
        assert_eq!(self.get("/v1/tenants/{t}").await, json!({"enabled": true}));
    }
}

#[tokio::test]
async fn tenants_that_break_a_rule() {
    let given = Given::new().await;
    let rows = [
        (r#"{"enabled": 1}"#.into(), "enabled: a boolean is"),
        (r#"{"nabled": true}"#.into(), "nabled: there is no such"),
        (r#"{"alias": ""}"#.into(), "alias: "),
        (r#"{"alias": "Acme"}"#.into(), "alias: "),
        (r#"{"alias": "a.b"}"#.into(), "alias: "),
        (r#"{"alias": 5}"#.into(), "alias: a string is"),
        (
            json!({"alias": "a".repeat(257)}).to_string(),
            "alias: has more than 256 bytes",
        ),
        (
            json!({"trust-anchor-group": "ä".repeat(129)}).to_string(),
            "trust-anchor-group: has more than 256 bytes",
        ),
        (r#"{"nabled": null}"#.into(), "nabled: there is no such"),
        (
            r#"{"tracing": {"sampling": null}}"#.into(),
            "tracing.sampling: there is no such",
        ),
        (
            r#"{"adapters": [{"type": null}]}"#.into(),
            "adapters[0].type: is required",
        ),
        (r#"{"adapters": [null]}"#.into(), "adapters[0]: an object"),
        (r#"{"defaults": []}"#.into(), "defaults: an object is"),
        (r#"{"ext": "x"}"#.into(), "ext: an object is"),
        (r#"{"ext": {"x": "\u0000"}}"#.into(), "U+0000"),
        (r#"{"adapters": []}"#.into(), "adapters: "),
        (r#"{"adapters": {}}"#.into(), "adapters: an array is"),
        (
            r#"{"adapters": [["hono-mqtt", true]]}"#.into(),
            "adapters[0]: ",
        ),
        (r#"{"adapters": [{}]}"#.into(), "adapters[0].type: "),
        (
            r#"{"adapters": [{"type": ""}]}"#.into(),
            "adapters[0].type: ",
        ),
        (
            r#"{"adapters": [{"type": "a"}, {"type": "b"}, {"type": "a"}]}"#.into(),
            "adapters[2].type: ",
        ),
        (
            r#"{"adapters": [{"type": "a", "enabled": "yes"}]}"#.into(),
            "adapters[0].enabled: ",
        ),
        (
            r#"{"adapters": [{"type": "a", "x": 1}]}"#.into(),
            "adapters[0].x: ",
        ),
        (
            r#"{"minimum-message-size": -1}"#.into(),
            "minimum-message-size: ",
        ),
        (
            r#"{"minimum-message-size": 1.5}"#.into(),
            "minimum-message-size: ",
        ),
        (
            r#"{"minimum-message-size": 2147483648}"#.into(),
            "minimum-message-size: at most 2147483647",
        ),
        (r#"{"tracing": []}"#.into(), "tracing: an object"),
        (
            r#"{"tracing": {"sampling-mode": {"all": null}}}"#.into(),
            "tracing.sampling-mode: a string is",
        ),
        (
            r#"{"tracing": {"sampling-mode-per-auth-id": {"a": {"all": null}}}}"#.into(),
            "tracing.sampling-mode-per-auth-id.a: a string is",
        ),
        (
            r#"{"tracing": {"sampling-mode": "ALL"}}"#.into(),
            "tracing.sampling-mode: one of `default`, `all`, `none`",
        ),
        (
            r#"{"tracing": {"sampling-mode-per-auth-id": {"a": "some"}}}"#.into(),
            "tracing.sampling-mode-per-auth-id.a: one of",
        ),
        (
            r#"{"trust-anchor-group": 1}"#.into(),
            "trust-anchor-group: a string",
        ),
    ];
    given.refuse_tenants(&rows).await;
}

#[tokio::test]
async fn limits_that_break_a_rule() {
    let given = Given::new().await;
    let volume = |members: &str| {
        let since = r#""effective-since": "2026-01-01T00:00:00Z""#;
        format!(r#"{{"resource-limits": {{"data-volume": {{{since}, {members}}}}}}}"#)
    };
    let duration = |members: &str| volume(members).replace("data-volume", "connection-duration");
    let rate = |members: &str| {
        format!(r#"{{"resource-limits": {{"message-rate": {{"device": {{{members}}}}}}}}}"#)
    };
    let within_volume = "resource-limits.data-volume.";
    let within_rate = "resource-limits.message-rate.device.max-messages-per-second: ";
    let mut rows: Vec<(String, &str)> = vec![
        (
            r#"{"registration-limits": [5]}"#.into(),
            "registration-limits: an object",
        ),
        (
            r#"{"registration-limits": {"max-devices": -2}}"#.into(),
            "registration-limits.max-devices: ",
        ),
        (
            r#"{"registration-limits": {"max-credentials-per-device": -2}}"#.into(),
            "registration-limits.max-credentials-per-device: ",
        ),
        (
            r#"{"registration-limits": {"max-devices": 2147483648}}"#.into(),
            "registration-limits.max-devices: at most 2147483647",
        ),
        (
            r#"{"registration-limits": {"max-credentials-per-device": 2147483648}}"#.into(),
            "registration-limits.max-credentials-per-device: at most",
        ),
        (
            r#"{"resource-limits": {"max-connections": 2147483648}}"#.into(),
            "resource-limits.max-connections: at most 2147483647",
        ),
        (
            r#"{"registration-limits": {"max-device": 2}}"#.into(),
            "registration-limits.max-device: there is no such",
        ),
        (
            r#"{"resource-limits": []}"#.into(),
            "resource-limits: an object",
        ),
        (
            r#"{"resource-limits": {"max-ttl": "60"}}"#.into(),
            "resource-limits.max-ttl: an integer",
        ),
        (
            r#"{"resource-limits": {"data-volume": {"max-bytes": 1}}}"#.into(),
            "resource-limits.data-volume.effective-since: is required",
        ),
        (
            r#"{"resource-limits": {"data-volume": {"effective-since": "2026-01-01"}}}"#.into(),
            "resource-limits.data-volume.effective-since: ",
        ),
        (volume(r#""max-bytes": -2"#), within_volume),
        (
            volume(r#""max-byte": 2"#),
            "data-volume.max-byte: there is no",
        ),
        (volume(r#""period": []"#), "data-volume.period: an object"),
        (
            volume(r#""period": {}"#),
            "data-volume.period.mode: is required",
        ),
        (
            volume(r#""period": {"mode": "weekly"}"#),
            "period.mode: `days` or `monthly` is expected",
        ),
        (
            volume(r#""period": {"mode": {"monthly": null}}"#),
            "period.mode: a string is expected",
        ),
        (
            volume(r#""period": {"mode": null}"#),
            "data-volume.period.mode: is required",
        ),
        (
            json!({"resource-limits": {"data-volume": {"effective-since": "0000-01-01T00:00:00Z"}}})
                .to_string(),
            "resource-limits.data-volume.effective-since: not an ISO 8601",
        ),
        (
            volume(r#""period": {"mode": "days"}"#),
            "period.no-of-days: ",
        ),
        (
            volume(r#""period": {"mode": "days", "no-of-days": 0}"#),
            "resource-limits.data-volume.period.no-of-days: ",
        ),
        (
            volume(r#""period": {"mode": "days", "no-of-days": -1}"#),
            "resource-limits.data-volume.period.no-of-days: ",
        ),
        (
            duration(r#""max-minutes": -2"#),
            "connection-duration.max-minutes: ",
        ),
        (
            duration(r#""period": {"mode": "days"}"#),
            "resource-limits.connection-duration.period.no-of-days: ",
        ),
        (
            r#"{"resource-limits": {"message-rate": 5}}"#.into(),
            "resource-limits.message-rate: an object",
        ),
        (
            r#"{"resource-limits": {"message-rate": {"tenant": [5, 1]}}}"#.into(),
            "resource-limits.message-rate.tenant: an object",
        ),
        (
            r#"{"resource-limits": {"message-rate": {"tenant": {"burst": 0}}}}"#.into(),
            "resource-limits.message-rate.tenant.burst: at least 1 is expected",
        ),
        (
            r#"{"resource-limits": {"message-rate": {"burst": 1}}}"#.into(),
            "resource-limits.message-rate.burst: there is no such",
        ),
        (rate(r#""max-messages-per-second": 0"#), within_rate),
        (rate(r#""max-messages-per-second": -0.5"#), within_rate),
        (rate(r#""max-messages-per-second": -2"#), within_rate),
        (
            rate(r#""max-messages-per-second": "1""#),
            "device.max-messages-per-second: a number is expected",
        ),
        (
            rate(r#""max-messages-per-second": 1e-9, "burst": 4"#),
            within_rate,
        ),
        (
            rate(r#""burst": 1.5"#),
            "message-rate.device.burst: an integer from 0 on",
        ),
        (
            rate(r#""per-second": null"#),
            "message-rate.device.per-second: there is no such",
        ),
    ];
    for name in [
        "max-connections",
        "max-ttl",
        "max-ttl-telemetry-qos0",
        "max-ttl-telemetry-qos1",
        "max-ttl-command-response",
    ] {
        rows.push((json!({"resource-limits": {name: -2}}).to_string(), name));
    }
    given.refuse_tenants(&rows).await;
}

#[tokio::test]
async fn what_is_set_of_a_tenant_is_shown_and_defaults_are_not() {
    let given = Given::new().await;
    given.ok("POST", "/v1/tenants/{t}", None).await;
    let since = "2026-01-01T00:00:00Z";
    // What is sent, and what is shown unless it is the same.
    let rows: Vec<(Value, Option<Value>)> = vec![
        (json!({"enabled": false}), None),
        (json!({"enabled": true, "alias": given.tenant}), None),
        (
            json!({"adapters": [{"type": "hono-mqtt", "device-authentication-required": true}]}),
            Some(
                json!({"enabled": true, "adapters": [{"type": "hono-mqtt", "enabled": false,
                       "device-authentication-required": true}]}),
            ),
        ),
        (
            json!({"enabled": true, "adapters": [
                {"type": "hono-http", "enabled": true, "device-authentication-required": true,
                 "ext": {"max-ttd": 30}},
                {"type": "hono-mqtt", "enabled": false, "device-authentication-required": false}
            ]}),
            None,
        ),
        (
            json!({"enabled": true, "defaults": {"ttl": 30}, "ext": {"messaging-type": "kafka"},
                   "minimum-message-size": 4096, "trust-anchor-group": "g"}),
            None,
        ),
        (
            json!({"enabled": true,
                   "registration-limits": {"max-devices": 0, "max-credentials-per-device": 2}}),
            None,
        ),
        (
            json!({"enabled": true, "resource-limits": {
                "max-connections": 0, "max-ttl": 60, "max-ttl-telemetry-qos0": 1,
                "max-ttl-telemetry-qos1": 2, "max-ttl-command-response": 3,
                "data-volume": {"effective-since": since, "max-bytes": 5,
                                "period": {"mode": "days", "no-of-days": 1}},
                "connection-duration": {"effective-since": since, "max-minutes": 6,
                                        "period": {"mode": "monthly"}},
                "message-rate": {"tenant": {"max-messages-per-second": 100, "burst": 4_294_967_295_u32},
                                 "device": {"max-messages-per-second": 0.1}},
                "ext": {"x": 1}
            }}),
            None,
        ),
        (
            json!({"enabled": true, "resource-limits": {"message-rate": {
                "tenant": {"max-messages-per-second": 1.0, "burst": null}, "device": null
            }}}),
            Some(
                json!({"enabled": true, "resource-limits": {"message-rate": {
                    "tenant": {"max-messages-per-second": 1}
                }}}),
            ),
        ),
        (
            json!({"enabled": true, "resource-limits": {"message-rate": {
                "tenant": {"max-messages-per-second": -1.0, "burst": 1},
                "device": {"max-messages-per-second": null}
            }}}),
            Some(
                json!({"enabled": true, "resource-limits": {"message-rate": {
                    "tenant": {"burst": 1}, "device": {}
                }}}),
            ),
        ),
        (
            json!({"resource-limits": {"max-ttl": -1, "data-volume":
                {"effective-since": "2026-01-01T02:00:00+02:00", "max-bytes": -1}}}),
            Some(json!({"enabled": true,
                        "resource-limits": {"data-volume": {"effective-since": since}}})),
        ),
        (
            json!({"enabled": true, "tracing": {"sampling-mode": "all",
                   "sampling-mode-per-auth-id": {"sensor1": "none"}}}),
            None,
        ),
        (
            json!({"minimum-message-size": 0, "trusted-ca": [], "ext": {}, "defaults": {}}),
            Some(json!({"enabled": true})),
        ),
        (
            json!({"minimum-message-size": 2_147_483_647, "enabled": true,
                   "trust-anchor-group": "g".repeat(256),
                   "registration-limits": {"max-devices": 2_147_483_647},
                   "resource-limits": {"max-connections": 2_147_483_647,
                                       "max-ttl": 2_147_483_648_i64}}),
            None,
        ),
        (
            json!({"resource-limits": {"data-volume":
                {"effective-since": "0000-12-31T23:30:00-01:00"}}}),
            Some(json!({"enabled": true, "resource-limits":
                {"data-volume": {"effective-since": "0001-01-01T00:30:00Z"}}})),
        ),
        // What is null is left out, but not where anything may be.
        (
            json!({"enabled": null, "alias": null, "adapters": null, "defaults": null,
                   "minimum-message-size": null, "registration-limits": null,
                   "resource-limits": null, "tracing": null, "trust-anchor-group": null,
                   "trusted-ca": null, "ext": null}),
            Some(json!({"enabled": true})),
        ),
        (
            json!({
                "adapters": [{"type": "a", "enabled": null, "ext": null,
                              "device-authentication-required": null}],
                "registration-limits": {"max-devices": null, "max-credentials-per-device": 1},
                "resource-limits": {"max-ttl": null, "connection-duration": null, "data-volume":
                    {"effective-since": since, "max-bytes": null, "period":
                        {"mode": "monthly", "no-of-days": null}}},
                "tracing": {"sampling-mode": "none", "sampling-mode-per-auth-id": null},
                "defaults": {"a": null}, "ext": {"b": {"c": null}}
            }),
            Some(json!({
                "enabled": true,
                "adapters": [{"type": "a", "enabled": false,
                              "device-authentication-required": true}],
                "registration-limits": {"max-credentials-per-device": 1},
                "resource-limits": {"data-volume":
                    {"effective-since": since, "period": {"mode": "monthly"}}},
                "tracing": {"sampling-mode": "none"},
                "defaults": {"a": null}, "ext": {"b": {"c": null}}
            })),
        ),
        // Nothing of what was set before is left.
        (json!({}), Some(json!({"enabled": true}))),
    ];
    for (sent, shown) in rows {
        given.ok("PUT", "/v1/tenants/{t}", Some(sent.clone())).await;
        let got = given.get("/v1/tenants/{t}").await;
        assert_eq!(got, shown.unwrap_or(sent));
        let again = given.ok("PUT", "/v1/tenants/{t}", Some(got)).await;
        assert_eq!(again.status(), 204);
    }
}

#[tokio::test]
async fn an_alias_belongs_to_one_tenant() {
    let given = Given::new().await;
    let (alias, other) = (unique("alias"), unique("alias"));
    let with = |alias: &str| json!({"alias": alias}).to_string();
    given
        .rows(&[
            ("POST", "/v1/tenants/{t}", &with(&alias), 201, ""),
            ("POST", "/v1/tenants", &with(&alias), 409, "alias: "),
            ("POST", "/v1/tenants/{t}-2", &with(&alias), 409, "alias: "),
            ("POST", "/v1/tenants/{t}-2", &with(&other), 201, ""),
            ("PUT", "/v1/tenants/{t}-2", &with(&alias), 409, "alias: "),
            ("PUT", "/v1/tenants/{t}", &with(&alias), 204, ""),
            // Another tenant's id is no alias.
            ("PUT", "/v1/tenants/{t}-2", &with(&given.tenant), 204, ""),
            ("PUT", "/v1/tenants/{t}", "{}", 204, ""),
            ("PUT", "/v1/tenants/{t}-2", &with(&alias), 204, ""),
        ])
        .await;
    // The API itself knows ids only.
    let path = format!("/v1/tenants/{alias}");
    assert_eq!(given.send("GET", &path, None).await.status(), 404);
}
