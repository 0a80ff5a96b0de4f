//! Who is at the other end of a connection.

use std::sync::Arc;

use bytestring::ByteString;
use weir_core::{
    Anonymous, DeviceId, Outcome, Pipeline, Principal, Protocol, Reason, Session, Target, TenantId,
};

/// Who a connection's messages are from.
#[derive(Clone, Debug)]
pub(crate) enum Client {
    /// The device that has said who it is.
    Device(Arc<Session>),
    /// Somebody who was not asked: each message and each filter names its device.
    Anybody(Arc<Anonymous>),
}

/// Whose the messages and filters are that name nobody: the device's that has said who it is.
pub(crate) type Own<'a> = Option<(&'a TenantId, &'a DeviceId)>;

/// A device that is named in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) tenant: TenantId,
    pub(crate) device: DeviceId,
}

/// Whom a filter is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// The client's own device.
    Own,
    /// That, and all that it is the gateway of.
    All,
    /// One that it may be the gateway of.
    Other,
}

impl Key {
    /// Reads whom the segments of a filter name; `None` if it may not be about them. Who was not asked
    /// who he is has to name both, and is nobody's gateway (device contract §3.8, §3.9).
    pub(crate) fn of_filter(own: Own<'_>, tenant: &str, device: &str) -> Option<(Self, Whose)> {
        // [MQTT-4.7.1-2, -3]
        let is_name = |text: &str| !text.is_empty() && !text.contains(['+', '#']);
        let Some((own_tenant, own_device)) = own else {
            let key = || Self {
                tenant: tenant.into(),
                device: device.into(),
            };
            let is_named = is_name(tenant) && is_name(device);
            return is_named.then(|| (key(), Whose::Own));
        };
        if !tenant.is_empty() && tenant != own_tenant.as_str() {
            return None;
        }
        let (device, whose) = match device {
            "" => (own_device.clone(), Whose::Own),
            "+" => (own_device.clone(), Whose::All),
            named if named == own_device.as_str() => (own_device.clone(), Whose::Own),
            other if is_name(other) => (other.into(), Whose::Other),
            _ => return None,
        };
        let tenant = own_tenant.clone();
        Some((Self { tenant, device }, whose))
    }

    /// The same as an address names it.
    pub(crate) fn target(&self) -> Target {
        Target {
            tenant: Some(ByteString::from(self.tenant.as_str())),
            device: Some(ByteString::from(self.device.as_str())),
        }
    }
}

impl Client {
    /// The device that has said who it is, if it was asked.
    pub(crate) fn own(&self) -> Own<'_> {
        match self {
            Self::Device(session) => {
                let Principal { tenant, device, .. } = session.principal();
                Some((tenant, device))
            }
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

    /// The connection is one of its tenant's no more.
    pub(crate) fn end(&self) {
        if let Self::Device(session) = self {
            session.end();
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
