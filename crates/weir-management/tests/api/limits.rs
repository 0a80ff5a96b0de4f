//! What depends on other objects: what may be created, what is within reach, what goes along.

use serde_json::json;

use crate::Given;

#[tokio::test]
async fn a_tenant_has_no_more_devices_and_credentials_than_it_may_have() {
    let given = Given::new().await;
    let limits = |devices: i64, credentials: i64| {
        let limits = json!({"max-devices": devices, "max-credentials-per-device": credentials});
        json!({ "registration-limits": limits }).to_string()
    };
    let (tenant, devices) = ("/v1/tenants/{t}", "/v1/devices/{t}");
    let (one, two) = ("/v1/devices/{t}/1", "/v1/devices/{t}/2");
    let set = "/v1/credentials/{t}/1";
    let psk = |name: &str| json!({"type": "psk", "auth-id": name, "secrets": [{"key": "AQID"}]});
    let single = json!([psk("a")]).to_string();
    let double = json!([psk("a"), psk("b")]).to_string();
    given
        .rows(&[
            ("POST", tenant, &limits(0, -1), 201, ""),
            ("POST", devices, "", 403, "no more devices"),
            ("POST", one, "", 403, "no more devices"),
            ("PUT", tenant, &limits(1, 1), 204, ""),
            ("POST", one, "", 201, ""),
            ("POST", two, "", 403, "no more devices"),
            ("PUT", one, "{}", 204, ""),
            ("PUT", set, &double, 403, "no more than 1 credentials"),
            ("PUT", set, &single, 204, ""),
            ("PUT", tenant, &limits(1, 0), 204, ""),
            ("PUT", set, &single, 403, "no more than 0 credentials"),
            ("PUT", set, "[]", 204, ""),
            ("PUT", tenant, &limits(-1, -1), 204, ""),
            ("PUT", set, &double, 204, ""),
            ("POST", two, "", 201, ""),
            ("POST", devices, "", 201, ""),
        ])
        .await;
}

#[tokio::test]
async fn devices_of_a_removed_tenant_are_out_of_reach_and_can_be_removed() {
    let given = Given::with_device().await;
    given
        .rows(&[
            ("DELETE", "/v1/tenants/{t}", "", 204, ""),
            ("GET", "/v1/tenants/{t}", "", 404, ""),
            ("GET", "/v1/devices/{t}/4711", "", 404, ""),
            ("PUT", "/v1/devices/{t}/4711", "{}", 404, ""),
            ("GET", "/v1/credentials/{t}/4711", "", 404, ""),
            ("PUT", "/v1/credentials/{t}/4711", "[]", 404, ""),
            ("POST", "/v1/devices/{t}/4712", "", 404, "tenant"),
            ("POST", "/v1/tenants/{t}", "", 201, ""),
            ("GET", "/v1/devices/{t}/4711", "", 200, ""),
            ("DELETE", "/v1/tenants/{t}", "", 204, ""),
            ("DELETE", "/v1/devices/{t}/4711", "", 204, ""),
            ("DELETE", "/v1/devices/{t}/4711", "", 404, ""),
        ])
        .await;
}

#[tokio::test]
async fn all_devices_of_a_tenant_are_removed_at_once() {
    let given = Given::with_device().await;
    let psk = json!([{"type": "psk", "auth-id": "a", "secrets": [{"key": "AQID"}]}]).to_string();
    given
        .rows(&[
            ("POST", "/v1/tenants/{t}-2", "", 201, ""),
            ("POST", "/v1/devices/{t}-2/4711", "", 201, ""),
            ("POST", "/v1/devices/{t}/4712", "", 201, ""),
            ("PUT", "/v1/credentials/{t}/4712", &psk, 204, ""),
            ("DELETE", "/v1/devices/{t}", "", 204, ""),
            ("GET", "/v1/devices/{t}/4711", "", 404, ""),
            ("GET", "/v1/devices/{t}/4712", "", 404, ""),
            ("GET", "/v1/credentials/{t}/4712", "", 404, ""),
            ("GET", "/v1/devices/{t}-2/4711", "", 200, ""),
            // Nothing is left of the credentials either.
            ("POST", "/v1/devices/{t}/4713", "", 201, ""),
            ("PUT", "/v1/credentials/{t}/4713", &psk, 204, ""),
            ("DELETE", "/v1/devices/{t}-none", "", 204, ""),
            ("DELETE", "/v1/tenants/{t}-2", "", 204, ""),
            ("DELETE", "/v1/devices/{t}-2", "", 204, ""),
            ("DELETE", "/v1/devices/{t}-2/4711", "", 404, ""),
            ("DELETE", "/v1/devices/a:b", "", 400, "tenant id"),
        ])
        .await;
}

#[tokio::test]
async fn what_is_disabled_is_shown_to_operators() {
    let given = Given::with_device().await;
    let off = json!({"enabled": false});
    for path in ["/v1/tenants/{t}", "/v1/devices/{t}/4711"] {
        given.ok("PUT", path, Some(off.clone())).await;
    }
    for path in ["/v1/tenants/{t}", "/v1/devices/{t}/4711"] {
        assert_eq!(given.get(path).await["enabled"], false, "{path}");
    }
    assert_eq!(given.get("/v1/credentials/{t}/4711").await, json!([]));
}
