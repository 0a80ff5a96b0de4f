//! Messages in: sections by hand, values through `serde_amqp` once they are known to be harmless.

use bytes::{Bytes, BytesMut};
use serde_amqp::Value;

use crate::codec::{
    Malformed,
    primitive::{Fields, Reader},
    scan::Scan,
};

/// Why a message cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("message is not well-formed: {reason}")]
pub struct DecodeError {
    reason: &'static str,
}

impl From<Malformed> for DecodeError {
    fn from(Malformed(reason): Malformed) -> Self {
        Self { reason }
    }
}

/// A decoded message [3.2]. The footer is checked and dropped.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// Delivery details; defaults if the section is missing.
    pub header: Header,
    /// Non-standard delivery attributes for this hop.
    pub delivery_annotations: Map,
    /// Non-standard attributes for the way.
    pub message_annotations: Map,
    /// Standard attributes of the bare message.
    pub properties: MessageProperties,
    /// The application's own.
    pub application_properties: Map,
    /// The body.
    pub body: Body,
}

/// The header section [3.2.1].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Must not be lost.
    pub durable: bool,
    /// Milliseconds to live.
    pub ttl: Option<u32>,
    /// Unsuccessful attempts before this one.
    pub delivery_count: u32,
}

/// The properties section of a message that arrived [3.2.4].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MessageProperties {
    /// A ulong, uuid, binary or string.
    pub message_id: Option<Value>,
    /// Who produced it.
    pub user_id: Option<Bytes>,
    /// The node it is for.
    pub to: Option<String>,
    /// What it is about.
    pub subject: Option<String>,
    /// Where answers go.
    pub reply_to: Option<String>,
    /// A ulong, uuid, binary or string.
    pub correlation_id: Option<Value>,
    /// The body's MIME type.
    pub content_type: Option<String>,
    /// How the body is encoded.
    pub content_encoding: Option<String>,
    /// Milliseconds since the epoch.
    pub absolute_expiry_time: Option<i64>,
    /// Milliseconds since the epoch.
    pub creation_time: Option<i64>,
    /// The group it belongs to.
    pub group_id: Option<String>,
    /// Its place in the group.
    pub group_sequence: Option<u32>,
    /// The group answers belong to.
    pub reply_to_group_id: Option<String>,
}

/// The body [3.2.6 - 3.2.8].
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Body {
    /// No body section.
    #[default]
    Empty,
    /// Data: a slice of the frame, or several sections put together.
    Data(Bytes),
    /// The values of all sequence sections.
    Sequence(Vec<Value>),
    /// One value.
    Value(Value),
}

/// A section's map in its order. Keys that are neither strings nor symbols are left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Map(pub Vec<(String, Value)>);

impl Map {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value)
    }

    /// The value of a key, if it is a string.
    pub fn string(&self, key: &str) -> Option<&str> {
        match self.get(key) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// The value of a key, if it is an integer of any width.
    pub fn integer(&self, key: &str) -> Option<i64> {
        match *self.get(key)? {
            Value::Byte(n) => Some(n.into()),
            Value::Short(n) => Some(n.into()),
            Value::Int(n) => Some(n.into()),
            Value::Long(n) => Some(n),
            Value::Ubyte(n) => Some(n.into()),
            Value::Ushort(n) => Some(n.into()),
            Value::Uint(n) => Some(n.into()),
            Value::Ulong(n) => i64::try_from(n).ok(),
            _ => None,
        }
    }
}

impl Message {
    /// Reads the sections of one message. Anything nested deeper than 16 levels or with more than 65,536 elements
    /// altogether is refused.
    pub fn decode(message: Bytes) -> Result<Self, DecodeError> {
        let mut decoded = Self::default();
        let mut reader = Reader::new(&message);
        let mut scan = Scan::new();
        while !reader.is_empty() {
            let section = reader.rest();
            let len = scan.check(section)?;
            reader.take(len)?;
            let mut section = Reader::new(&section[..len]);
            let code = section.descriptor()?;
            decoded.section(&message, code, section)?;
        }
        Ok(decoded)
    }

