//! From the first octet to both opens: protocol headers [2.2], SASL [5.3], open [2.4.1].

use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use fe2o3_amqp_types::{
    performatives::Open,
    sasl::{SaslInit, SaslMechanisms, SaslOutcome},
};
use serde_amqp::primitives::{Array, Binary, Symbol};

use super::{Connection, Fault, State, timers::MIN_PEER_IDLE};
use crate::{
    codec::{cold, frame},
    config::ClientSasl,
    error::{Error, condition},
    event::{CloseReason, Event, SaslCode},
};

/// Frames before open. The specification says 512 octets, but tokens travel as PLAIN passwords, too.
pub(super) const MAX_SASL_FRAME: u32 = 8192;

impl<T> Connection<T> {
    pub(super) fn start_client(&mut self) {
        match self.sasl.as_ref().and_then(ClientSasl::mechanism) {
            Some(_) => self.output.put_slice(&frame::SASL_HEADER),
            None => {
                self.output.put_slice(&frame::AMQP_HEADER);
                self.write_open();
            }
        }
    }

    /// Takes a protocol header; false as long as it is not whole. Wrong octets are answered as soon as they come.
    pub(super) fn header(&mut self, input: &mut BytesMut) -> bool {
        let with_sasl = self.state == State::FirstHeader
            && match &self.sasl {
                Some(sasl) => sasl.mechanism().is_some(),
                None => !self.config.sasl_mechanisms.is_empty(),
            };
        let expected = if with_sasl {
            frame::SASL_HEADER
        } else {
            frame::AMQP_HEADER
        };
        let len = input.len().min(expected.len());
        if input[..len] != expected[..len] {
            self.wrong_header(expected);
            return true;
        }
        if len < expected.len() {
            return false;
        }
        input.advance(expected.len());
        match (self.sasl.is_some(), with_sasl) {
            (true, true) => self.state = State::SaslMechanisms,
            (true, false) => self.state = State::PeerOpen,
            (false, true) => self.offer_sasl(),
            (false, false) => {
                self.output.put_slice(&frame::AMQP_HEADER);
                self.state = State::PeerOpen;
            }
        }
        true
    }

    /// A peer that wants another protocol, or none, is told ours and left [2.2].
    fn wrong_header(&mut self, expected: [u8; 8]) {
        if self.sasl.is_none() {
            self.output.put_slice(&expected);
        }
        let error = Error::new(
            condition::NOT_IMPLEMENTED,
            "another protocol header was expected",
        );
        self.finish(Some(error), CloseReason::ProtocolHeader);
    }

    fn offer_sasl(&mut self) {
        self.output.put_slice(&frame::SASL_HEADER);
        let mechanisms = self
            .config
            .sasl_mechanisms
            .iter()
            .map(|name| Symbol::from(*name))
            .collect();
        self.put_sasl(&SaslMechanisms {
            sasl_server_mechanisms: Array(mechanisms),
        });
        self.state = State::SaslInit;
    }

    fn put_sasl<V: serde::Serialize>(&mut self, performative: &V) {
        // Cannot fail: what is said here is ours and short, or it is not a value of the types above.
        let _ = cold::put_frame(
            &mut self.output,
            frame::SASL,
            0,
            MAX_SASL_FRAME,
            performative,
        );
    }

    pub(super) fn on_sasl(&mut self, code: u64, body: &[u8]) -> Result<(), Fault> {
        match (self.state, code) {
            (State::SaslInit, 0x41) => self.on_sasl_init(cold::decode(body)?),
            (State::SaslMechanisms, 0x40) => self.on_sasl_mechanisms(&cold::decode(body)?),
            (State::SaslOutcome, 0x44) => self.on_sasl_outcome(&cold::decode(body)?),
            // No mechanism offered here has a second step.
            _ => {
                return Err(Fault::connection(
                    condition::NOT_ALLOWED,
                    "SASL frame out of turn",
                ));
            }
        }
        Ok(())
    }

    fn on_sasl_init(&mut self, init: SaslInit) {
        let mechanism = init.mechanism.into_inner();
        self.state = State::SaslDecision;
        if !self
            .config
            .sasl_mechanisms
            .iter()
            .any(|offered| *offered == mechanism)
        {
            return self.refuse_sasl(SaslCode::Auth);
        }
        let response = init
            .initial_response
            .map_or_else(Bytes::new, |binary| Bytes::from(binary.into_vec()));
        self.tell(Event::SaslInit {
            mechanism,
            response,
            hostname: init.hostname,
        });
    }

