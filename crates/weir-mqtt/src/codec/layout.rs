//! What a packet says of its own parts, walked over before the decoder sees it.
//!
//! The decoder calls whatever it does not take malformed. Version 5 tells apart what cannot be read
//! from what can be read and may not be said, a protocol error (§1.2). The former is left to the
//! decoder; the latter is found here: properties that come twice or have a value that they may not
//! have, and subscription options that mean nothing.

use std::ops::Range;

use super::{Violation, aliases};

/// Packet types, the upper half of the first byte (MQTT 5 §2.1.2).
const PUBLISH: u8 = 3;
const PUBACK: u8 = 4;
const PUBCOMP: u8 = 7;
const SUBSCRIBE: u8 = 8;
const UNSUBSCRIBE: u8 = 10;
const DISCONNECT: u8 = 14;

/// Property identifiers (MQTT 5 §2.2.2.2).
mod property {
    pub(super) const PAYLOAD_FORMAT: u8 = 0x01;
    pub(super) const MESSAGE_EXPIRY: u8 = 0x02;
    pub(super) const CONTENT_TYPE: u8 = 0x03;
    pub(super) const RESPONSE_TOPIC: u8 = 0x08;
    pub(super) const CORRELATION_DATA: u8 = 0x09;
    pub(super) const SUBSCRIPTION_ID: u8 = 0x0b;
    pub(super) const SESSION_EXPIRY: u8 = 0x11;
    pub(super) const AUTH_METHOD: u8 = 0x15;
    pub(super) const AUTH_DATA: u8 = 0x16;
    pub(super) const PROBLEM_INFORMATION: u8 = 0x17;
    pub(super) const WILL_DELAY: u8 = 0x18;
    pub(super) const RESPONSE_INFORMATION: u8 = 0x19;
    pub(super) const SERVER_REFERENCE: u8 = 0x1c;
    pub(super) const REASON_STRING: u8 = 0x1f;
    pub(super) const RECEIVE_MAXIMUM: u8 = 0x21;
    pub(super) const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    pub(super) const TOPIC_ALIAS: u8 = 0x23;
    pub(super) const USER: u8 = 0x26;
    pub(super) const MAXIMUM_PACKET_SIZE: u8 = 0x27;
}

const TWICE: Violation = Violation::protocol("a property that comes twice");
const VALUE: Violation = Violation::protocol("a property with a value that it may not have");
const OPTIONS: Violation = Violation::protocol("subscription options that mean nothing");

/// Walks over a packet of version 5 that begins with the byte `first`.
pub(super) fn check(first: u8, body: &mut [u8]) -> Result<(), Violation> {
    let Some((properties, rest)) = sections(first, body) else {
        return Ok(());
    };
    if first >> 4 == SUBSCRIBE {
        options(&body[rest])?;
    }
    check_properties(&mut body[properties])
}

/// Where the properties of a packet are, and what follows them; `None` if there are none.
fn sections(first: u8, body: &[u8]) -> Option<(Range<usize>, Range<usize>)> {
    let mut rest = Rest::new(body);
    match first >> 4 {
        PUBLISH => {
            rest.field()?;
            if first & 0x06 != 0 {
                rest.take(2)?;
            }
        }
        PUBACK..=PUBCOMP => {
            rest.take(3)?;
        }
        SUBSCRIBE | UNSUBSCRIBE => {
            rest.take(2)?;
        }
        DISCONNECT => {
            rest.take(1)?;
        }
        _ => return None,
    }
    let properties = rest.properties()?;
    Some((properties, rest.at..body.len()))
}

/// Filters, each with a byte of options. Neither a quality nor a way with retained messages may be 3
/// (MQTT 5 §3.8.3.1).
fn options(filters: &[u8]) -> Result<(), Violation> {
    let mut rest = Rest::new(filters);
    while let Some(_filter) = rest.field()
        && let Some(options) = rest.byte()
    {
        if options & 0x03 == 0x03 || options & 0x30 == 0x30 {
            return Err(OPTIONS);
        }
    }
    Ok(())
}

