//! The last state.

use crate::Reason;

/// What became of a message, for the adapter to tell its peer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "the peer has to be told"]
pub enum Outcome {
    /// The back end took it.
    Accepted,
    /// It was refused.
    Refused(Refusal),
}

/// Why a message was refused, and whether its connection has to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason.
    pub reason: Reason,
    /// Whether the sender's connection can send nothing good any more and is to be closed.
    pub terminal: bool,
}

impl Outcome {
    pub(crate) fn refused(reason: Reason, terminal: bool) -> Self {
        Self::Refused(Refusal { reason, terminal })
    }
}
