//! Errors as AMQP knows them: a symbol that decides, a text that explains.

use std::{borrow::Cow, fmt};

/// Error conditions of the specification [2.8.15 - 2.8.18] that this engine sends or that its users need.
pub mod condition {
    macro_rules! conditions {
        ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
            $($(#[$doc])* pub const $name: &str = $text;)*
        };
    }
    conditions! {
        /// Something went wrong on our side.
        INTERNAL_ERROR = "amqp:internal-error";
        /// There is nothing at that address.
        NOT_FOUND = "amqp:not-found";
        /// The peer may not do that.
        UNAUTHORIZED_ACCESS = "amqp:unauthorized-access";
        /// Bytes that are not AMQP.
        DECODE_ERROR = "amqp:decode-error";
        /// A quota or a buffer is exhausted.
        RESOURCE_LIMIT_EXCEEDED = "amqp:resource-limit-exceeded";
        /// Not in this state, or not here.
        NOT_ALLOWED = "amqp:not-allowed";
        /// A field has a value that is not valid.
        INVALID_FIELD = "amqp:invalid-field";
        /// Legal, but not offered here.
        NOT_IMPLEMENTED = "amqp:not-implemented";
        /// Another client holds the thing exclusively.
        RESOURCE_LOCKED = "amqp:resource-locked";
        /// A precondition set by the peer does not hold.
        PRECONDITION_FAILED = "amqp:precondition-failed";
        /// The thing was deleted while in use.
        RESOURCE_DELETED = "amqp:resource-deleted";
        /// The frame is not legal in this state.
        ILLEGAL_STATE = "amqp:illegal-state";
        /// The peer's max-frame-size leaves no room for what must be said.
        FRAME_SIZE_TOO_SMALL = "amqp:frame-size-too-small";
        /// An operator closed the connection.
        CONNECTION_FORCED = "amqp:connection:forced";
        /// A frame that cannot be.
        FRAMING_ERROR = "amqp:connection:framing-error";
        /// More transfer frames than the session window allowed.
        WINDOW_VIOLATION = "amqp:session:window-violation";
        /// A frame for a link that has been detached with an error.
        ERRANT_LINK = "amqp:session:errant-link";
        /// An attach for a handle that has a link already.
        HANDLE_IN_USE = "amqp:session:handle-in-use";
        /// A frame for a handle without a link.
        UNATTACHED_HANDLE = "amqp:session:unattached-handle";
        /// A link was detached by an operator.
        DETACH_FORCED = "amqp:link:detach-forced";
        /// More transfers than there was credit for.
        TRANSFER_LIMIT_EXCEEDED = "amqp:link:transfer-limit-exceeded";
        /// A message larger than the link's max-message-size.
        MESSAGE_SIZE_EXCEEDED = "amqp:link:message-size-exceeded";
        /// Another link took over this link's name.
        STOLEN = "amqp:link:stolen";
    }
}

/// An AMQP error [2.8.14]: travels in close, end, detach and rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The symbol that decides what the peer does about it.
    pub condition: Cow<'static, str>,
    /// Text for people.
    pub description: Option<String>,
}

impl Error {
    /// An error with a text.
    pub fn new(condition: impl Into<Cow<'static, str>>, description: impl Into<String>) -> Self {
        Self {
            condition: condition.into(),
            description: Some(description.into()),
        }
    }
}

impl From<&'static str> for Error {
    fn from(condition: &'static str) -> Self {
        Self {
            condition: Cow::Borrowed(condition),
            description: None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.condition)?;
        match &self.description {
            Some(text) => write!(f, ": {text}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}