    /// Server: the answer to [`Event::SaslInit`]. Anything but `Ok` ends the connection. Call
    /// [`handle_input`](Self::handle_input) afterwards: the peer may have gone on already.
    pub fn sasl_outcome(&mut self, now: Instant, code: SaslCode) {
        self.timers.clock(now);
        if self.state != State::SaslDecision {
            return;
        }
        if code == SaslCode::Ok {
            self.put_sasl(&SaslOutcome {
                code: code.wire(),
                additional_data: None,
            });
            self.state = State::AmqpHeader;
        } else {
            self.refuse_sasl(code);
        }
    }

    fn refuse_sasl(&mut self, code: SaslCode) {
        self.put_sasl(&SaslOutcome {
            code: code.wire(),
            additional_data: None,
        });
        let error = Error::new(condition::UNAUTHORIZED_ACCESS, "authentication failed");
        self.finish(Some(error), CloseReason::Sasl(code));
    }

    fn on_sasl_mechanisms(&mut self, offered: &SaslMechanisms) {
        let Some((mechanism, response)) = self
            .sasl
            .as_ref()
            .and_then(|s| Some((s.mechanism()?, s.response())))
        else {
            return;
        };
        if !offered
            .sasl_server_mechanisms
            .0
            .iter()
            .any(|name| name.as_str() == mechanism)
        {
            let error = Error::new(
                condition::NOT_IMPLEMENTED,
                "the server does not offer the SASL mechanism",
            );
            return self.finish(Some(error), CloseReason::SaslMechanism);
        }
        self.put_sasl(&SaslInit {
            mechanism: Symbol::from(mechanism),
            initial_response: Some(Binary::from(response)),
            hostname: self.config.hostname.clone(),
        });
        self.state = State::SaslOutcome;
    }

    fn on_sasl_outcome(&mut self, outcome: &SaslOutcome) {
        let code = SaslCode::from_wire(&outcome.code);
        if code == SaslCode::Ok {
            self.output.put_slice(&frame::AMQP_HEADER);
            self.write_open();
            self.state = State::AmqpHeader;
        } else {
            let error = Error::new(
                condition::UNAUTHORIZED_ACCESS,
                format!("authentication failed: {code:?}"),
            );
            self.finish(Some(error), CloseReason::Sasl(code));
        }
    }

    /// Written once, and before anything else that is AMQP.
    pub(super) fn write_open(&mut self) {
        self.open_sent = true;
        let open = cold::open_of(&self.config, self.sasl.is_some());
        // A client does not know the peer's limit yet; its own configuration decides how long its open is.
        let _ = cold::put_frame(&mut self.output, frame::AMQP, 0, u32::MAX, &open);
    }

    pub(super) fn on_open(&mut self, open: Open) -> Result<(), Fault> {
        self.peer.max_frame_size = open.max_frame_size.0.max(frame::MIN_MAX_FRAME_SIZE);
        self.peer.channel_max = open.channel_max.0;
        // 0 means none to most peers.
        match open
            .idle_time_out
            .filter(|ms| *ms > 0)
            .map(|ms| Duration::from_millis(ms.into()))
        {
            Some(idle) if idle < MIN_PEER_IDLE => {
                return Err(Fault::connection(
                    condition::NOT_ALLOWED,
                    "idle-time-out too short",
                ));
            }
            Some(idle) => self.timers.peer_idle(idle),
            None => {}
        }
        if self.open_sent {
            self.run();
        } else {
            self.state = State::OpenDecision;
        }
        self.tell(Event::Opened(Box::new(cold::peer_open(open))));
        Ok(())
    }

    /// Server: the answer to [`Event::Opened`]; [`close`](Self::close) is the other one. Call
    /// [`handle_input`](Self::handle_input) afterwards: the peer may have gone on already.
    pub fn open(&mut self, now: Instant) {
        self.timers.clock(now);
        if self.state == State::OpenDecision {
            self.write_open();
            self.run();
        }
    }

    fn run(&mut self) {
        self.state = State::Running;
        self.timers.start_running();
    }
}
