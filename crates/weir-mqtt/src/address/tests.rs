use weir_core::TraceContext;

use super::*;
use crate::bag::OnError;

fn parse(topic: &str) -> Result<Address, Malformed> {
    Address::parse(&ByteString::from(topic))
}

fn target(tenant: &str, device: &str) -> Target {
    let named = |text: &str| (!text.is_empty()).then(|| ByteString::from(text));
    Target {
        tenant: named(tenant),
        device: named(device),
    }
}

#[test]
fn every_form_of_a_topic() {
    use Endpoint::{CommandResponse, Event, Telemetry};
    let forms = [
        ("telemetry", Telemetry, "", ""),
        ("t", Telemetry, "", ""),
        ("event", Event, "", ""),
        ("e", Event, "", ""),
        ("telemetry/", Telemetry, "", ""),
        ("telemetry//", Telemetry, "", ""),
        ("e///", Event, "", ""),
        ("telemetry//4711", Telemetry, "", "4711"),
        ("t//4711", Telemetry, "", "4711"),
        ("event/acme/4711", Event, "acme", "4711"),
        ("e/acme/4711", Event, "acme", "4711"),
        ("e/acme/4711/", Event, "acme", "4711"),
        ("event/acme", Event, "acme", ""),
        ("event/acme/", Event, "acme", ""),
        ("t/acme/4711/more/of/it", Telemetry, "acme", "4711"),
        ("t//4711//x", Telemetry, "", "4711"),
        ("t/ACME/a b", Telemetry, "ACME", "a b"),
        ("t/?on-error=ignore", Telemetry, "", ""),
        ("t//4711/?on-error=ignore", Telemetry, "", "4711"),
        ("e/acme/4711/x/?on-error=ignore", Event, "acme", "4711"),
        // Only the last "/?" counts, and one without a slash is no bag at all.
        ("t//4711/?a=b/?c=d", Telemetry, "", "4711"),
        ("t//4711?a=b", Telemetry, "", "4711?a=b"),
        ("c///res/1/200", CommandResponse, "", ""),
        (
            "command/acme/4711/res/1/200",
            CommandResponse,
            "acme",
            "4711",
        ),
    ];
    for (topic, endpoint, tenant, device) in forms {
        let address = parse(topic).unwrap();
        assert_eq!(address.endpoint, Ok(endpoint), "{topic}");
        assert_eq!(address.target, target(tenant, device), "{topic}");
    }
}

#[test]
fn other_endpoints_are_not_known() {
    for topic in [
        "Telemetry",
        "tele",
        "cr///1/200",
        "Command///res/1/200",
        "x//4711",
        "tt",
        "error",
    ] {
        let endpoint = parse(topic).unwrap().endpoint;
        assert_eq!(endpoint, Err(NoEndpoint::Unknown), "{topic}");
    }
}

#[test]
fn malformed_addresses() {
    for topic in ["", "/", "/telemetry", "//4711", "/?on-error=ignore"] {
        let endpoint = parse(topic).unwrap().endpoint;
        assert_eq!(endpoint, Err(NoEndpoint::Missing), "{topic}");
    }
    let bag = parse("/telemetry/?on-error=ignore").unwrap().bag;
    assert_eq!(bag.on_error, OnError::Ignore);
}

#[test]
fn malformed_bags() {
    for topic in [
        "t/?content-type=%",
        "t/?content-type=%4",
        "t/?content-type=%zz",
        "t/?%=1",
        "t/?content-type=%ff",
        "t/?content-type=a%00b",
    ] {
        assert_eq!(parse(topic), Err(Malformed), "{topic}");
    }
}

