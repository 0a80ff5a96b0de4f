//! Checks untrusted values: sizes that fit, counts that are real, depth that is bounded.
//!
//! `serde_amqp` recurses with its input and trusts counts, so nothing a peer sent reaches it before [`check`].

use super::{Malformed, primitive::Reader};

/// Compounds, arrays and descriptors nested deeper are refused. Each level is one stack frame here and several in
/// `serde_amqp`.
pub(crate) const MAX_DEPTH: u32 = 16;

/// Elements in one value, all levels together. A list of nulls takes an octet each on the wire and forty in memory.
pub(crate) const MAX_ELEMENTS: usize = 65_536;

/// Checks one value, all levels, and returns its length.
pub(crate) fn check(buf: &[u8]) -> Result<usize, Malformed> {
    Scan::new().check(buf)
}

/// The length of one value by its outermost sizes only.
pub(crate) fn skip(buf: &[u8]) -> Result<usize, Malformed> {
    let mut reader = Reader::new(buf);
    let mut code = reader.u8()?;
    let mut depth = MAX_DEPTH;
    while code == 0 {
        depth = depth.checked_sub(1).ok_or(Malformed("nested too deeply"))?;
        let descriptor = reader.u8()?;
        if descriptor == 0 {
            return Err(Malformed("a described descriptor"));
        }
        skip_data(&mut reader, descriptor)?;
        code = reader.u8()?;
    }
    skip_data(&mut reader, code)?;
    Ok(buf.len() - reader.rest().len())
}

fn skip_data(reader: &mut Reader<'_>, code: u8) -> Result<(), Malformed> {
    let len = match code >> 4 {
        0x4 => 0,
        0x5 => 1,
        0x6 => 2,
        0x7 => 4,
        0x8 => 8,
        0x9 => 16,
        0xa | 0xc | 0xe => reader.width(false)?,
        0xb | 0xd | 0xf => reader.width(true)?,
        _ => return Err(Malformed("unknown constructor")),
    };
    reader.take(len).map(|_| ())
}

/// A check whose element count goes on over several values.
pub(crate) struct Scan {
    left: usize,
}

impl Scan {
    pub(crate) fn new() -> Self {
        Self { left: MAX_ELEMENTS }
    }

    /// See [`check`].
    pub(crate) fn check(&mut self, buf: &[u8]) -> Result<usize, Malformed> {
        let mut reader = Reader::new(buf);
        self.value(&mut reader, MAX_DEPTH)?;
        Ok(buf.len() - reader.rest().len())
    }

    fn value(&mut self, reader: &mut Reader<'_>, depth: u32) -> Result<(), Malformed> {
        let code = self.constructor(reader, depth)?;
        self.data(reader, code, depth)
    }

    /// A constructor with its descriptors, if any [1.2].
    fn constructor(&mut self, reader: &mut Reader<'_>, mut depth: u32) -> Result<u8, Malformed> {
        loop {
            let code = reader.u8()?;
            if code != 0 {
                return Ok(code);
            }
            depth = deeper(depth)?;
            self.value(reader, depth)?;
        }
    }

    fn data(&mut self, reader: &mut Reader<'_>, code: u8, depth: u32) -> Result<(), Malformed> {
        self.left = self
            .left
            .checked_sub(1)
            .ok_or(Malformed("too many elements"))?;
        match code {
            0x40..=0x45
            | 0x50..=0x56
            | 0x60
            | 0x61
            | 0x70..=0x74
            | 0x80..=0x84
            | 0x94
            | 0x98
            | 0xa0
            | 0xa1
            | 0xa3
            | 0xb0
            | 0xb1
            | 0xb3 => skip_data(reader, code),
            0xc0 | 0xc1 | 0xd0 | 0xd1 => self.compound(reader, code, deeper(depth)?),
            0xe0 | 0xf0 => self.array(reader, code, deeper(depth)?),
            _ => Err(Malformed("unknown constructor")),
        }
    }

    fn compound(&mut self, reader: &mut Reader<'_>, code: u8, depth: u32) -> Result<(), Malformed> {
        let wide = code >= 0xd0;
        let size = reader.width(wide)?;
        let mut body = Reader::new(reader.take(size)?);
        let count = body.width(wide)?;
        if code & 1 == 1 && count % 2 == 1 {
            return Err(Malformed("a map with a key too many"));
        }
        for _ in 0..count {
            self.value(&mut body, depth)?;
        }
        if body.is_empty() {
            Ok(())
        } else {
            Err(Malformed("octets after the last element"))
        }
    }

    fn array(&mut self, reader: &mut Reader<'_>, code: u8, depth: u32) -> Result<(), Malformed> {
        let wide = code == 0xf0;
        let size = reader.width(wide)?;
        let mut body = Reader::new(reader.take(size)?);
        let count = body.width(wide)?;
        // An empty array need not name its elements' type.
        if count == 0 && body.is_empty() {
            return Ok(());
        }
        let element = self.constructor(&mut body, depth)?;
        for _ in 0..count {
            self.data(&mut body, element, depth)?;
        }
        if body.is_empty() {
            Ok(())
        } else {
            Err(Malformed("octets after the last element"))
        }
    }
}

fn deeper(depth: u32) -> Result<u32, Malformed> {
    depth.checked_sub(1).ok_or(Malformed("nested too deeply"))
}

/// The code of a symbolic descriptor.
pub(crate) fn descriptor_code(symbol: &[u8]) -> Option<u64> {
    Some(match symbol {
        b"amqp:open:list" => 0x10,
        b"amqp:begin:list" => 0x11,
        b"amqp:attach:list" => 0x12,
        b"amqp:flow:list" => 0x13,
        b"amqp:transfer:list" => 0x14,
        b"amqp:disposition:list" => 0x15,
        b"amqp:detach:list" => 0x16,
        b"amqp:end:list" => 0x17,
        b"amqp:close:list" => 0x18,
        b"amqp:error:list" => 0x1d,
        b"amqp:received:list" => 0x23,
        b"amqp:accepted:list" => 0x24,
        b"amqp:rejected:list" => 0x25,
        b"amqp:released:list" => 0x26,
        b"amqp:modified:list" => 0x27,
        b"amqp:sasl-mechanisms:list" => 0x40,
        b"amqp:sasl-init:list" => 0x41,
        b"amqp:sasl-challenge:list" => 0x42,
        b"amqp:sasl-response:list" => 0x43,
        b"amqp:sasl-outcome:list" => 0x44,
        b"amqp:header:list" => 0x70,
        b"amqp:delivery-annotations:map" => 0x71,
        b"amqp:message-annotations:map" => 0x72,
        b"amqp:properties:list" => 0x73,
        b"amqp:application-properties:map" => 0x74,
        b"amqp:data:binary" => 0x75,
        b"amqp:amqp-sequence:list" => 0x76,
        b"amqp:amqp-value:*" => 0x77,
        b"amqp:footer:map" => 0x78,
        _ => return None,
    })
}
