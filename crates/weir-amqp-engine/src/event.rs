//! What a connection tells its owner, and the values that go with it.

use std::fmt;

use bytes::Bytes;
use serde_amqp::Value;

use crate::error::Error;

/// A session of one connection. Stale ids are harmless: commands that name an ended session do nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// A link of one connection. Stale ids are harmless: commands that name a detached link do nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// An incoming delivery, as its session numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeliveryId(pub(crate) u32);

/// Which end of a link we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Messages leave through the link.
    Sender,
    /// Messages arrive through the link.
    Receiver,
}

/// Whether the sender of a link waits for outcomes [2.8.2].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SenderSettleMode {
    /// Each delivery has an outcome.
    Unsettled,
    /// None has.
    Settled,
    /// The sender decides for each delivery.
    #[default]
    Mixed,
}

/// Who settles first [2.8.3].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReceiverSettleMode {
    /// The receiver settles together with its outcome.
    #[default]
    First,
    /// The receiver waits for the sender to settle.
    Second,
}

/// The result of a SASL exchange [5.3.3.6].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaslCode {
    /// Authenticated.
    Ok,
    /// Wrong credentials, or a mechanism that is not offered.
    Auth,
    /// The check itself failed.
    Sys,
    /// The check failed and will fail again.
    SysPerm,
    /// The check failed for the moment.
    SysTemp,
}

/// How a delivery ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver has taken responsibility.
    Accepted,
    /// The receiver will never take it.
    Rejected {
        /// The error's condition, if it gave one.
        condition: Option<String>,
        /// The error's text, if it gave one.
        description: Option<String>,
    },
    /// Not processed; may be sent again.
    Released,
    /// Not processed, and the receiver says more about it.
    Modified {
        /// Counts as a failed attempt.
        delivery_failed: bool,
        /// Do not send it here again.
        undeliverable_here: bool,
    },
    /// Settled without a state that says anything. Also what a delivery that was sent settled comes back with.
    /// Only reported, never sent.
    Unknown,
    /// We gave up waiting, or had to ([`Config::max_unsettled`](crate::Config)), and settled it ourselves; the receiver
    /// sees it as released. Only reported, never sent.
    TimedOut,
    /// The link, its session or the connection ended first. Only reported, never sent.
    LinkLost,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// [`Connection::close`](crate::Connection::close) was called.
    Local,
    /// The peer sent close; the event's error is the peer's.
    Remote,
    /// The peer broke the protocol; the event's error is what it was told.
    Violation,
    /// The peer was silent for longer than the idle time-out.
    IdleTimeout,
    /// The peer did not get as far as open in time.
    HandshakeTimeout,
    /// The transport ended without a close frame.
    TransportLost,
    /// The peer does not speak the protocol that is needed here; it was told ours.
    ProtocolHeader,
    /// Authentication failed. As a client: the server's verdict; as a server: ours.
    Sasl(SaslCode),
    /// Client: the server does not offer the mechanism we were to use.
    SaslMechanism,
}

/// The peer's open frame.
#[derive(Clone, Debug)]
pub struct PeerOpen {
    /// The peer's name.
    pub container_id: String,
    /// The host it wants, or says to be.
    pub hostname: Option<String>,
    /// The largest frame it takes.
    pub max_frame_size: u32,
    /// The highest channel number it takes.
    pub channel_max: u16,
    /// Its idle time-out in milliseconds.
    pub idle_timeout: Option<u32>,
    /// What it can do.
    pub offered_capabilities: Vec<String>,
    /// What it would like us to do.
    pub desired_capabilities: Vec<String>,
    /// Everything else.
    pub properties: Vec<(String, Value)>,
}

/// One end's node in a peer's attach: a source or a target.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Terminus {
    /// The node's address; none for an anonymous target or a dynamic node.
    pub address: Option<String>,
    /// The peer asks us to make a node and tell it the address.
    pub dynamic: bool,
    /// What the peer expects of the node.
    pub capabilities: Vec<String>,
    /// Sources only: the peer wants a filter. Accepted links are answered without one, which tells the peer that
    /// there is none.
    pub filtered: bool,
}

/// An attach the peer began, seen from our side.
#[derive(Clone, Debug)]
pub struct PeerAttach {
    /// Its session.
    pub session: SessionId,
    /// The link's name.
    pub name: String,
    /// What *we* are on this link.
    pub role: Role,
    /// Where messages come from.
    pub source: Option<Terminus>,
    /// Where messages go to.
    pub target: Option<Terminus>,
    /// Asked for by the peer.
    pub snd_settle_mode: SenderSettleMode,
    /// Asked for by the peer.
    pub rcv_settle_mode: ReceiverSettleMode,
    /// The sender's first delivery-count, when the peer is the sender.
    pub initial_delivery_count: u32,
    /// The largest message the peer takes; 0 is no limit.
    pub max_message_size: u64,
    /// What the peer can do on this link.
    pub offered_capabilities: Vec<String>,
    /// What the peer would like us to do on this link.
    pub desired_capabilities: Vec<String>,
    /// Everything else.
    pub properties: Vec<(String, Value)>,
}

