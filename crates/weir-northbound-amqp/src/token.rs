//! What the engine keeps for an outgoing delivery until that has ended.

use std::time::Instant;

use weir_core::Reason;

use crate::events::EventToken;
use crate::uplink::UplinkToken;

/// An open delivery's owner.
pub(crate) enum Token {
    /// Of a link that passes on.
    Uplink(UplinkToken),
    /// Of a link that takes from the store.
    Event(EventToken),
    /// Nobody waits for its outcome.
    Unobserved,
}

impl Token {
    /// It could not be sent, though it was asked right before whether it can.
    pub(crate) fn refuse(self, reason: Reason, now: Instant) {
        if let Self::Uplink(token) = self {
            token.refuse(reason, now);
        }
    }
}