/// Walks over properties.
///
/// A Message Expiry Interval of 0, which the decoder does not take, is made one of a second: both say
/// that the message is of use now or never.
pub(super) fn check_properties(properties: &mut [u8]) -> Result<(), Violation> {
    let mut seen: u64 = 0;
    let mut rest = Rest::new(properties);
    let mut no_expiry = None;
    while let Some(id) = rest.byte() {
        let Some(value) = rest.value(id) else {
            return Ok(());
        };
        let bit = 1 << (id & 0x3f);
        if seen & bit != 0 && id != property::USER {
            return Err(TWICE);
        }
        seen |= bit;
        let is_zero = properties[value.clone()].iter().all(|&byte| byte == 0);
        match id {
            property::PAYLOAD_FORMAT
            | property::PROBLEM_INFORMATION
            | property::RESPONSE_INFORMATION
                if properties[value.start] > 1 =>
            {
                return Err(VALUE);
            }
            property::SUBSCRIPTION_ID
            | property::RECEIVE_MAXIMUM
            | property::MAXIMUM_PACKET_SIZE
                if is_zero =>
            {
                return Err(VALUE);
            }
            property::TOPIC_ALIAS if is_zero => return Err(aliases::OUT_OF_RANGE),
            property::MESSAGE_EXPIRY if is_zero => no_expiry = value.last(),
            _ => {}
        }
    }
    if let Some(last) = no_expiry {
        properties[last] = 1;
    }
    Ok(())
}

/// What has not been walked over yet: what follows `at`.
pub(super) struct Rest<'a> {
    whole: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Rest<'a> {
    pub(super) fn new(whole: &'a [u8]) -> Self {
        Self { whole, at: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.at == self.whole.len()
    }

    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length)?;
        let taken = self.whole.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|byte| byte[0])
    }

    /// A string or binary data with its length in front.
    pub(super) fn field(&mut self) -> Option<&'a [u8]> {
        let length = u16::from_be_bytes(self.take(2)?.try_into().ok()?);
        self.take(length.into())
    }

    /// Seven bits to the byte, the lowest first (MQTT 5 §1.5.5).
    fn number(&mut self) -> Option<usize> {
        let mut number = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            number |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    /// Where properties are that have their length in front (MQTT 5 §2.2.2).
    pub(super) fn properties(&mut self) -> Option<Range<usize>> {
        let length = self.number()?;
        let start = self.at;
        self.take(length)?;
        Some(start..self.at)
    }

    /// Where the value of the property `id` is; `None` if there is no such property, or not all of it.
    fn value(&mut self, id: u8) -> Option<Range<usize>> {
        let start = self.at;
        match id {
            property::PAYLOAD_FORMAT
            | property::PROBLEM_INFORMATION
            | property::RESPONSE_INFORMATION => {
                self.take(1)?;
            }
            property::RECEIVE_MAXIMUM | property::TOPIC_ALIAS_MAXIMUM | property::TOPIC_ALIAS => {
                self.take(2)?;
            }
            property::MESSAGE_EXPIRY
            | property::SESSION_EXPIRY
            | property::WILL_DELAY
            | property::MAXIMUM_PACKET_SIZE => {
                self.take(4)?;
            }
            property::SUBSCRIPTION_ID => {
                self.number()?;
            }
            property::CONTENT_TYPE
            | property::RESPONSE_TOPIC
            | property::CORRELATION_DATA
            | property::AUTH_METHOD
            | property::AUTH_DATA
            | property::SERVER_REFERENCE
            | property::REASON_STRING => {
                self.field()?;
            }
            property::USER => {
                self.field()?;
                self.field()?;
            }
            _ => return None,
        }
        Some(start..self.at)
    }
}
