//! Octets in: headers and frames off the front of the input, each to its handler.

use std::time::Instant;

use bytes::{Buf, BytesMut};
use fe2o3_amqp_types::performatives::{Begin, Close, End};

use super::{Connection, Fault, State, handshake::MAX_SASL_FRAME};
use crate::{
    codec::{
        cold,
        frame::{self, FrameHeader, Front},
        hot::{self, Disposition, Flow},
        primitive::Reader,
    },
    error::{Error, condition},
    event::CloseReason,
};

impl<T> Connection<T> {
    /// Takes whole frames off the front of `input` and leaves the rest, at most one frame in part: unless
    /// [`wants_input`](Self::wants_input) has become false on the way. So call it as long as it takes something,
    /// again after events were polled and output was written, and after [`sasl_outcome`](Self::sasl_outcome) and
    /// [`open`](Self::open). A frame larger than allowed is refused as soon as its size is there.
    ///
    /// Messages are slices of `input`'s memory, not copies.
    pub fn handle_input(&mut self, now: Instant, input: &mut BytesMut) {
        self.timers.heard(now, input.len());
        while self.wants_input() && self.step(input) {}
        if self.state == State::Closed {
            input.clear();
        }
        self.timers.left_over(input.len());
    }

    /// Takes one header or frame; false if there is none.
    fn step(&mut self, input: &mut BytesMut) -> bool {
        if input.is_empty() {
            return false;
        }
        let max_frame_size = match self.state {
            State::FirstHeader | State::AmqpHeader => return self.header(input),
            State::SaslInit | State::SaslMechanisms | State::SaslOutcome => MAX_SASL_FRAME,
            _ => self.config.max_frame_size,
        };
        match frame::peek(input, max_frame_size) {
            Front::Whole(header) => {
                self.frame(header, input);
                true
            }
            Front::Partial => false,
            front => {
                let text = if front == Front::TooLarge {
                    "frame larger than agreed"
                } else {
                    "not a frame"
                };
                self.violate(Error::new(condition::FRAMING_ERROR, text));
                // There is no finding the next frame, not even the peer's close.
                self.state = State::Closed;
                true
            }
        }
    }

    fn frame(&mut self, header: FrameHeader, input: &mut BytesMut) {
        let sasl = matches!(
            self.state,
            State::SaslInit | State::SaslMechanisms | State::SaslOutcome
        );
        let body = &input[header.body..header.size];
        let code = if body.is_empty() {
            None
        } else {
            Some(Reader::new(body).descriptor())
        };
        let result = match code {
            _ if header.kind != if sasl { frame::SASL } else { frame::AMQP } => Err(
                Fault::connection(condition::FRAMING_ERROR, "frame of another type"),
            ),
            // A heartbeat [2.4.5].
            None => Ok(()),
            Some(Err(malformed)) => Err(malformed.into()),
            Some(Ok(hot::TRANSFER)) if self.state == State::Running => {
                let frame = input.split_to(header.size).freeze();
                let result = self.on_transfer(header.channel, &frame.slice(header.body..));
                return self.fault(result);
            }
            Some(Ok(code)) if sasl => self.on_sasl(code, body),
            Some(Ok(code)) => self.on_frame(header.channel, code, body),
        };
        input.advance(header.size);
        self.fault(result);
    }

    #[inline]
    fn fault(&mut self, result: Result<(), Fault>) {
        match result {
            Ok(()) => {}
            // Nothing but the peer's close is of interest any more.
            Err(_) if self.state == State::CloseSent => {}
            Err(Fault::Connection(error)) => self.violate(error),
            Err(Fault::Session(index, error)) => self.fail_session(index, error),
            Err(Fault::Link(index, error)) => self.fail_link(index, error),
        }
    }

    fn on_frame(&mut self, channel: u16, code: u64, body: &[u8]) -> Result<(), Fault> {
        match (self.state, code) {
            (State::Running | State::PeerOpen | State::CloseSent, 0x18) => {
                self.on_close(cold::decode(body)?);
                Ok(())
            }
            (State::CloseSent, _) => Ok(()),
            (State::PeerOpen, 0x10) => self.on_open(cold::decode(body)?),
            (State::Running, _) => self.on_session_frame(channel, code, body),
            _ => Err(Fault::connection(condition::NOT_ALLOWED, "open expected")),
        }
    }

    fn on_session_frame(&mut self, channel: u16, code: u64, body: &[u8]) -> Result<(), Fault> {
        if code == 0x11 {
            return self.on_begin(channel, &cold::decode::<Begin>(body)?);
        }
        let session = self.session_of(channel)?;
        if code == 0x17 {
            self.on_end(session, cold::decode::<End>(body)?);
            return Ok(());
        }
        // After our end only the peer's matters [2.5.5].
        if self
            .sessions
            .get(session)
            .is_none_or(super::Session::is_ending)
        {
            return Ok(());
        }
        match code {
            hot::DISPOSITION => {
                let mut reader = Reader::new(body);
                reader.descriptor()?;
                self.on_disposition(session, Disposition::decode(reader.fields()?)?)
            }
            hot::FLOW => {
                let mut reader = Reader::new(body);
                reader.descriptor()?;
                self.on_flow(session, &Flow::decode(reader.fields()?)?)
            }
            0x12 => self.on_attach(session, Box::new(cold::decode(body)?)),
            0x16 => self.on_detach(session, cold::decode(body)?),
            _ => Err(Fault::connection(
                condition::NOT_ALLOWED,
                "frame out of turn",
            )),
        }
    }

    /// The session the peer means by its channel.
    #[inline]
    pub(super) fn session_of(&self, channel: u16) -> Result<u32, Fault> {
        self.channels
            .get(usize::from(channel))
            .copied()
            .flatten()
            .ok_or_else(|| Fault::connection(condition::NOT_ALLOWED, "no session on this channel"))
    }

    fn on_close(&mut self, close: Close) {
        let error = close.error.map(cold::error_in);
        if self.state == State::CloseSent {
            // After our close the peer's is the answer, unless the two crossed.
            let reason = if error.is_some() {
                CloseReason::Remote
            } else {
                CloseReason::Local
            };
            return self.finish(error, reason);
        }
        self.lose_everything();
        self.send_close(None);
        self.finish(error, CloseReason::Remote);
    }
}
