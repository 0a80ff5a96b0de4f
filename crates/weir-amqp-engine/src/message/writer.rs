//! Messages out, by hand.

use bytes::{BufMut, BytesMut};
use serde_amqp::Value;

use crate::codec::primitive::{
    Compound, put_binary, put_boolean, put_string, put_symbol, put_uint,
};

/// Writes the sections of one message, each at most once and in the order of the methods here [3.2].
///
/// ```
/// # use weir_amqp_engine::{MessageWriter, Properties};
/// # let out = &mut bytes::BytesMut::new();
/// MessageWriter::new(out)
///     .header(true, Some(10_000))
///     .properties(&Properties { to: Some("event/acme"), ..Properties::default() })
///     .application_properties(|map| {
///         map.string("device_id", "4711").int("qos", 1);
///     })
///     .data(b"21.5");
/// ```
#[derive(Debug)]
pub struct MessageWriter<'a> {
    out: &'a mut BytesMut,
}

/// The header section of an outgoing message [3.2.1]. What has its default is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutgoingHeader {
    /// Must not be lost.
    pub durable: bool,
    /// Milliseconds to live.
    pub ttl: Option<u32>,
    /// Whether nobody can have acquired the message before; `false` says nothing.
    pub first_acquirer: bool,
    /// Unsuccessful attempts before this one.
    pub delivery_count: u32,
}

/// The properties section of an outgoing message [3.2.4]. What is `None` is left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Properties<'a> {
    /// Unique in the sender's eyes.
    pub message_id: Option<&'a str>,
    /// Who produced it.
    pub user_id: Option<&'a [u8]>,
    /// The node it is for.
    pub to: Option<&'a str>,
    /// What it is about.
    pub subject: Option<&'a str>,
    /// Where answers go.
    pub reply_to: Option<&'a str>,
    /// What it answers.
    pub correlation_id: Option<&'a str>,
    /// The body's MIME type; a symbol.
    pub content_type: Option<&'a str>,
    /// How the body is encoded; a symbol.
    pub content_encoding: Option<&'a str>,
    /// Milliseconds since the epoch.
    pub absolute_expiry_time: Option<i64>,
    /// Milliseconds since the epoch.
    pub creation_time: Option<i64>,
    /// The group it belongs to.
    pub group_id: Option<&'a str>,
    /// Its place in the group.
    pub group_sequence: Option<u32>,
    /// The group answers belong to.
    pub reply_to_group_id: Option<&'a str>,
}

impl<'a> MessageWriter<'a> {
    /// Appends to `out`.
    pub fn new(out: &'a mut BytesMut) -> Self {
        Self { out }
    }

    /// The header [3.2.1] of a message's first attempt; `ttl` in milliseconds.
    #[inline]
    pub fn header(&mut self, durable: bool, ttl: Option<u32>) -> &mut Self {
        self.header_with(&OutgoingHeader {
            durable,
            ttl,
            ..OutgoingHeader::default()
        })
    }

    /// The header [3.2.1].
    pub fn header_with(&mut self, header: &OutgoingHeader) -> &mut Self {
        self.out.put_slice(&[0, 0x53, 0x70, 0xc0, 0, 0]);
        let start = self.out.len();
        let mut fields = FieldWriter::new(self.out);
        fields.put(Some(header.durable), put_boolean);
        // The priority.
        fields.nulls += 1;
        fields.put(header.ttl, put_uint);
        fields.put(header.first_acquirer.then_some(true), put_boolean);
        let count = Some(header.delivery_count).filter(|count| *count > 0);
        fields.put(count, put_uint);
        let count = fields.count;
        // At most five fields in 13 octets.
        self.out[start - 2] = (self.out.len() - start + 1) as u8;
        self.out[start - 1] = count as u8;
        self
    }

