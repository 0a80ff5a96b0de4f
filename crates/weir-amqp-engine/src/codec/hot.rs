//! The frames of the message path: transfer [2.7.5], disposition [2.7.6] and flow [2.7.4], with the delivery states
//! they carry [3.4]. Straight from and into one buffer, nothing allocated but a rejection's texts.

use bytes::{BufMut, BytesMut};

use super::{
    Malformed, frame,
    primitive::{Fields, Reader, put_boolean, put_list8, put_string, put_symbol, put_uint},
};
use crate::{event::Outcome, serial::Serial};

pub(crate) const FLOW: u64 = 0x13;
pub(crate) const TRANSFER: u64 = 0x14;
pub(crate) const DISPOSITION: u64 = 0x15;

/// A rejection's texts are kept per delivery and a range settles many: longer ones are cut.
const MAX_CONDITION: usize = 256;
const MAX_DESCRIPTION: usize = 1024;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Transfer {
    pub(crate) handle: u32,
    pub(crate) delivery_id: Option<u32>,
    pub(crate) settled: bool,
    pub(crate) more: bool,
    pub(crate) resume: bool,
    pub(crate) aborted: bool,
}

impl Transfer {
    pub(crate) fn decode(mut fields: Fields<'_>) -> Result<Self, Malformed> {
        let handle = fields
            .uint()?
            .ok_or(Malformed("transfer without a handle"))?;
        let delivery_id = fields.uint()?;
        fields.binary()?;
        fields.uint()?;
        let settled = fields.boolean()?.unwrap_or(false);
        let more = fields.boolean()?.unwrap_or(false);
        fields.raw()?;
        fields.raw()?;
        let resume = fields.boolean()?.unwrap_or(false);
        let aborted = fields.boolean()?.unwrap_or(false);
        Ok(Self {
            handle,
            delivery_id,
            settled,
            more,
            resume,
            aborted,
        })
    }
}

/// What a transfer of ours says. The delivery-tag is the delivery-id: unique per session, hence per link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TransferOut {
    pub(crate) channel: u16,
    pub(crate) handle: u32,
    pub(crate) delivery_id: Serial,
    pub(crate) settled: bool,
    pub(crate) more: bool,
    /// Continuations need not repeat id, tag and format.
    pub(crate) first: bool,
    pub(crate) aborted: bool,
}

/// Octets of a transfer frame before its payload, at most.
pub(crate) const TRANSFER_OVERHEAD: usize = 40;

/// Opens a transfer frame; the payload and [`frame::end`] follow.
#[inline]
pub(crate) fn begin_transfer(out: &mut BytesMut, transfer: TransferOut) -> usize {
    out.reserve(TRANSFER_OVERHEAD);
    let start = frame::begin(out, frame::AMQP, transfer.channel);
    out.put_slice(&[0, 0x53, TRANSFER as u8]);
    put_list8(out, |out| {
        put_uint(out, transfer.handle);
        if transfer.first {
            put_uint(out, transfer.delivery_id.0);
            // The tag is the delivery-id in septets. Any octets are legal, but Qpid Proton for
            // Python reads tags as UTF-8, which plain octets from 0x80 on are not.
            let septet = |shift: u32| (transfer.delivery_id.0 >> shift) as u8 & 0x7f;
            let [a, b, c, d, e] = [28, 21, 14, 7, 0].map(septet);
            out.put_slice(&[0xa0, 5, a, b, c, d, e, 0x43]);
        } else {
            out.put_slice(&[0x40, 0x40, 0x40]);
        }
        put_boolean(out, transfer.settled);
        put_boolean(out, transfer.more);
        if !transfer.aborted {
            return 6;
        }
        out.put_slice(&[0x40, 0x40, 0x40, 0x41]);
        10
    });
    start
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Disposition<'a> {
    /// The peer speaks as the receiver: about deliveries of ours.
    pub(crate) from_receiver: bool,
    pub(crate) first: Serial,
    pub(crate) last: Serial,
    pub(crate) settled: bool,
    pub(crate) state: Option<&'a [u8]>,
}

