//! Whether a device may send, and a gateway for it.

use serde_json::json;
use weir_core::{AssertionError, Device, DeviceId, Registry as _};

use crate::{Given, device};

#[tokio::test]
async fn the_first_condition_that_applies_decides() {
    let given = Given::new().await;
    given.device("gw-1", Device::default()).await;
    given
        .device("gw-2", device(json!({"memberOf": ["g1", "g2"]})))
        .await;
    given
        .device("gw-off", device(json!({"enabled": false})))
        .await;
    given.device("alone", Device::default()).await;
    given
        .device("off", device(json!({"enabled": false, "via": ["gw-1"]})))
        .await;
    given
        .device("behind", device(json!({"via": ["gw-1", "gw-off"]})))
        .await;
    given
        .device("grouped", device(json!({"viaGroups": ["g2", "g3"]})))
        .await;
    let rows = [
        ("acme", "alone", None, "ok"),
        ("acme", "off", None, "device"),
        ("acme", "none", None, "device"),
        ("nowhere", "alone", None, "tenant"),
        ("acme", "behind", Some("gw-1"), "ok"),
        ("acme", "behind", None, "ok"),
        ("acme", "behind", Some("gw-2"), "not authorised"),
        ("acme", "behind", Some("gw-off"), "gateway"),
        ("acme", "behind", Some("none"), "gateway"),
        ("acme", "grouped", Some("gw-2"), "ok"),
        ("acme", "grouped", Some("gw-1"), "not authorised"),
        ("acme", "alone", Some("gw-1"), "not authorised"),
        ("acme", "off", Some("gw-1"), "device"),
        ("acme", "none", Some("none"), "device"),
    ];
    for (tenant, id, gateway, expected) in rows {
        let gateway = gateway.map(DeviceId::from);
        let tenant = match tenant {
            "acme" => given.tenant.clone(),
            other => other.into(),
        };
        let id = id.into();
        let asserted = given.registry.assert(&tenant, &id, gateway.as_ref()).await;
        let decided = match asserted {
            Ok(_) => "ok",
            Err(AssertionError::TenantUnknown) => "tenant",
            Err(AssertionError::DeviceUnknown) => "device",
            Err(AssertionError::GatewayUnknown) => "gateway",
            Err(AssertionError::GatewayNotAuthorised) => "not authorised",
            Err(error) => panic!("{error}"),
        };
        assert_eq!(decided, expected, "{tenant} {id} {gateway:?}");
    }
}

#[tokio::test]
async fn it_names_all_gateways_that_may_act_and_has_the_devices_defaults() {
    let given = Given::new().await;
    given
        .device("gw-b", device(json!({"memberOf": ["g1", "g2"]})))
        .await;
    given
        .device("gw-a", device(json!({"memberOf": "g1"})))
        .await;
    given
        .device("gw-c", device(json!({"memberOf": "g3"})))
        .await;
    let edge = device(json!({
        "via": ["gw-z", "gw-b"],
        "viaGroups": ["g2", "g1"],
        "defaults": {"ttl": 30}
    }));
    let edge = given.device("edge", edge).await;
    let asserted = given
        .registry
        .assert(&given.tenant, &edge, None)
        .await
        .unwrap();
    assert_eq!(asserted.via, ["gw-z", "gw-b", "gw-a"]);
    assert_eq!(
        serde_json::to_value(&asserted.defaults).unwrap(),
        json!({"ttl": 30})
    );
}
