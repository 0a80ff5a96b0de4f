//! Subscriptions for the errors of one device of a gateway.

use super::*;

const EDGE: &str = "e//edge-1/#";
const SLOW: &str = "error//slow-1/#";

/// Device contract §3.8: who asks, for what, and whether it gets it.
#[tokio::test]
async fn only_a_gateway_that_may_act_for_a_device_is_told_of_its_errors() {
    let gateway = Gateway::start().await;
    let rows = [
        ("gw@acme", EDGE, true),
        ("gw@acme", "error/acme/edge-1/#", true),
        ("gw@acme", "e//edge-2/#", false),
        ("gw@acme", "e//nobody/#", false),
        ("gw@acme", "e/other/edge-1/#", false),
        ("sensor1@acme", EDGE, false),
        ("sensor1@acme", "e//4711/#", true),
    ];
    for version in [4, 5] {
        for (username, filter, is_granted) in rows {
            for qos in [0, 1] {
                println!("{version} {username} {filter} {qos}");
                let mut client = gateway.connected_as(username, version).await;
                client.send(&subscribe(version, 7, &[(filter, qos)])).await;
                let code = if is_granted && qos == 0 { 0 } else { 0x80 };
                client.expect_codes(0x90, 7, &[code]).await;
            }
        }
    }
}

#[tokio::test]
async fn the_devices_own_subscription_comes_before_the_gateways() {
    let gateway = Gateway::start().await;
    gateway.back.always(Err(Reason::NoConsumer));
    for version in [4, 5] {
        let mut client = gateway.connected_as("gw@acme", version).await;
        let filters = [(OWN, 0), (EDGE, 0)];
        client.send(&subscribe(version, 7, &filters)).await;
        client.expect_codes(0x90, 7, &[0, 0]).await;
        let text = "no consumer available";
        client.send(&publish(version, "t//edge-1", 0, "x")).await;
        client
            .expect_error(version, "e//edge-1/t/-1/503", text)
            .await;
        client
            .send(&publish(version, "t//slow-1/?on-error=ignore", 0, "x"))
            .await;
        gateway.registry.gate.add_permits(1);
        client
            .expect_error(version, "error//slow-1/t/-1/503", text)
            .await;
        client.send(&publish(version, "t", 0, "x")).await;
        client.expect_error(version, "error///t/-1/503", text).await;
        // Of what is not subscribed to any more nothing is told, and it is the end.
        client.send(&unsubscribe(version, 8, &[OWN])).await;
        let codes: &[u8] = if version == 5 { &[0] } else { &[] };
        client.expect(&unsuback(version, 8, codes)).await;
        client.send(&publish(version, "t//edge-1", 0, "x")).await;
        client
            .expect_error(version, "e//edge-1/t/-1/503", text)
            .await;
        client.send(&publish(version, "t", 0, "x")).await;
        client.expect_close(version, 0x83).await;
    }
}

#[tokio::test]
async fn it_begins_when_the_registry_has_answered_and_subacks_stay_in_order() {
    let gateway = Gateway::start().await;
    gateway.back.always(Ok(()));
    let mut client = gateway.connected_as("gw@acme", 4).await;
    let filters = [(OWN, 0), (SLOW, 0), ("c///q/#", 0)];
    client.send(&subscribe(4, 1, &filters)).await;
    client.send(&subscribe(4, 2, &[("x", 0)])).await;
    client.expect_silence().await;
    // Not yet its own; the gateway's is in force.
    client.send(&publish(4, "x//slow-1", 0, "x")).await;
    let text = "no such endpoint";
    client
        .expect_error(4, "error//slow-1/unknown/-1/404", text)
        .await;
    gateway.registry.gate.add_permits(1);
    client.expect(&suback(4, 1, &[0, 0, 0])).await;
    client.expect(&suback(4, 2, &[0x80])).await;
    client.send(&unsubscribe(4, 3, &[OWN])).await;
    client.expect(&unsuback(4, 3, &[])).await;
    client.send(&publish(4, "x//slow-1", 0, "x")).await;
    client
        .expect_error(4, "error//slow-1/unknown/-1/404", text)
        .await;
}

#[tokio::test]
async fn one_that_is_ended_while_the_registry_is_asked_never_begins() {
    let gateway = Gateway::start().await;
    let mut client = gateway.connected_as("gw@acme", 5).await;
    client.send(&subscribe(5, 1, &[(SLOW, 0)])).await;
    client.send(&unsubscribe(5, 2, &[SLOW, SLOW])).await;
    client.expect(&unsuback(5, 2, &[0, 0x80])).await;
    gateway.registry.gate.add_permits(1);
    client.expect(&suback(5, 1, &[0])).await;
    client.send(&unsubscribe(5, 3, &[SLOW])).await;
    client.expect(&unsuback(5, 3, &[0x80])).await;
    client.send(&publish(5, "x//slow-1", 0, "x")).await;
    client.expect_disconnect(0x90).await;
}

#[tokio::test]
async fn a_registry_that_is_down_grants_none() {
    let gateway = Gateway::start().await;
    let mut client = gateway.connected_as("gw@acme", 4).await;
    gateway.registry.fail();
    let filters = [(EDGE, 0), (OWN, 0)];
    client.send(&subscribe(4, 1, &filters)).await;
    client.expect(&suback(4, 1, &[0x80, 0])).await;
}