/// How to answer a peer's attach; see [`Connection::accept_link`](crate::Connection::accept_link). What is left
/// `None` is answered as the peer asked for it.
#[derive(Clone, Debug, Default)]
pub struct AcceptLink {
    /// The source's address, for dynamic sources.
    pub source: Option<String>,
    /// The target's address, for dynamic targets.
    pub target: Option<String>,
    /// Receivers: the first credit. 0 waits for [`Connection::grant_credit`](crate::Connection::grant_credit).
    pub credit: u32,
    /// Receivers: a limit below the connection's.
    pub max_message_size: Option<u64>,
    /// Senders: overrides the mode the peer asked for.
    pub snd_settle_mode: Option<SenderSettleMode>,
    /// Receivers: whether our outcomes settle, or wait for the sender to do so. What the peer wishes for is in
    /// [`PeerAttach::rcv_settle_mode`].
    pub rcv_settle_mode: ReceiverSettleMode,
    /// What we can do on this link.
    pub offered_capabilities: Vec<String>,
    /// Everything else.
    pub properties: Vec<(String, Value)>,
}

/// An attach of our own.
#[derive(Clone, Debug)]
pub struct AttachRequest {
    /// The link's name, unique per role among our links with this peer.
    pub name: String,
    /// What we are on this link.
    pub role: Role,
    /// The source's address; none with `dynamic` asks the peer for one.
    pub source: Option<String>,
    /// The target's address; none is the anonymous target.
    pub target: Option<String>,
    /// Receivers: ask the peer to create the source.
    pub dynamic: bool,
    /// Whether deliveries have outcomes.
    pub snd_settle_mode: SenderSettleMode,
    /// Who settles first.
    pub rcv_settle_mode: ReceiverSettleMode,
    /// Receivers: the first credit.
    pub credit: u32,
    /// Receivers: a limit below the connection's.
    pub max_message_size: Option<u64>,
    /// What the terminus at the peer is expected to be (`queue`, `topic`, ..).
    pub capabilities: Vec<String>,
    /// Everything else.
    pub properties: Vec<(String, Value)>,
}

impl AttachRequest {
    /// A link that sends to `target`, outcomes wanted.
    pub fn sender(name: impl Into<String>, target: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            role: Role::Sender,
            source: None,
            target: Some(target.into()),
            dynamic: false,
            snd_settle_mode: SenderSettleMode::Unsettled,
            rcv_settle_mode: ReceiverSettleMode::First,
            credit: 0,
            max_message_size: None,
            capabilities: Vec::new(),
            properties: Vec::new(),
        }
    }

    /// A link that receives from `source` with a first credit.
    pub fn receiver(name: impl Into<String>, source: impl Into<String>, credit: u32) -> Self {
        Self {
            role: Role::Receiver,
            source: Some(source.into()),
            target: None,
            credit,
            ..Self::sender(name, "")
        }
    }
}

/// How to send one message.
#[derive(Clone, Copy, Debug, Default)]
pub struct SendOptions {
    /// Do not wait for an outcome: the token comes back at once with [`Outcome::Unknown`].
    pub settled: bool,
    /// Without an outcome by then the delivery is settled as released and its token comes back with
    /// [`Outcome::TimedOut`].
    pub give_up_at: Option<std::time::Instant>,
}