impl<'a> Disposition<'a> {
    #[inline]
    pub(crate) fn decode(mut fields: Fields<'a>) -> Result<Self, Malformed> {
        let from_receiver = fields
            .boolean()?
            .ok_or(Malformed("disposition without a role"))?;
        let first = fields
            .uint()?
            .ok_or(Malformed("disposition without first"))?;
        let last = fields.uint()?.unwrap_or(first);
        let settled = fields.boolean()?.unwrap_or(false);
        let state = fields.raw()?;
        Ok(Self {
            from_receiver,
            first: Serial(first),
            last: Serial(last),
            settled,
            state,
        })
    }
}

/// A terminal outcome, or `None` for `received` and for states this engine does not know.
#[inline]
pub(crate) fn decode_outcome(state: &[u8]) -> Result<Option<Outcome>, Malformed> {
    let mut reader = Reader::new(state);
    // A state with an unknown symbol is still well-formed.
    let Ok(code) = reader.descriptor() else {
        return Ok(None);
    };
    Ok(Some(match code {
        0x24 => Outcome::Accepted,
        0x25 => decode_rejected(reader.fields()?)?,
        0x26 => Outcome::Released,
        0x27 => {
            let mut fields = reader.fields()?;
            let delivery_failed = fields.boolean()?.unwrap_or(false);
            let undeliverable_here = fields.boolean()?.unwrap_or(false);
            Outcome::Modified {
                delivery_failed,
                undeliverable_here,
            }
        }
        _ => return Ok(None),
    }))
}

fn decode_rejected(mut fields: Fields<'_>) -> Result<Outcome, Malformed> {
    let Some(error) = fields.raw()? else {
        return Ok(Outcome::Rejected {
            condition: None,
            description: None,
        });
    };
    let mut reader = Reader::new(error);
    if reader.descriptor()? != 0x1d {
        return Err(Malformed("an error expected in rejected"));
    }
    let mut fields = reader.fields()?;
    let condition = fields.symbol()?.map(|text| cut(text, MAX_CONDITION));
    let description = fields.string()?.map(|text| cut(text, MAX_DESCRIPTION));
    Ok(Outcome::Rejected {
        condition: condition.map(str::to_owned),
        description: description.map(str::to_owned),
    })
}

/// The longest prefix of at most `max` octets that ends between characters.
pub(crate) fn cut(text: &str, max: usize) -> &str {
    if text.len() <= max {
        return text;
    }
    let end = (0..=max)
        .rev()
        .find(|&i| text.is_char_boundary(i))
        .unwrap_or(0);
    &text[..end]
}

/// Writes an outcome as a delivery state. Those that are only reported go out as released: the peer keeps the
/// message, which is the one claim that is never wrong.
pub(crate) fn put_outcome(out: &mut BytesMut, outcome: &Outcome) {
    match outcome {
        Outcome::Accepted => out.put_slice(&[0, 0x53, 0x24, 0x45]),
        Outcome::Rejected {
            condition: None,
            description: None,
        } => out.put_slice(&[0, 0x53, 0x25, 0x45]),
        Outcome::Rejected {
            condition,
            description,
        } => put_rejected(out, condition.as_deref(), description.as_deref()),
        Outcome::Modified {
            delivery_failed,
            undeliverable_here,
        } => {
            out.put_slice(&[0, 0x53, 0x27, 0xc0, 3, 2]);
            put_boolean(out, *delivery_failed);
            put_boolean(out, *undeliverable_here);
        }
        Outcome::Released | Outcome::Unknown | Outcome::TimedOut | Outcome::LinkLost => {
            out.put_slice(&[0, 0x53, 0x26, 0x45]);
        }
    }
}

fn put_rejected(out: &mut BytesMut, condition: Option<&str>, description: Option<&str>) {
    // The frame must fit 512 octets, which every peer takes; nothing can be learnt from more text than this.
    let condition = cut(condition.unwrap_or("amqp:internal-error"), 100);
    let description = description.map(|text| cut(text, 140));
    out.put_slice(&[0, 0x53, 0x25]);
    put_list8(out, |out| {
        out.put_slice(&[0, 0x53, 0x1d]);
        put_list8(out, |out| {
            put_symbol(out, condition);
            let Some(text) = description else { return 1 };
            put_string(out, text);
            2
        });
        1
    });
}

