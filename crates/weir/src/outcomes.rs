//! What a device is told of each reason, the adapters' tables side by side: `docs/outcomes.md`.

use std::fmt::Write as _;

use weir_core::{CredentialFault, RateOf, Reason, RejectCondition, Rule};

/// `docs/outcomes.md` as it has to be.
fn page() -> String {
    let mut page = String::from(INTRODUCTION);
    page.push_str(HEAD);
    for reason in Reason::examples() {
        page.push_str(&row(&reason));
    }
    page.push_str("\nThe codes by their names in the standards:\n\n");
    for (version, names) in [("3.1.1", V3), ("5", V5)] {
        let names: Vec<_> = names
            .iter()
            .map(|(code, name)| format!("`{code:#04x}` {name}"))
            .collect();
        // Writing to a String cannot fail.
        let _ = writeln!(page, "* MQTT {version}: {}.", names.join(", "));
    }
    page
}

const INTRODUCTION: &str = "\
# Outcomes

Generated from the source; `UPDATE_DOCS=1 cargo test -p weir` writes it anew.

Why a message or a connection is refused, and what the device sees of it. The reason is in the gateway's log; a device
goes by the status, which is the same everywhere: over HTTP (two exceptions are in the table) and in
[errors over MQTT](user-guide.md#errors-over-mqtt). What to do:

* **5xx, CONNACK `0x03`, `0x88`, `0x9c`: try again later.** Nothing is wrong with the device or its message. Wait longer from one
  attempt to the next, up to some minutes, and not all devices for the same time. Over HTTP `Retry-After` has the shortest wait.
* **401, CONNACK `0x04`, `0x86`: log in again, with good credentials.** With a token: sign a new one and
  connect. The same password or certificate will be refused again.
* **403, 404: somebody has to change the registry**, or the device its address. Try again seldom: every few
  minutes at most.
* **429, CONNACK `0x97`: the tenant has used up what it may.** It helps to wait until other devices have gone or the next
  period begins, or to be given more. MQTT 3.1.1 says `0x05`. With `Retry-After`, or DISCONNECT `0x96`, the message has come too
  fast: send the same later, and all messages more slowly.
* **400, 413: mend the firmware.** The same message will never be taken. Go on with the next one.

";

const HEAD: &str = "\
How to read the table:

* **status**, **text**: of the refusal. Texts may change; programs go by the status.
* **HTTP**: the answer to an upload. `R`: with `Retry-After`; `C`: with the challenges `WWW-Authenticate`. Whoever is refused while
  logging in, and a response to a command, has no `Retry-After`, and 500 stays 500.
* **CONNACK**: if a connection is refused for that reason. **DISCONNECT**: if one ends because of a message; MQTT 3.1.1
  has no such packet, and the connection is just closed. Not every reason comes up everywhere.
* **ends**: whether it ends an MQTT connection, whatever `on-error` says; *own*: if the message is the connected device's, and not
  one of a device behind it.
* **again**: whether the same may be taken later without anybody changing anything.
* **message**, **attempt**: the labels [`status` and `outcome`](metrics.md) under which a message and an attempt to
  connect are counted.

| reason | status | text | HTTP | CONNACK 3.1.1 | CONNACK 5 | DISCONNECT 5 | ends | again | message | attempt |
|---|---|---|---|---|---|---|---|---|---|---|
";

/// MQTT 3.1.1 §3.2.2.3.
const V3: &[(u8, &str)] = &[
    (0x03, "Server unavailable"),
    (0x04, "Bad user name or password"),
    (0x05, "Not authorized"),
];

/// MQTT 5 §2.4.
const V5: &[(u8, &str)] = &[
    (0x80, "Unspecified error"),
    (0x82, "Protocol Error"),
    (0x83, "Implementation specific error"),
    (0x86, "Bad User Name or Password"),
    (0x87, "Not authorized"),
    (0x88, "Server unavailable"),
    (0x89, "Server busy"),
    (0x8b, "Server shutting down"),
    (0x90, "Topic Name invalid"),
    (0x95, "Packet too large"),
    (0x96, "Message rate too high"),
    (0x97, "Quota exceeded"),
    (0x99, "Payload format invalid"),
    (0x9b, "QoS not supported"),
    (0x9c, "Use another server"),
];

fn row(reason: &Reason) -> String {
    let http = weir_http::answer_to(reason);
    let mqtt = weir_mqtt::answer_to(reason);
    let [retry, challenge] = [(http.retry, " R"), (http.challenges, " C")]
        .map(|(is_there, mark)| if is_there { mark } else { "" });
    let ends = match (reason.is_terminal(true), reason.is_terminal(false)) {
        (true, true) => "yes",
        (true, false) => "own",
        (false, _) => "no",
    };
    let again = if reason.may_retry() { "yes" } else { "no" };
    format!(
        "| `{}`{} | {} | {} | {}{retry}{challenge} | `{:#04x}` | `{:#04x}` | `{:#04x}` | {ends} | {again} | {} | {} |\n",
        reason.name(),
        kind(reason),
        reason.status(),
        text(reason, http.text.as_deref()),
        http.status,
        mqtt.connack_v3,
        mqtt.connack_v5,
        mqtt.disconnect_v5,
        reason.metric_status().as_str(),
        reason.attempt_outcome().as_str(),
    )
}

/// Which one of the reasons of that name.
fn kind(reason: &Reason) -> &'static str {
    match reason {
        Reason::BadRequest(Rule::Address, _) => ", address",
        Reason::BadRequest(Rule::ContentType, _) => ", content type",
        Reason::BadRequest(Rule::Encoding, _) => ", encoding",
        Reason::BadRequest(Rule::Qos, _) => ", QoS",
        Reason::MessageRateExceeded(RateOf::Device, _) => ", the device's",
        Reason::MessageRateExceeded(RateOf::Tenant, _) => ", the tenant's",
        Reason::Rejected(RejectCondition::InternalError, _) => ", `amqp:internal-error`",
        Reason::Rejected(RejectCondition::ResourceLimitExceeded, _) => {
            ", `amqp:resource-limit-exceeded`"
        }
        Reason::Rejected(RejectCondition::UnauthorizedAccess, _) => ", `amqp:unauthorized-access`",
        Reason::Rejected(RejectCondition::Other, _) => ", any other condition",
        Reason::Unauthorized(CredentialFault::Malformed) => ", cannot be read",
        Reason::Unauthorized(CredentialFault::Missing) => ", missing",
        Reason::Unauthorized(CredentialFault::Untrusted) => ", certificate not trusted",
        Reason::Unauthorized(CredentialFault::Wrong) => ", wrong",
        _ => "",
    }
}

