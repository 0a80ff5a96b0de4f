//! Who is at the other end of a connection.

use std::sync::Arc;

use weir_core::{Anonymous, Outcome, Pipeline, Principal, Protocol, Reason, Session, Target};

/// Who a connection's messages are from.
#[derive(Clone, Debug)]
pub(crate) enum Client {
    /// The device that has said who it is.
    Device(Arc<Session>),
    /// Somebody who was not asked: each message and each filter names its device.
    Anybody(Arc<Anonymous>),
}

impl Client {
    /// The device that has said who it is, if it was asked.
    pub(crate) fn principal(&self) -> Option<&Principal> {
        match self {
            Self::Device(session) => Some(session.principal()),
            Self::Anybody(_) => None,
        }
    }

    /// The session of what names `target`, if that needs no question.
    pub(crate) fn known(&self, target: &Target) -> Option<Arc<Session>> {
        match self {
            Self::Device(session) => Some(session.clone()),
            Self::Anybody(anonymous) => anonymous.known(target),
        }
    }

    /// The session of what names `target`.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) async fn session(&self, target: &Target) -> Result<Arc<Session>, Reason> {
        match self {
            Self::Device(session) => Ok(session.clone()),
            Self::Anybody(anonymous) => anonymous.session(target).await,
        }
    }

    /// Ends a message of which no more is known than that.
    pub(crate) fn refuse(&self, reason: Reason) -> Outcome {
        match self {
            Self::Device(session) => session.refuse(reason),
            Self::Anybody(anonymous) => refuse(anonymous.pipeline(), reason),
        }
    }

    /// Whether the credentials with which the device logged in have expired since.
    pub(crate) fn has_expired(&self) -> bool {
        match self {
            Self::Device(session) => session.has_expired(),
            Self::Anybody(_) => false,
        }
    }

    /// Whether the device's registration has ended.
    pub(crate) fn is_closed(&self) -> bool {
        match self {
            Self::Device(session) => session.is_closed(),
            Self::Anybody(_) => false,
        }
    }

    /// Waits until the device's registration has ended.
    pub(crate) async fn closed(&self) {
        match self {
            Self::Device(session) => session.closed().await,
            Self::Anybody(_) => std::future::pending().await,
        }
    }

    /// The connection is over, and `client_id` is what the client called itself.
    pub(crate) async fn disconnected(&self, client_id: &str) {
        if let Self::Device(session) = self {
            session.disconnected(client_id).await;
        }
    }
}

fn refuse(pipeline: &Pipeline, reason: Reason) -> Outcome {
    pipeline.refuse(Protocol::Mqtt, None, reason)
}