/// What a disposition of ours says beside the outcome.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DispositionOut {
    /// Which end we are.
    pub(crate) as_receiver: bool,
    pub(crate) settled: bool,
    /// First and last.
    pub(crate) range: (Serial, Serial),
}

pub(crate) fn put_disposition(
    out: &mut BytesMut,
    channel: u16,
    disposition: DispositionOut,
    outcome: &Outcome,
) {
    let (first, last) = disposition.range;
    let start = frame::begin(out, frame::AMQP, channel);
    out.put_slice(&[0, 0x53, DISPOSITION as u8, 0xd0]);
    let list = out.len();
    out.put_u64(0);
    put_boolean(out, disposition.as_receiver);
    put_uint(out, first.0);
    if first == last {
        out.put_u8(0x40);
    } else {
        put_uint(out, last.0);
    }
    put_boolean(out, disposition.settled);
    put_outcome(out, outcome);
    let size = (out.len() - list - 4) as u32;
    out[list..list + 4].copy_from_slice(&size.to_be_bytes());
    out[list + 4..list + 8].copy_from_slice(&5_u32.to_be_bytes());
    frame::end(out, start);
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flow {
    pub(crate) next_incoming_id: Option<u32>,
    pub(crate) incoming_window: u32,
    pub(crate) next_outgoing_id: u32,
    pub(crate) outgoing_window: u32,
    pub(crate) link: Option<LinkFlow>,
    pub(crate) echo: bool,
}

/// A flow's fields about one link.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LinkFlow {
    pub(crate) handle: u32,
    pub(crate) delivery_count: Option<u32>,
    pub(crate) link_credit: Option<u32>,
    pub(crate) available: Option<u32>,
    pub(crate) drain: bool,
}

impl Flow {
    #[inline]
    pub(crate) fn decode(mut fields: Fields<'_>) -> Result<Self, Malformed> {
        let next_incoming_id = fields.uint()?;
        let incoming_window = fields
            .uint()?
            .ok_or(Malformed("flow without incoming-window"))?;
        let next_outgoing_id = fields
            .uint()?
            .ok_or(Malformed("flow without next-outgoing-id"))?;
        let outgoing_window = fields
            .uint()?
            .ok_or(Malformed("flow without outgoing-window"))?;
        let handle = fields.uint()?;
        let delivery_count = fields.uint()?;
        let link_credit = fields.uint()?;
        let available = fields.uint()?;
        let drain = fields.boolean()?.unwrap_or(false);
        let echo = fields.boolean()?.unwrap_or(false);
        let link = handle.map(|handle| LinkFlow {
            handle,
            delivery_count,
            link_credit,
            available,
            drain,
        });
        Ok(Self {
            next_incoming_id,
            incoming_window,
            next_outgoing_id,
            outgoing_window,
            link,
            echo,
        })
    }
}

pub(crate) fn put_flow(out: &mut BytesMut, channel: u16, flow: &Flow) {
    let start = frame::begin(out, frame::AMQP, channel);
    out.put_slice(&[0, 0x53, FLOW as u8]);
    put_list8(out, |out| {
        put_optional_uint(out, flow.next_incoming_id);
        put_uint(out, flow.incoming_window);
        put_uint(out, flow.next_outgoing_id);
        put_uint(out, flow.outgoing_window);
        let Some(link) = flow.link else { return 4 };
        put_uint(out, link.handle);
        put_optional_uint(out, link.delivery_count);
        put_optional_uint(out, link.link_credit);
        put_optional_uint(out, link.available);
        put_boolean(out, link.drain);
        9
    });
    frame::end(out, start);
}

fn put_optional_uint(out: &mut BytesMut, value: Option<u32>) {
    match value {
        Some(value) => put_uint(out, value),
        None => out.put_u8(0x40),
    }
}