/// What the device is told in words, and over HTTP if that is something else.
fn text(reason: &Reason, over_http: Option<&str>) -> String {
    let text = reason.text();
    let told = match reason {
        Reason::BadRequest(..) => format!("what is wrong, such as *{text}*"),
        Reason::Rejected(RejectCondition::UnauthorizedAccess | RejectCondition::Other, _) => {
            "what the application says".to_owned()
        }
        _ => text.to_owned(),
    };
    match over_http {
        None => format!("{told} (over HTTP a page)"),
        Some(other) if !other.eq_ignore_ascii_case(text) => format!("{told} (over HTTP *{other}*)"),
        Some(_) => told,
    }
}

#[test]
fn the_outcomes_in_docs_are_up_to_date() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/outcomes.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page(), "run UPDATE_DOCS=1 cargo test -p weir");
}

#[test]
fn every_code_has_its_name_and_no_other_is_listed() {
    let answers: Vec<_> = Reason::examples()
        .map(|reason| weir_mqtt::answer_to(&reason))
        .collect();
    let mut v3: Vec<_> = answers.iter().map(|told| told.connack_v3).collect();
    let both = answers
        .iter()
        .flat_map(|told| [told.connack_v5, told.disconnect_v5]);
    let mut v5: Vec<_> = both.collect();
    for (codes, names) in [(&mut v3, V3), (&mut v5, V5)] {
        codes.sort_unstable();
        codes.dedup();
        let named: Vec<_> = names.iter().map(|(code, _)| *code).collect();
        assert_eq!(*codes, named);
    }
}

/// What the introduction says of classes of statuses and codes.
#[test]
fn what_to_do_can_be_told_from_the_status_or_the_code() {
    for reason in Reason::examples() {
        let (http, mqtt) = (weir_http::answer_to(&reason), weir_mqtt::answer_to(&reason));
        let again = reason.may_retry();
        let is_too_fast = mqtt.disconnect_v5 == 0x96;
        assert_eq!(
            (http.status >= 500 || is_too_fast, http.retry),
            (again, again),
            "{reason:?}"
        );
        assert!(!is_too_fast || reason.status() == 429, "{reason:?}");
        let is_unavailable = [0x88, 0x9c].contains(&mqtt.connack_v5);
        assert_eq!(is_unavailable, mqtt.connack_v3 == 0x03, "{reason:?}");
        assert!(http.status >= 500 || !is_unavailable, "{reason:?}");
        let is_login = mqtt.connack_v3 == 0x04;
        assert_eq!(is_login, mqtt.connack_v5 == 0x86, "{reason:?}");
        assert!(is_login || reason.status() != 401, "{reason:?}");
        let is_used_up = mqtt.connack_v5 == 0x97;
        assert!(is_used_up || reason.status() != 429, "{reason:?}");
        assert!(
            !is_used_up || reason.name().ends_with("-exceeded"),
            "{reason:?}"
        );
    }
}
