//! Frames that are rare: through `serde_amqp`, after [`scan::check`], and between its types and ours.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};
use fe2o3_amqp_types::{
    definitions::{self, ErrorCondition, Fields},
    messaging::{Source, Target, TargetArchetype},
    performatives::{Attach, Open},
    sasl,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_amqp::{
    Value,
    primitives::{Array, Symbol},
};

use super::{Malformed, frame, hot::cut, scan};
use crate::{
    config::Config,
    error::Error,
    event::{PeerOpen, ReceiverSettleMode, Role, SaslCode, SenderSettleMode, Terminus},
};

/// Texts of our errors are cut so that the frame fits 512 octets, which every peer takes.
const MAX_CONDITION: usize = 100;
const MAX_DESCRIPTION: usize = 250;

/// Decodes a performative that takes up all of `body`.
pub(crate) fn decode<V: DeserializeOwned>(body: &[u8]) -> Result<V, Malformed> {
    if scan::check(body)? != body.len() {
        return Err(Malformed("octets after the performative"));
    }
    serde_amqp::from_slice(body).map_err(|_| Malformed("performative with wrong fields"))
}

/// Writes a frame; says so when it is larger than the peer takes, and then writes nothing.
pub(crate) fn put_frame<V: Serialize>(
    out: &mut BytesMut,
    kind: u8,
    channel: u16,
    max_frame_size: u32,
    performative: &V,
) -> Result<(), Malformed> {
    let body =
        serde_amqp::to_vec(performative).map_err(|_| Malformed("value that cannot be encoded"))?;
    if body.len() + 8 > max_frame_size as usize {
        return Err(Malformed("frame larger than the peer takes"));
    }
    let start = frame::begin(out, kind, channel);
    out.put_slice(&body);
    frame::end(out, start);
    Ok(())
}

pub(crate) fn open_of(config: &Config, with_hostname: bool) -> Open {
    Open {
        container_id: config.container_id.clone(),
        hostname: if with_hostname {
            config.hostname.clone()
        } else {
            None
        },
        max_frame_size: config.max_frame_size.into(),
        channel_max: config.channel_max.into(),
        // Told half of what we wait [2.4.5].
        idle_time_out: config
            .idle_timeout
            .map(|t| u32::try_from(t.as_millis() / 2).unwrap_or(u32::MAX)),
        outgoing_locales: None,
        incoming_locales: None,
        offered_capabilities: symbols(&config.offered_capabilities),
        desired_capabilities: symbols(&config.desired_capabilities),
        properties: fields(&config.properties),
    }
}

pub(crate) fn peer_open(open: Open) -> PeerOpen {
    PeerOpen {
        container_id: open.container_id,
        hostname: open.hostname,
        max_frame_size: open.max_frame_size.0,
        channel_max: open.channel_max.0,
        idle_timeout: open.idle_time_out,
        offered_capabilities: texts(open.offered_capabilities),
        desired_capabilities: texts(open.desired_capabilities),
        properties: pairs(open.properties),
    }
}

/// A performative's `error` field from ours.
pub(crate) fn error_out(error: &Error) -> definitions::Error {
    let condition = cut(&error.condition, MAX_CONDITION);
    let condition = ErrorCondition::Custom(Symbol::from(condition));
    let description = error
        .description
        .as_deref()
        .map(|text| cut(text, MAX_DESCRIPTION).to_owned());
    definitions::Error {
        condition,
        description,
        info: None,
    }
}

/// Ours from a performative's `error` field.
pub(crate) fn error_in(error: definitions::Error) -> Error {
    let condition = match &error.condition {
        ErrorCondition::AmqpError(e) => Cow::Owned(Symbol::from(e).into_inner()),
        ErrorCondition::ConnectionError(e) => Cow::Owned(Symbol::from(e).into_inner()),
        ErrorCondition::SessionError(e) => Cow::Owned(Symbol::from(e).into_inner()),
        ErrorCondition::LinkError(e) => Cow::Owned(Symbol::from(e).into_inner()),
        ErrorCondition::TransactionError(e) => Cow::Owned(Symbol::from(e).into_inner()),
        ErrorCondition::Custom(symbol) => Cow::Owned(symbol.as_str().to_owned()),
    };
    Error {
        condition,
        description: error.description,
    }
}

pub(crate) fn symbols(texts: &[String]) -> Option<Array<Symbol>> {
    if texts.is_empty() {
        return None;
    }
    Some(Array(
        texts
            .iter()
            .map(|text| Symbol::from(text.as_str()))
            .collect(),
    ))
}

pub(crate) fn texts(symbols: Option<Array<Symbol>>) -> Vec<String> {
    symbols.map_or_else(Vec::new, |array| {
        array.0.into_iter().map(Symbol::into_inner).collect()
    })
}

pub(crate) fn fields(pairs: &[(String, Value)]) -> Option<Fields> {
    if pairs.is_empty() {
        return None;
    }
    Some(
        pairs
            .iter()
            .map(|(key, value)| (Symbol::from(key.as_str()), value.clone()))
            .collect(),
    )
}

pub(crate) fn pairs(fields: Option<Fields>) -> Vec<(String, Value)> {
    fields.map_or_else(Vec::new, |map| {
        map.into_iter()
            .map(|(key, value)| (key.into_inner(), value))
            .collect()
    })
}

/// The peer's source and target as its owner sees them. A coordinator is a target without an address.
pub(crate) fn termini(attach: &Attach) -> (Option<Terminus>, Option<Terminus>) {
    let source = attach.source.as_deref().map(|source| Terminus {
        address: source.address.clone(),
        dynamic: source.dynamic,
        capabilities: texts(source.capabilities.clone()),
        filtered: source
            .filter
            .as_ref()
            .is_some_and(|filter| !filter.is_empty()),
    });
    let target = attach.target.as_deref().map(|target| match target {
        TargetArchetype::Target(target) => Terminus {
            address: target.address.clone(),
            dynamic: target.dynamic,
            capabilities: texts(target.capabilities.clone()),
            filtered: false,
        },
        TargetArchetype::Coordinator(_) => Terminus::default(),
    });
    (source, target)
}

/// Transactions are not offered; a coordinator is how a peer asks for them [4.5.1].
pub(crate) fn is_coordinator(attach: &Attach) -> bool {
    matches!(
        attach.target.as_deref(),
        Some(TargetArchetype::Coordinator(_))
    )
}

pub(crate) fn source(
    address: Option<String>,
    dynamic: bool,
    capabilities: &[String],
) -> Option<Box<Source>> {
    Some(Box::new(Source {
        address,
        dynamic,
        capabilities: symbols(capabilities),
        ..Source::default()
    }))
}

pub(crate) fn target(
    address: Option<String>,
    capabilities: &[String],
) -> Option<Box<TargetArchetype>> {
    let target = Target {
        address,
        capabilities: symbols(capabilities),
        ..Target::default()
    };
    Some(Box::new(TargetArchetype::Target(target)))
}

impl Role {
    pub(crate) fn wire(self) -> definitions::Role {
        match self {
            Self::Sender => definitions::Role::Sender,
            Self::Receiver => definitions::Role::Receiver,
        }
    }

    /// Ours, when the peer's end has `role`.
    pub(crate) fn facing(role: &definitions::Role) -> Self {
        match role {
            definitions::Role::Sender => Self::Receiver,
            definitions::Role::Receiver => Self::Sender,
        }
    }
}

impl SenderSettleMode {
    pub(crate) fn wire(self) -> definitions::SenderSettleMode {
        match self {
            Self::Unsettled => definitions::SenderSettleMode::Unsettled,
            Self::Settled => definitions::SenderSettleMode::Settled,
            Self::Mixed => definitions::SenderSettleMode::Mixed,
        }
    }

    pub(crate) fn from_wire(mode: &definitions::SenderSettleMode) -> Self {
        match mode {
            definitions::SenderSettleMode::Unsettled => Self::Unsettled,
            definitions::SenderSettleMode::Settled => Self::Settled,
            definitions::SenderSettleMode::Mixed => Self::Mixed,
        }
    }
}

impl ReceiverSettleMode {
    pub(crate) fn wire(self) -> definitions::ReceiverSettleMode {
        match self {
            Self::First => definitions::ReceiverSettleMode::First,
            Self::Second => definitions::ReceiverSettleMode::Second,
        }
    }

    pub(crate) fn from_wire(mode: &definitions::ReceiverSettleMode) -> Self {
        match mode {
            definitions::ReceiverSettleMode::First => Self::First,
            definitions::ReceiverSettleMode::Second => Self::Second,
        }
    }
}

impl SaslCode {
    pub(crate) fn wire(self) -> sasl::SaslCode {
        match self {
            Self::Ok => sasl::SaslCode::Ok,
            Self::Auth => sasl::SaslCode::Auth,
            Self::Sys => sasl::SaslCode::Sys,
            Self::SysPerm => sasl::SaslCode::SysPerm,
            Self::SysTemp => sasl::SaslCode::SysTemp,
        }
    }

    pub(crate) fn from_wire(code: &sasl::SaslCode) -> Self {
        match code {
            sasl::SaslCode::Ok => Self::Ok,
            sasl::SaslCode::Auth => Self::Auth,
            sasl::SaslCode::Sys => Self::Sys,
            sasl::SaslCode::SysPerm => Self::SysPerm,
            sasl::SaslCode::SysTemp => Self::SysTemp,
        }
    }
}
