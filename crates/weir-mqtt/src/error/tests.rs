use serde_json::{Value, json};
use time::macros::datetime;
use weir_core::{DeviceId, RejectCondition, Rule, TenantId};

use super::*;

const NOW: OffsetDateTime = datetime!(2026-11-21 10:00:00.007_9 UTC);

fn own() -> (TenantId, DeviceId) {
    ("acme".into(), "gw-1".into())
}

/// The subscriptions of device `gw-1` of tenant `acme`.
fn subscribed(filters: &[&str]) -> Subscriptions {
    let (tenant, device) = own();
    let mut all = Subscriptions::default();
    for filter in filters {
        all.begin(Filter::parse(filter, Some((&tenant, &device))).unwrap());
    }
    all
}

fn notice(
    all: &Subscriptions,
    topic: &str,
    packet_id: Option<NonZeroU16>,
    reason: &Reason,
) -> Option<Notice> {
    let (tenant, device) = own();
    let refused = Refused {
        topic: &ByteString::from(topic),
        packet_id,
        reason,
    };
    all.notice(Some((&tenant, &device)), refused, NOW)
}

/// The topic of what is told of a message with QoS 0 that nobody consumes.
fn topic(filters: &[&str], published: &str) -> Option<String> {
    let notice = notice(&subscribed(filters), published, None, &Reason::NoConsumer);
    notice.map(|notice| notice.topic)
}

fn body(notice: &Notice) -> Value {
    serde_json::from_slice(&notice.payload).unwrap()
}

/// Device contract §3.8: the filter, what was published, the topic of its error.
#[test]
fn the_topic_has_what_the_filter_has_and_says_which_message_it_was() {
    let rows = [
        // Endpoint and tenant as they are subscribed to.
        ("error///#", "telemetry", "error///telemetry/-1/503"),
        ("e///#", "telemetry", "e///telemetry/-1/503"),
        ("error/acme//#", "telemetry", "error/acme//telemetry/-1/503"),
        ("e/acme/+/#", "telemetry", "e/acme//telemetry/-1/503"),
        // The message's endpoint as it is published to.
        ("e///#", "t", "e///t/-1/503"),
        ("e///#", "event", "e///event/-1/503"),
        ("e///#", "e", "e///e/-1/503"),
        (
            "e///#",
            "command///res/1/200",
            "e///command-response/-1/503",
        ),
        ("e///#", "c///s/1/200", "e///c-s/-1/503"),
        ("e///#", "nowhere", "e///unknown/-1/503"),
        ("e///#", "Telemetry", "e///unknown/-1/503"),
        // The device, however it is named, if it is another one's or the filter names it.
        ("e///#", "t//gw-1", "e///t/-1/503"),
        ("e//+/#", "t/acme/gw-1", "e///t/-1/503"),
        ("e//gw-1/#", "t", "e//gw-1/t/-1/503"),
        ("e/acme/gw-1/#", "t//gw-1", "e/acme/gw-1/t/-1/503"),
        ("e///#", "t//edge-1", "e//edge-1/t/-1/503"),
        ("error//+/#", "e/acme/edge-1/x", "error//edge-1/e/-1/503"),
        ("e//gw-1/#", "t//edge-1", "e//edge-1/t/-1/503"),
        ("e//edge-1/#", "t//edge-1", "e//edge-1/t/-1/503"),
        ("e/acme/edge-1/#", "t//edge-1", "e/acme/edge-1/t/-1/503"),
        ("e//edge-1/#", "c//edge-1/s/1/200", "e//edge-1/c-s/-1/503"),
        // What is not understood is told as far as it goes.
        ("e///#", "x//edge-1", "e//edge-1/unknown/-1/503"),
        ("e///#", "t/acme", "e///t/-1/503"),
        ("e///#", "t/other/edge-1", "e//edge-1/t/-1/503"),
        ("e///#", "t/other/gw-1", "e///t/-1/503"),
        ("e///#", "t//edge-1/?content-type=%zz", "e//edge-1/t/-1/503"),
        ("e///#", "/t/acme/edge-1", "e///unknown/-1/503"),
        ("e///#", "//edge-1", "e///unknown/-1/503"),
        ("e///#", "/?correlation-id=4", "e///unknown/4/503"),
    ];
    for (filter, published, expected) in rows {
        let told = topic(&[filter], published);
        assert_eq!(told.as_deref(), Some(expected), "{filter} {published}");
        assert_eq!(expected.split('/').count(), 6);
    }
}

