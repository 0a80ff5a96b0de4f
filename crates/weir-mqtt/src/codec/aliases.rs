//! Topic aliases: numbers that a client gives to its topics (MQTT 5 §3.3.2.3.4).

use bytestring::ByteString;
use rmqtt_codec::types::Publish;
use rmqtt_codec::v5::DisconnectReasonCode;

use super::Violation;

/// The largest number, which CONNACK says.
pub(super) const MAXIMUM: u16 = 16;

pub(super) const OUT_OF_RANGE: Violation = Violation::new(
    DisconnectReasonCode::TopicAliasInvalid,
    "a topic alias that is 0 or larger than the maximum",
);
const NO_TOPIC: Violation = Violation::protocol("neither a topic nor a topic alias");
const UNKNOWN: Violation = Violation::protocol("a topic alias that stands for no topic");

/// The topics of one connection by their number less one; the empty one is none. Most connections
/// never have any.
#[derive(Default)]
pub(super) struct Aliases(Vec<ByteString>);

impl Aliases {
    /// Puts the topic that is meant into `publish`, and remembers it if it has a number.
    pub(super) fn resolve(&mut self, publish: &mut Publish) -> Result<(), Violation> {
        let properties = publish.properties.as_ref();
        let Some(alias) = properties.and_then(|properties| properties.topic_alias) else {
            return match publish.topic.is_empty() {
                true => Err(NO_TOPIC),
                false => Ok(()),
            };
        };
        if alias.get() > MAXIMUM {
            return Err(OUT_OF_RANGE);
        }
        let place = usize::from(alias.get()) - 1;
        if publish.topic.is_empty() {
            let known = self.0.get(place).filter(|topic| !topic.is_empty());
            publish.topic = known.ok_or(UNKNOWN)?.clone();
            return Ok(());
        }
        if self.0.len() <= place {
            self.0.resize(place + 1, ByteString::new());
        }
        if self.0[place] != publish.topic {
            // A copy: the topic is a part of what was read with it, and would keep all of that.
            self.0[place] = ByteString::from(&*publish.topic);
        }
        Ok(())
    }
}
