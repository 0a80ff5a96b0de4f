//! The id that a device answers a command with.
//!
//! It holds all that is needed to send the response, so any gateway can take it: a flag digit, two
//! hexadecimal digits with the length of the correlation id, the correlation id, and the reply id
//! (device contract §1.16). Whatever is not safe in a topic, a path and a query is written as `~` and
//! two hexadecimal digits, so devices can use the id as it is.

use bytestring::ByteString;

use super::{MAX_CORRELATION_ID, MAX_REPLY_ID, Messaging, ReplyTo};
use crate::DeviceId;

/// The reply id began with the device's id and a slash, which are left out.
const WITH_DEVICE: u8 = 1;

/// Longest request id, bytes: each byte may take three.
const LONGEST: usize = 3 * (1 + 2 + MAX_CORRELATION_ID + MAX_REPLY_ID);

/// A request id, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId {
    messaging: Messaging,
    with_device: bool,
    correlation_id: ByteString,
    reply_id: ByteString,
}

/// The text is not a request id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a command's request id")]
pub struct InvalidRequestId;

impl RequestId {
    /// The id under which `device` sees a command whose response goes to `reply_to`.
    pub fn encode(reply_to: &ReplyTo, device: &DeviceId) -> ByteString {
        let reply_id: &str = &reply_to.reply_id;
        let rest = reply_id
            .strip_prefix(device.as_str())
            .and_then(|rest| rest.strip_prefix('/'));
        let messaging = match reply_to.messaging {
            Messaging::Amqp => 0,
            Messaging::Kafka => 1,
            Messaging::PubSub => 2,
        };
        let flags = (messaging << 1) | u8::from(rest.is_some());
        let correlation_id: &str = &reply_to.correlation_id;
        let mut id = format!("{flags:x}{:02x}", correlation_id.len());
        escape(correlation_id, &mut id);
        escape(rest.unwrap_or(reply_id), &mut id);
        id.into()
    }

    /// Takes an id apart that a device has sent.
    ///
    /// # Errors
    /// If it is not one that [`RequestId::encode`] makes.
    pub fn parse(text: &str) -> Result<Self, InvalidRequestId> {
        if text.len() > LONGEST {
            return Err(InvalidRequestId);
        }
        let plain = unescape(text).ok_or(InvalidRequestId)?;
        let digit = |from, to| {
            let digits = plain.get(from..to).filter(|digits| is_hex(digits));
            u8::from_str_radix(digits?, 16).ok()
        };
        let flags = digit(0, 1).ok_or(InvalidRequestId)?;
        let length: usize = digit(1, 3).ok_or(InvalidRequestId)?.into();
        let messaging = match flags >> 1 {
            0 => Messaging::Amqp,
            1 => Messaging::Kafka,
            2 => Messaging::PubSub,
            _ => return Err(InvalidRequestId),
        };
        let with_device = flags & WITH_DEVICE != 0;
        let correlation_id = plain.get(3..3 + length).ok_or(InvalidRequestId)?;
        let reply_id = plain.get(3 + length..).ok_or(InvalidRequestId)?;
        if reply_id.is_empty() && !with_device {
            return Err(InvalidRequestId);
        }
        Ok(Self {
            messaging,
            with_device,
            correlation_id: correlation_id.into(),
            reply_id: reply_id.into(),
        })
    }

    /// Where the response of `device` goes.
    pub fn reply_to(self, device: &DeviceId) -> ReplyTo {
        let reply_id = match self.with_device {
            true => format!("{}/{}", device.as_str(), self.reply_id).into(),
            false => self.reply_id,
        };
        ReplyTo {
            messaging: self.messaging,
            correlation_id: self.correlation_id,
            reply_id,
        }
    }
}

impl ReplyTo {
    /// Whether both ids fit into a request id.
    pub fn fits(&self) -> bool {
        self.correlation_id.len() <= MAX_CORRELATION_ID && self.reply_id.len() <= MAX_REPLY_ID
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// RFC 3986 §2.3, without the tilde.
fn is_safe(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}

fn escape(text: &str, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for byte in text.bytes() {
        if is_safe(byte) {
            out.push(byte.into());
        } else {
            out.push('~');
            out.push(HEX[usize::from(byte >> 4)].into());
            out.push(HEX[usize::from(byte & 15)].into());
        }
    }
}

fn unescape(text: &str) -> Option<String> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = match first {
            b'~' => {
                let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
                let byte = is_hex(digits).then(|| u8::from_str_radix(digits, 16).ok());
                plain.push(byte.flatten()?);
                &tail[2..]
            }
            byte if is_safe(*byte) => {
                plain.push(*byte);
                tail
            }
            _ => return None,
        };
    }
    String::from_utf8(plain).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply_to(correlation_id: &str, reply_id: &str) -> ReplyTo {
        ReplyTo {
            messaging: Messaging::Amqp,
            correlation_id: correlation_id.into(),
            reply_id: reply_id.into(),
        }
    }

    #[test]
    fn an_id_leads_back_to_where_the_response_goes_and_is_safe_everywhere() {
        let long = "c".repeat(MAX_CORRELATION_ID);
        let rows = [
            ("4711", "a-b", "0044711a-b"),
            ("4711", "device/r 1", "1044711r~201"),
            ("", "device/", "100"),
            ("a/b+#~%", "x/y", "007a~2fb~2b~23~7e~25x~2fy"),
            ("ü", "r", "002~c3~bcr"),
            (&long, "r", &format!("0ff{long}r")),
        ];
        let device = DeviceId::from("device");
        for (correlation_id, reply_id, id) in rows {
            let reply_to = reply_to(correlation_id, reply_id);
            let encoded = RequestId::encode(&reply_to, &device);
            assert_eq!(&*encoded, id);
            let parsed = RequestId::parse(&encoded).unwrap();
            assert_eq!(parsed.reply_to(&device), reply_to);
        }
        for messaging in [Messaging::Amqp, Messaging::Kafka, Messaging::PubSub] {
            let reply_to = ReplyTo {
                messaging,
                ..reply_to("1", "2")
            };
            let encoded = RequestId::encode(&reply_to, &device);
            let parsed = RequestId::parse(&encoded).unwrap();
            assert_eq!(parsed.reply_to(&device).messaging, messaging);
        }
    }

    #[test]
    fn what_is_no_id_is_refused() {
        let long = "0".repeat(LONGEST + 1);
        for text in [
            "", "0", "00", "000", "005abc", "003abc", "g00r", "0+1ar", "000r/", "000r~", "000r~2",
            "000r~2F", "000r~ff", "600r", "000 r", "000ü", &long,
        ] {
            assert_eq!(RequestId::parse(text), Err(InvalidRequestId), "{text}");
        }
    }
}