    fn section(
        &mut self,
        message: &Bytes,
        code: u64,
        mut section: Reader<'_>,
    ) -> Result<(), Malformed> {
        match code {
            0x70 => self.header = header(section.fields()?)?,
            0x71 => self.delivery_annotations = map(section)?,
            0x72 => self.message_annotations = map(section)?,
            0x73 => self.properties = properties(message, section.fields()?)?,
            0x74 => self.application_properties = map(section)?,
            0x75 => {
                let data = message.slice_ref(section.variable(0xa0, "data is not binary")?);
                self.body = match std::mem::take(&mut self.body) {
                    Body::Empty => Body::Data(data),
                    Body::Data(before) => Body::Data(concatenate(before, &data)),
                    _ => return Err(MIXED),
                };
            }
            0x76 => {
                let Value::List(mut values) = value(section.rest())? else {
                    return Err(Malformed("a sequence is not a list"));
                };
                match &mut self.body {
                    Body::Empty => self.body = Body::Sequence(values),
                    Body::Sequence(all) => all.append(&mut values),
                    _ => return Err(MIXED),
                }
            }
            0x77 => match self.body {
                Body::Empty => self.body = Body::Value(value(section.rest())?),
                _ => return Err(MIXED),
            },
            0x78 => {}
            _ => return Err(Malformed("unknown section")),
        }
        Ok(())
    }
}

const MIXED: Malformed = Malformed("body sections that do not go together");

/// Several data sections are one body [3.2.6]. Grows in place: only the first join copies what is there.
fn concatenate(before: Bytes, data: &[u8]) -> Bytes {
    let mut joined = before.try_into_mut().unwrap_or_else(|shared| {
        let mut owned = BytesMut::with_capacity(2 * (shared.len() + data.len()));
        owned.extend_from_slice(&shared);
        owned
    });
    joined.extend_from_slice(data);
    joined.freeze()
}

fn header(mut fields: Fields<'_>) -> Result<Header, Malformed> {
    let durable = fields.boolean()?.unwrap_or(false);
    fields.raw()?;
    let ttl = fields.uint()?;
    fields.boolean()?;
    let delivery_count = fields.uint()?.unwrap_or(0);
    Ok(Header {
        durable,
        ttl,
        delivery_count,
    })
}

fn properties(message: &Bytes, mut fields: Fields<'_>) -> Result<MessageProperties, Malformed> {
    Ok(MessageProperties {
        message_id: fields.raw()?.map(value).transpose()?,
        user_id: fields.binary()?.map(|octets| message.slice_ref(octets)),
        to: fields.string()?.map(str::to_owned),
        subject: fields.string()?.map(str::to_owned),
        reply_to: fields.string()?.map(str::to_owned),
        correlation_id: fields.raw()?.map(value).transpose()?,
        content_type: fields.symbol()?.map(str::to_owned),
        content_encoding: fields.symbol()?.map(str::to_owned),
        absolute_expiry_time: fields.timestamp()?,
        creation_time: fields.timestamp()?,
        group_id: fields.string()?.map(str::to_owned),
        group_sequence: fields.uint()?,
        reply_to_group_id: fields.string()?.map(str::to_owned),
    })
}

/// A map whose values keep their types.
fn map(mut section: Reader<'_>) -> Result<Map, Malformed> {
    let mut entries = section.map()?;
    let mut map = Vec::new();
    while !entries.is_empty() {
        let key = value(entries.value()?)?;
        let entry = value(entries.value()?)?;
        match key {
            Value::String(key) => map.push((key, entry)),
            Value::Symbol(key) => map.push((key.into_inner(), entry)),
            _ => {}
        }
    }
    Ok(Map(map))
}

fn value(raw: &[u8]) -> Result<Value, Malformed> {
    serde_amqp::from_slice(raw).map_err(|_| Malformed("value of a wrong type"))
}
