use super::*;

/// What device `gw-1` of tenant `acme` can have by a filter.
fn parse(text: &str) -> Option<Filter> {
    Filter::parse(text, Some((&"acme".into(), &"gw-1".into())))
}

#[test]
fn every_form_of_a_filter_in_every_spelling() {
    let rows = [
        ("//", "gw-1", false, false),
        ("/acme/", "gw-1", true, false),
        ("//gw-1", "gw-1", false, true),
        ("/acme/gw-1", "gw-1", true, true),
        ("//+", "gw-1", false, false),
        ("/acme/+", "gw-1", true, false),
        ("//edge-1", "edge-1", false, true),
        ("/acme/edge-1", "edge-1", true, true),
    ];
    for (address, device, names_tenant, names_device) in rows {
        for endpoint in ["error", "e"] {
            let text = format!("{endpoint}{address}/#");
            let expected = Filter {
                key: Key {
                    tenant: "acme".into(),
                    device: device.into(),
                },
                form: Form {
                    endpoint,
                    names_tenant,
                    names_device,
                },
            };
            assert_eq!(parse(&text), Some(expected), "{text}");
        }
    }
}

#[test]
fn whatever_else_is_no_filter_for_errors() {
    for text in [
        "",
        "#",
        "error",
        "error/#",
        "error//#",
        "error///",
        "error///+",
        "error////#",
        "error///#/",
        "error///#/x",
        "error///telemetry/#",
        "error/other//#",
        "error/ACME//#",
        "error/+//#",
        "error/+/gw-1/#",
        "error//#/#",
        "error//a+/#",
        "error//a#/#",
        "Error///#",
        "err///#",
        "event///#",
        "+///#",
        "/error///#",
        "$share/group/error///#",
        "command///req/#",
    ] {
        assert_eq!(parse(text), None, "{text}");
    }
}

#[test]
fn what_can_be_one_segment_of_a_topic() {
    for text in ["", "-1", "7", "a b", "ü", "%2F", "$x"] {
        assert!(is_segment(text), "{text}");
    }
    for text in ["a/b", "/", "+", "a+", "#", "a#b", "\0", "a\nb", "\u{7f}"] {
        assert!(!is_segment(text), "{text}");
    }
}