#[test]
fn the_messages_device_comes_first_then_the_one_that_authenticated() {
    let both = ["error///#", "e//edge-1/#"];
    let rows = [
        (&both[..], "t//edge-1", Some("e//edge-1/t/-1/503")),
        (&both, "t", Some("error///t/-1/503")),
        (&both, "t//edge-2", Some("error//edge-2/t/-1/503")),
        // It is another device that only has the same name.
        (&both, "t/other/edge-1", Some("error//edge-1/t/-1/503")),
        (&both[1..], "t", None),
        (&both[1..], "t//edge-2", None),
        (&both[1..], "t/other/edge-1", None),
        (&[], "t", None),
    ];
    for (filters, published, expected) in rows {
        assert_eq!(
            topic(filters, published).as_deref(),
            expected,
            "{published}"
        );
    }
}

#[test]
fn a_later_subscription_for_the_same_takes_the_place_of_an_earlier_one() {
    let (tenant, device) = own();
    let mut all = subscribed(&["error///#", "e//edge-1/#", "e/acme/+/#"]);
    assert_eq!(all.len(), 2);
    let told = notice(&all, "t", None, &Reason::NoConsumer).unwrap();
    assert_eq!(told.topic, "e/acme//t/-1/503");
    let key = |text| Filter::parse(text, Some((&tenant, &device))).unwrap().key;
    assert!(all.has(&key("error//gw-1/#")));
    assert!(all.end(&key("error///#")));
    assert!(!all.end(&key("error//+/#")));
    assert!(all.end(&key("error/acme/edge-1/#")));
    assert_eq!(all.len(), 0);
}

/// Device contract §3.8: what is published, with QoS 1 or 0, and the id in the topic and in the payload.
#[test]
fn the_correlation_id_is_the_devices_own_or_the_packet_id_and_always_one_segment() {
    let rows = [
        ("t", 7, "7", "7"),
        ("t", 0, "-1", "-1"),
        ("t/?correlation-id=a%20b", 7, "a b", "a b"),
        ("t/?Correlation-ID=x&correlation-id=y", 0, "x", "x"),
        ("t/?correlation-id=", 7, "7", "7"),
        ("t/?correlation-id", 0, "-1", "-1"),
        ("t/?correlation-id=4&content-type=%zz", 7, "7", "7"),
        // What cannot be in a topic is in the payload alone.
        ("t/?correlation-id=a/b", 7, "7", "a/b"),
        ("t/?correlation-id=a%2Fb", 0, "-1", "a/b"),
        ("t/?correlation-id=%2B", 0, "-1", "+"),
        ("t/?correlation-id=a%23", 7, "7", "a#"),
        ("t/?correlation-id=a%0A%22", 0, "-1", "a\n\""),
        // No message has that one.
        ("t/?correlation-id=a%00b", 7, "7", "7"),
    ];
    for (published, packet_id, in_topic, in_payload) in rows {
        let packet_id = NonZeroU16::new(packet_id);
        let told = notice(
            &subscribed(&["e///#"]),
            published,
            packet_id,
            &Reason::NoConsumer,
        );
        let told = told.unwrap();
        assert_eq!(told.topic, format!("e///t/{in_topic}/503"), "{published}");
        assert_eq!(body(&told)["correlation-id"], in_payload, "{published}");
    }
}

#[test]
fn a_topic_is_never_too_long_for_its_correlation_id() {
    let all = subscribed(&["error///#"]);
    let rest = "error///t//503".len();
    for (length, fits) in [(LONGEST - rest, true), (LONGEST - rest + 1, false)] {
        let id = "x".repeat(length);
        let published = format!("t/?correlation-id={id}");
        let told = notice(&all, &published, NonZeroU16::new(7), &Reason::NoConsumer).unwrap();
        let expected = if fits { &id } else { "7" };
        assert_eq!(told.topic, format!("error///t/{expected}/503"));
        assert_eq!(body(&told)["correlation-id"], id);
    }
}

/// Device contract §1.19 and §3.8.
#[test]
fn the_payload_says_what_when_and_of_which_message() {
    let bad = Reason::BadRequest(Rule::Address, "no \"such\" thing".into());
    let rejected = Reason::Rejected(RejectCondition::Other, Some("nicht für uns".into()));
    let rows = [
        (Reason::NoConsumer, 503, "no consumer available"),
        (
            Reason::DownstreamUnavailable,
            503,
            "Temporarily unavailable",
        ),
        (Reason::Internal, 500, "Internal server error"),
        (Reason::NoSuchEndpoint, 404, "no such endpoint"),
        (rejected, 400, "nicht für uns"),
        (bad, 400, "no \"such\" thing"),
    ];
    let all = subscribed(&["error///#"]);
    for (reason, status, text) in rows {
        let told = notice(&all, "telemetry", NonZeroU16::new(7), &reason).unwrap();
        assert_eq!(told.topic, format!("error///telemetry/7/{status}"));
        let expected = json!({
            "code": status,
            "message": text,
            "timestamp": "2026-11-21T10:00:00.007Z",
            "correlation-id": "7",
        });
        assert_eq!(body(&told), expected);
    }
}