    /// Message annotations [3.2.3]; keys are symbols.
    pub fn annotations(&mut self, fill: impl FnOnce(&mut MapWriter<'_>)) -> &mut Self {
        self.section(0x72, Key::Symbol, fill)
    }

    /// The properties [3.2.4].
    pub fn properties(&mut self, properties: &Properties<'_>) -> &mut Self {
        self.out.put_slice(&[0, 0x53, 0x73]);
        let list = Compound::begin(self.out, 0xd0);
        let mut fields = FieldWriter::new(self.out);
        fields.text(properties.message_id, put_string);
        fields.put(properties.user_id, put_binary);
        fields.text(properties.to, put_string);
        fields.text(properties.subject, put_string);
        fields.text(properties.reply_to, put_string);
        fields.text(properties.correlation_id, put_string);
        fields.text(properties.content_type, put_symbol);
        fields.text(properties.content_encoding, put_symbol);
        fields.put(properties.absolute_expiry_time, put_timestamp);
        fields.put(properties.creation_time, put_timestamp);
        fields.text(properties.group_id, put_string);
        fields.put(properties.group_sequence, put_uint);
        fields.text(properties.reply_to_group_id, put_string);
        let count = fields.count;
        list.end(self.out, count);
        self
    }

    /// Application properties [3.2.5]; keys are strings.
    pub fn application_properties(&mut self, fill: impl FnOnce(&mut MapWriter<'_>)) -> &mut Self {
        self.section(0x74, Key::String, fill)
    }

    /// A data section [3.2.6].
    pub fn data(&mut self, data: &[u8]) -> &mut Self {
        self.out.put_slice(&[0, 0x53, 0x75]);
        put_binary(self.out, data);
        self
    }

    /// An amqp-value section [3.2.8].
    pub fn value(&mut self, value: &Value) -> &mut Self {
        self.out.put_slice(&[0, 0x53, 0x77]);
        put_value(self.out, value);
        self
    }

    fn section(&mut self, code: u8, key: Key, fill: impl FnOnce(&mut MapWriter<'_>)) -> &mut Self {
        self.out.put_slice(&[0, 0x53, code]);
        put_map(self.out, key, fill);
        self
    }
}

/// Fields of a list; nulls at the end are left out.
struct FieldWriter<'a> {
    out: &'a mut BytesMut,
    nulls: u32,
    count: u32,
}

impl<'a> FieldWriter<'a> {
    #[inline]
    fn new(out: &'a mut BytesMut) -> Self {
        Self {
            out,
            nulls: 0,
            count: 0,
        }
    }

    #[inline]
    fn put<V>(&mut self, value: Option<V>, put: impl FnOnce(&mut BytesMut, V)) {
        let Some(value) = value else {
            self.nulls += 1;
            return;
        };
        self.out.put_bytes(0x40, self.nulls as usize);
        put(self.out, value);
        self.count += self.nulls + 1;
        self.nulls = 0;
    }

    #[inline]
    fn text(&mut self, value: Option<&str>, put: fn(&mut BytesMut, &str)) {
        self.put(value, put);
    }
}

#[derive(Clone, Copy, Debug)]
enum Key {
    String,
    Symbol,
}

/// Writes the entries of one map. Keys are as the section wants them; in nested maps they are strings.
#[derive(Debug)]
pub struct MapWriter<'a> {
    out: &'a mut BytesMut,
    key: Key,
    count: u32,
}

impl MapWriter<'_> {
    /// A string.
    pub fn string(&mut self, key: &str, value: &str) -> &mut Self {
        self.entry(key, |out| put_string(out, value))
    }

    /// A symbol.
    pub fn symbol(&mut self, key: &str, value: &str) -> &mut Self {
        self.entry(key, |out| put_symbol(out, value))
    }

    /// A binary.
    pub fn binary(&mut self, key: &str, value: &[u8]) -> &mut Self {
        self.entry(key, |out| put_binary(out, value))
    }

    /// A boolean.
    pub fn boolean(&mut self, key: &str, value: bool) -> &mut Self {
        self.entry(key, |out| put_boolean(out, value))
    }

    /// An int.
    pub fn int(&mut self, key: &str, value: i32) -> &mut Self {
        self.entry(key, |out| match i8::try_from(value) {
            Ok(small) => out.put_slice(&[0x54, small.cast_unsigned()]),
            Err(_) => {
                out.put_u8(0x71);
                out.put_i32(value);
            }
        })
    }

    /// A long.
    pub fn long(&mut self, key: &str, value: i64) -> &mut Self {
        self.entry(key, |out| match i8::try_from(value) {
            Ok(small) => out.put_slice(&[0x55, small.cast_unsigned()]),
            Err(_) => {
                out.put_u8(0x81);
                out.put_i64(value);
            }
        })
    }

    /// A double.
    pub fn double(&mut self, key: &str, value: f64) -> &mut Self {
        self.entry(key, |out| {
            out.put_u8(0x82);
            out.put_f64(value);
        })
    }

    /// A timestamp, milliseconds since the epoch.
    pub fn timestamp(&mut self, key: &str, value: i64) -> &mut Self {
        self.entry(key, |out| put_timestamp(out, value))
    }

    /// Any value as it is, for properties that are passed on. Slower than the others.
    pub fn value(&mut self, key: &str, value: &Value) -> &mut Self {
        self.entry(key, |out| put_value(out, value))
    }

    /// A map with string keys.
    pub fn map(&mut self, key: &str, fill: impl FnOnce(&mut MapWriter<'_>)) -> &mut Self {
        self.entry(key, |out| put_map(out, Key::String, fill))
    }

    #[inline]
    fn entry(&mut self, key: &str, value: impl FnOnce(&mut BytesMut)) -> &mut Self {
        match self.key {
            Key::String => put_string(self.out, key),
            Key::Symbol => put_symbol(self.out, key),
        }
        value(self.out);
        self.count += 2;
        self
    }
}

#[inline]
fn put_map(out: &mut BytesMut, key: Key, fill: impl FnOnce(&mut MapWriter<'_>)) {
    let map = Compound::begin(out, 0xd1);
    let mut writer = MapWriter { out, key, count: 0 };
    fill(&mut writer);
    let count = writer.count;
    map.end(out, count);
}

fn put_timestamp(out: &mut BytesMut, value: i64) {
    out.put_u8(0x83);
    out.put_i64(value);
}

fn put_value(out: &mut BytesMut, value: &Value) {
    match serde_amqp::to_vec(value) {
        Ok(encoded) => out.put_slice(&encoded),
        // A value that cannot be written (an array of mixed types) becomes null: the message stays well-formed.
        Err(_) => out.put_u8(0x40),
    }
}