#[test]
fn the_bags_names_are_told_apart_without_case_and_values_are_decoded() {
    let topic = "event/?Content-Type=text%2Fplain&HONO-TTL=10&on-error=skip-ack";
    let bag = parse(topic).unwrap().bag;
    assert_eq!(bag.content_type.as_deref(), Some("text/plain"));
    assert_eq!(bag.ttl, Some(10));
    assert_eq!(bag.on_error, OnError::SkipAck);
    let encoded = parse("e/?%63ontent-type=%C3%BC").unwrap().bag;
    assert_eq!(encoded.content_type.as_deref(), Some("\u{fc}"));
}

#[test]
fn in_the_bag_the_first_of_a_name_counts_and_what_makes_no_sense_is_ignored() {
    let bag = |query: &str| parse(&format!("e/?{query}")).unwrap().bag;
    let repeated = bag("content-type=a&Content-Type=b&hono-ttl=1&hono-ttl=2");
    assert_eq!(repeated.content_type.as_deref(), Some("a"));
    assert_eq!(repeated.ttl, Some(1));
    for nonsense in [
        "hono-ttl=-1",
        "hono-ttl=x",
        "hono-ttl",
        "hono-ttl=99999999999999999999",
        "hono-ttd=60",
        "",
        "&&",
        "=",
        "traceparent=00-x",
    ] {
        assert_eq!(bag(nonsense), PropertyBag::default(), "{nonsense}");
    }
}

#[test]
fn what_to_do_on_error_is_spelt_exactly() {
    let modes = [
        ("default", OnError::Default),
        ("disconnect", OnError::Disconnect),
        ("ignore", OnError::Ignore),
        ("skip-ack", OnError::SkipAck),
        ("Ignore", OnError::Default),
        ("skip_ack", OnError::Default),
        ("", OnError::Default),
    ];
    for (value, mode) in modes {
        let address = parse(&format!("t/?on-error={value}")).unwrap();
        assert_eq!(address.bag.on_error, mode, "{value}");
    }
}

#[test]
fn the_bag_may_hold_a_trace() {
    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let trace = |query: &str| parse(&format!("t/?{query}")).unwrap().bag.trace;
    assert_eq!(
        trace(&format!("traceparent={PARENT}")),
        TraceContext::parse(PARENT)
    );
    let with_state = trace(&format!("tracestate=a%3Db&traceparent={PARENT}")).unwrap();
    assert_eq!(with_state.tracestate(), Some("a=b"));
    assert_eq!(trace("tracestate=a%3Db"), None);
}

#[test]
fn nothing_is_copied_where_nothing_is_decoded() {
    let topic = ByteString::from("t/acme/4711/?content-type=text/plain");
    let within = |part: &ByteString| topic.as_bytes().as_ptr_range().contains(&part.as_ptr());
    let Address { target, bag, .. } = Address::parse(&topic).unwrap();
    for part in [target.tenant, target.device, bag.content_type] {
        assert!(within(&part.unwrap()));
    }
    // What is kept for longer lets go of the rest.
    assert!(!within(&kept(&topic)));
    assert_eq!(kept(&topic), topic);
}

#[test]
fn the_commonest_topics_keep_nothing_of_what_was_read() {
    for text in ["telemetry", "t", "event", "e"] {
        let topic = ByteString::from(text.to_owned());
        let kept = kept(&topic);
        assert_eq!(kept, topic);
        assert_ne!(kept.as_ptr(), topic.as_ptr(), "{text}");
    }
}

#[test]
fn what_stands_before_the_bag_can_be_read_whatever_the_bag_is() {
    let rows = [
        ("telemetry", "telemetry", "", ""),
        ("x/acme/4711/y", "x", "acme", "4711"),
        ("t//4711/?content-type=%zz", "t", "", "4711"),
        ("/t/4711", "", "t", "4711"),
        ("/?x", "", "", ""),
        ("", "", "", ""),
    ];
    for (topic, endpoint, tenant, device) in rows {
        let whole = ByteString::from(topic);
        let path = path(&whole);
        assert_eq!(path.endpoint, endpoint, "{topic}");
        assert_eq!(path.target, target(tenant, device), "{topic}");
    }
}
