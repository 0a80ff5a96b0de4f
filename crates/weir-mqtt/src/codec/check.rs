//! The checks that the decoder leaves to its users.

use bytestring::ByteString;
use rmqtt_codec::types::{Publish, QoS};
use rmqtt_codec::v5::{DisconnectReasonCode, PublishProperties, Subscribe, UserProperties};

use super::Violation;

const TOPIC_NAME: Violation = Violation::new(
    DisconnectReasonCode::TopicNameInvalid,
    "a topic name that is empty or has wildcards",
);

/// How a shared subscription's filter begins (MQTT 5 §4.8.2).
const SHARED: &str = "$share/";

/// A PUBLISH from a client.
pub(super) fn publish(publish: &Publish) -> Result<(), Violation> {
    if publish.dup && publish.qos == QoS::AtMostOnce {
        // [MQTT-3.3.1-2]
        return Err(Violation::malformed("DUP with QoS 0"));
    }
    if let Some(properties) = &publish.properties {
        publish_properties(properties)?;
    }
    string(&publish.topic)?;
    topic_name(&publish.topic)
}

fn publish_properties(properties: &PublishProperties) -> Result<(), Violation> {
    if !properties.subscription_ids.is_empty() {
        // [MQTT-3.3.4-6]
        return Err(Violation::protocol("a subscription identifier in PUBLISH"));
    }
    if let Some(topic) = &properties.response_topic {
        string(topic)?;
        // [MQTT-3.3.2-14]
        topic_name(topic)?;
    }
    strings(&properties.content_type)?;
    user_properties(&properties.user_properties)
}

/// A SUBSCRIBE of version 5. Its other options have no meaning here: nothing is retained, and no
/// client's messages go to another one.
pub(super) fn subscribe(subscribe: &Subscribe) -> Result<(), Violation> {
    if subscribe.id.is_some() {
        // CONNACK says that there are none (MQTT 5 §3.2.2.3.12).
        let code = DisconnectReasonCode::SubscriptionIdentifiersNotSupported;
        let text = "subscription identifiers are not supported";
        return Err(Violation::new(code, text));
    }
    for (filter, options) in &subscribe.topic_filters {
        string(filter)?;
        if options.no_local && filter.starts_with(SHARED) {
            // [MQTT-3.8.3-4]
            return Err(Violation::protocol("No Local on a shared subscription"));
        }
    }
    user_properties(&subscribe.user_properties)
}

/// Topic names have at least one character [MQTT-4.7.3-1] and no wildcards [MQTT-3.3.2-2].
fn topic_name(topic: &ByteString) -> Result<(), Violation> {
    let bytes = topic.as_bytes();
    if bytes.is_empty() || bytes.contains(&b'+') || bytes.contains(&b'#') {
        return Err(TOPIC_NAME);
    }
    Ok(())
}

pub(super) fn user_properties(properties: &UserProperties) -> Result<(), Violation> {
    strings(properties.iter().flat_map(|(name, value)| [name, value]))
}

pub(super) fn strings<'a>(
    strings: impl IntoIterator<Item = &'a ByteString>,
) -> Result<(), Violation> {
    strings.into_iter().try_for_each(string)
}

/// Strings hold no U+0000 [MQTT-1.5.3-2], [MQTT-1.5.4-2 in version 5].
fn string(string: &ByteString) -> Result<(), Violation> {
    if string.as_bytes().contains(&0) {
        return Err(Violation::malformed("U+0000 in a string"));
    }
    Ok(())
}