/// What happened. `T` is the owner's token of an outgoing delivery: each one handed to
/// [`Connection::send`](crate::Connection::send) comes back exactly once, in [`Event::Settled`].
pub enum Event<T> {
    /// Server: answer with [`Connection::sasl_outcome`](crate::Connection::sasl_outcome).
    SaslInit {
        /// One of those offered.
        mechanism: String,
        /// The initial response, empty if there was none.
        response: Bytes,
        /// The virtual host the client wants.
        hostname: Option<String>,
    },
    /// The peer's open. Server: answer with [`Connection::open`](crate::Connection::open), or refuse with
    /// [`Connection::close`](crate::Connection::close).
    Opened(Box<PeerOpen>),
    /// A session is usable: the peer began one, or answered ours.
    SessionBegun {
        /// Which.
        session: SessionId,
    },
    /// The peer wants a link: answer with [`Connection::accept_link`](crate::Connection::accept_link) or
    /// [`Connection::refuse_link`](crate::Connection::refuse_link).
    Attach {
        /// Which.
        link: LinkId,
        /// What it wants.
        attach: Box<PeerAttach>,
    },
    /// The peer accepted our attach. A refusal is a [`Event::Detached`] without this one before it.
    Attached {
        /// Which.
        link: LinkId,
        /// The peer's side of it; tells the address of a dynamic source.
        attach: Box<PeerAttach>,
    },
    /// A sender link may have become sendable.
    Credit {
        /// Which.
        link: LinkId,
    },
    /// The peer wants the credit of a sender link used or given back: send what there is, then
    /// [`Connection::drained`](crate::Connection::drained).
    Drain {
        /// Which.
        link: LinkId,
    },
    /// The end of our [`Connection::drain`](crate::Connection::drain): no credit is left, what it paid for is here.
    Drained {
        /// Which.
        link: LinkId,
    },
    /// An outgoing delivery has ended.
    Settled {
        /// Its link, possibly detached by now.
        link: LinkId,
        /// What was given to [`Connection::send`](crate::Connection::send).
        token: T,
        /// How it ended.
        outcome: Outcome,
        /// The receiver told its outcome without settling, as one that settles second does [2.6.12]; we have since.
        /// False when the receiver settled, and when it said nothing.
        left_to_us: bool,
    },
    /// A whole message arrived: decode it with [`Message::decode`](crate::Message::decode), and if it is not
    /// settled, answer with [`Connection::settle`](crate::Connection::settle).
    Message {
        /// Its link.
        link: LinkId,
        /// Names it in `settle`.
        delivery: DeliveryId,
        /// Sections as they came.
        message: Bytes,
        /// The sender wants no outcome.
        settled: bool,
    },
    /// A link is gone. Not sent for links that end with their session's or connection's end, nor after
    /// [`Connection::refuse_link`](crate::Connection::refuse_link).
    Detached {
        /// Which.
        link: LinkId,
        /// The peer's error, or what the peer was told after it broke the link's rules.
        error: Option<Error>,
        /// For good. Link recovery is not supported, so that `false` is only what the peer wished for.
        closed: bool,
    },
    /// A session is gone and all its links with it.
    SessionEnded {
        /// Which.
        session: SessionId,
        /// The peer's error, or what the peer was told after it broke the session's rules.
        error: Option<Error>,
    },
    /// The last event: the connection is over and all its sessions and links with it.
    Closed {
        /// The peer's error, or what the peer was told.
        error: Option<Error>,
        /// Who ended it.
        reason: CloseReason,
    },
}

impl<T: fmt::Debug> fmt::Debug for Event<T> {
    /// For logs: without payloads and without what proves an identity.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SaslInit {
                mechanism,
                hostname,
                ..
            } => f
                .debug_struct("SaslInit")
                .field("mechanism", mechanism)
                .field("hostname", hostname)
                .finish_non_exhaustive(),
            Self::Opened(open) => f.debug_tuple("Opened").field(open).finish(),
            Self::SessionBegun { session } => f.debug_tuple("SessionBegun").field(session).finish(),
            Self::Attach { link, attach } => {
                f.debug_tuple("Attach").field(link).field(attach).finish()
            }
            Self::Attached { link, attach } => {
                f.debug_tuple("Attached").field(link).field(attach).finish()
            }
            Self::Credit { link } => f.debug_tuple("Credit").field(link).finish(),
            Self::Drain { link } => f.debug_tuple("Drain").field(link).finish(),
            Self::Drained { link } => f.debug_tuple("Drained").field(link).finish(),
            Self::Settled {
                link,
                token,
                outcome,
                left_to_us,
            } => f
                .debug_struct("Settled")
                .field("link", link)
                .field("token", token)
                .field("outcome", outcome)
                .field("left_to_us", left_to_us)
                .finish(),
            Self::Message {
                link,
                delivery,
                message,
                settled,
            } => f
                .debug_struct("Message")
                .field("link", link)
                .field("delivery", delivery)
                .field("octets", &message.len())
                .field("settled", settled)
                .finish(),
            Self::Detached {
                link,
                error,
                closed,
            } => f
                .debug_tuple("Detached")
                .field(link)
                .field(error)
                .field(closed)
                .finish(),
            Self::SessionEnded { session, error } => f
                .debug_tuple("SessionEnded")
                .field(session)
                .field(error)
                .finish(),
            Self::Closed { error, reason } => {
                f.debug_tuple("Closed").field(error).field(reason).finish()
            }
        }
    }
}
