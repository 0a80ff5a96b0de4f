//! Frame headers [2.3] and protocol headers [2.2].

use bytes::{BufMut, BytesMut};

/// Frame type of AMQP frames.
pub(crate) const AMQP: u8 = 0;
/// Frame type of SASL frames [5.3.1].
pub(crate) const SASL: u8 = 1;
/// The smallest max-frame-size there is, and the limit before open [2.4.1].
pub(crate) const MIN_MAX_FRAME_SIZE: u32 = 512;

/// "AMQP", protocol id, version 1.0.0.
pub(crate) const AMQP_HEADER: [u8; 8] = *b"AMQP\x00\x01\x00\x00";
/// The same for the SASL layer [5.3].
pub(crate) const SASL_HEADER: [u8; 8] = *b"AMQP\x03\x01\x00\x00";

/// The header of a whole frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) size: usize,
    /// Where the body starts.
    pub(crate) body: usize,
    pub(crate) kind: u8,
    pub(crate) channel: u16,
}

/// What stands at the front of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Front {
    /// A frame, all of it.
    Whole(FrameHeader),
    /// Not a whole frame yet.
    Partial,
    /// Larger than agreed; known from the first four octets, before anything is buffered for it.
    TooLarge,
    /// Not a frame.
    Broken,
}

/// Looks at the front of `input` without taking anything.
pub(crate) fn peek(input: &[u8], max_frame_size: u32) -> Front {
    let Some(&[a, b, c, d]) = input.first_chunk::<4>() else {
        return Front::Partial;
    };
    let size = u32::from_be_bytes([a, b, c, d]);
    if size < 8 {
        return Front::Broken;
    }
    if size > max_frame_size {
        return Front::TooLarge;
    }
    let size = size as usize;
    let Some(&[_, _, _, _, doff, kind, high, low]) = input.first_chunk::<8>() else {
        return Front::Partial;
    };
    let body = usize::from(doff) * 4;
    if body < 8 || body > size {
        return Front::Broken;
    }
    if input.len() < size {
        return Front::Partial;
    }
    Front::Whole(FrameHeader {
        size,
        body,
        kind,
        channel: u16::from_be_bytes([high, low]),
    })
}

/// Writes a frame header whose size [`end`] fills in; returns where it is.
#[inline]
pub(crate) fn begin(out: &mut BytesMut, kind: u8, channel: u16) -> usize {
    let start = out.len();
    let [high, low] = channel.to_be_bytes();
    out.put_slice(&[0, 0, 0, 0, 2, kind, high, low]);
    start
}

/// Fills in the size of the frame that starts at `start` and ends here.
#[inline]
pub(crate) fn end(out: &mut BytesMut, start: usize) {
    // Callers keep frames below the peer's max-frame-size, which is 32 bits wide.
    let size = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&size.to_be_bytes());
}
