use weir_core::{DeviceId, TenantId};

use super::*;

/// What device `gw-1` of tenant `acme` can have by a filter.
fn target(text: &str) -> Option<CommandTarget> {
    let (tenant, own) = (TenantId::from("acme"), DeviceId::from("gw-1"));
    Filter::parse(text, Some((&tenant, &own))).map(|filter| filter.target)
}

#[test]
fn every_form_of_a_filter_in_every_spelling() {
    let rows = [
        ("//", CommandTarget::Own),
        ("/acme/", CommandTarget::Own),
        ("//gw-1", CommandTarget::Own),
        ("/acme/gw-1", CommandTarget::Own),
        ("//+", CommandTarget::All),
        ("/acme/+", CommandTarget::All),
        ("//edge-1", CommandTarget::Device("edge-1".into())),
        ("/acme/edge-1", CommandTarget::Device("edge-1".into())),
    ];
    for (address, expected) in rows {
        for endpoint in ["command", "c"] {
            for request in ["req", "q"] {
                let text = format!("{endpoint}{address}/{request}/#");
                assert_eq!(target(&text), Some(expected.clone()), "{text}");
            }
        }
    }
}

#[test]
fn whatever_else_is_no_filter_for_commands() {
    for text in [
        "",
        "#",
        "+",
        "command",
        "command/#",
        "command/req/#",
        "command//req/#",
        "command///req",
        "command///req/",
        "command///req/+",
        "command///req/#/",
        "command///req/#/x",
        "command///req//#",
        "command////req/#",
        "command///res/#",
        "command///s/#",
        "command///request/#",
        "command///+/#",
        "command/other//req/#",
        "command/ACME//req/#",
        "command/+//req/#",
        "command/+/gw-1/req/#",
        "command//#/req/#",
        "command//a+/req/#",
        "command//a#/req/#",
        "Command///req/#",
        "control///req/#",
        "+///req/#",
        "/command///req/#",
        "$share/group/command///req/#",
        "telemetry",
        // Those are for errors.
        "error///#",
        "e//+/#",
    ] {
        assert_eq!(target(text), None, "{text}");
    }
}

#[test]
fn a_gateways_own_commands_and_those_of_all_its_devices_are_one_claim() {
    let (tenant, own) = (TenantId::from("acme"), DeviceId::from("gw-1"));
    let key = |text| {
        let filter = Filter::parse(text, Some((&tenant, &own))).unwrap();
        filter.key.device
    };
    for text in ["c///q/#", "c//+/q/#", "command/acme/gw-1/req/#"] {
        assert_eq!(key(text), own, "{text}");
    }
    assert_eq!(key("c//edge-1/q/#"), DeviceId::from("edge-1"));
}

#[test]
fn who_was_not_asked_has_to_name_tenant_and_device() {
    let filter = Filter::parse("c/acme/edge-1/q/#", None).unwrap();
    assert_eq!(filter.target, CommandTarget::Own);
    let Key { tenant, device } = filter.key;
    assert_eq!((tenant.as_str(), device.as_str()), ("acme", "edge-1"));
    for text in [
        "c///q/#",
        "c//edge-1/q/#",
        "c/acme//q/#",
        "c/acme/+/q/#",
        "c/+/edge-1/q/#",
        "c/#/edge-1/q/#",
    ] {
        assert_eq!(Filter::parse(text, None), None, "{text}");
    }
}
