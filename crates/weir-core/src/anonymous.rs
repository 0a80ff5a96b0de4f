//! Devices that nobody asked who they are (device contract §1.6.4).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use weir_metrics::{AttemptOutcome, Gauge};

use crate::{
    Channel, DeviceId, LookupError, Pipeline, Principal, Protocol, Reason, Rule, Session, Target,
    TenantId,
};

/// Devices that a connection remembers. When there are more, it starts anew.
const DEVICES: usize = 100;

/// A connection whose client was not asked who it is, and that may send for any device there is. The
/// device's registration is asserted all the same, for each of them.
pub struct Anonymous {
    pipeline: Pipeline,
    protocol: Protocol,
    sessions: Mutex<HashMap<(TenantId, DeviceId), Arc<Session>>>,
    /// Of such connections.
    open: Arc<Gauge>,
}

impl Anonymous {
    pub(crate) fn connect(pipeline: &Pipeline, channel: Channel) -> Self {
        let protocol = channel.protocol;
        let component = protocol.component();
        pipeline.count_attempt(channel, None, AttemptOutcome::Succeeded);
        let open = pipeline.metrics().unauthenticated_connections(component);
        open.add(1);
        Self {
            pipeline: pipeline.clone(),
            protocol,
            sessions: Mutex::default(),
            open,
        }
    }

    /// The session of the device that `target` names, if it was asked for before.
    pub fn known(&self, target: &Target) -> Option<Arc<Session>> {
        let key = named(target).ok()?;
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.get(&key).cloned()
    }

    /// The session of the device that `target` names.
    ///
    /// # Errors
    /// If it names none, or there is no such tenant.
    pub async fn session(&self, target: &Target) -> Result<Arc<Session>, Reason> {
        if let Some(known) = self.known(target) {
            return Ok(known);
        }
        let session = self.pipeline.anonymous(self.protocol, target).await?;
        let key = named(target)?;
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if sessions.len() >= DEVICES {
            sessions.clear();
        }
        sessions.insert(key, session.clone());
        Ok(session)
    }

    /// The pipeline of its messages.
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }
}

impl Drop for Anonymous {
    fn drop(&mut self) {
        self.open.add(-1);
    }
}

impl std::fmt::Debug for Anonymous {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Anonymous").finish_non_exhaustive()
    }
}

/// The device that is named, both tenant and device.
fn named(target: &Target) -> Result<(TenantId, DeviceId), Reason> {
    match (&target.tenant, &target.device) {
        (Some(tenant), Some(device)) => Ok((TenantId::from(&**tenant), DeviceId::from(&**device))),
        _ => {
            let text =
                "unauthenticated client must provide tenant and device ID in message address";
            Err(Reason::BadRequest(Rule::Address, text.into()))
        }
    }
}

/// Who sends for the device that is named, with nothing proved.
pub(crate) async fn principal(pipeline: &Pipeline, target: &Target) -> Result<Principal, Reason> {
    let (tenant, device) = named(target)?;
    let found = pipeline.registry().tenant(&tenant).await;
    let snapshot = found.map_err(|error| match error {
        LookupError::NotFound => Reason::TenantUnknown,
        LookupError::Unavailable(cause) => {
            tracing::warn!(%tenant, cause, "the registry did not answer for a tenant");
            Reason::RegistryUnavailable
        }
    })?;
    if snapshot.id != tenant {
        // An alias is for certificates. The topics of what comes back would have another name in them.
        return Err(Reason::TenantUnknown);
    }
    Ok(Principal {
        tenant: snapshot.id.clone(),
        device,
        auth_id: None,
        expires: None,
        snapshot,
    })
}

#[cfg(test)]
mod tests {
    use bytestring::ByteString;
    use serde_json::json;

    use super::*;
    use crate::Qos;
    use crate::uplink::Outcome;
    use crate::world::{Fixture, fixture, received};

    fn target(tenant: &str, device: &str) -> Target {
        let part = |text: &str| (!text.is_empty()).then(|| ByteString::from(text));
        Target {
            tenant: part(tenant),
            device: part(device),
        }
    }

    fn gauge(fixture: &Fixture) -> u64 {
        fixture.counted("hono_connections_unauthenticated", "hono-mqtt")
    }

    #[tokio::test]
    async fn a_connection_is_counted_as_one_that_nobody_authenticated() {
        let fixture = fixture();
        let anonymous = fixture.pipeline.connect_anonymous(Protocol::Mqtt);
        assert_eq!(gauge(&fixture), 1);
        drop(anonymous);
        assert_eq!(gauge(&fixture), 0);
    }

    #[tokio::test]
    async fn tenant_and_device_have_to_be_named_and_known() {
        let fixture = fixture();
        let anonymous = fixture.pipeline.connect_anonymous(Protocol::Mqtt);
        for (tenant, device) in [("", ""), ("acme", ""), ("", "4711")] {
            let refused = anonymous.session(&target(tenant, device)).await;
            assert_eq!(refused.unwrap_err().status(), 400, "{tenant}/{device}");
        }
        let refused = anonymous.session(&target("nobody", "4711")).await;
        assert_eq!(refused.unwrap_err(), Reason::TenantUnknown);
        assert!(anonymous.known(&target("acme", "4711")).is_none());
        assert!(anonymous.session(&target("acme", "4711")).await.is_ok());
        assert!(anonymous.known(&target("acme", "4711")).is_some());
    }

    #[tokio::test]
    async fn registrations_are_asserted_and_nothing_is_terminal() {
        let fixture = fixture();
        let anonymous = fixture.pipeline.connect_anonymous(Protocol::Mqtt);
        let send = async |device| {
            let session = anonymous.session(&target("acme", device)).await.unwrap();
            let received = received(("", ""));
            let outcome = match received.authenticate(&session).unwrap().admit().await {
                Ok(admitted) => {
                    let published = admitted.publish();
                    fixture.world.settle(Ok(()));
                    published.await
                }
                Err(outcome) => outcome,
            };
            match outcome {
                Outcome::Accepted => None,
                Outcome::Refused(refusal) => Some((refusal.reason, refusal.terminal)),
            }
        };
        assert_eq!(send("4711").await, None);
        // It has no gateway to speak for it, and needs none.
        assert_eq!(send("edge").await, None);
        assert_eq!(send("gone").await, Some((Reason::DeviceUnknown, false)));
        fixture.world.configure(json!({"enabled": false}));
        assert_eq!(send("4711").await, Some((Reason::TenantDisabled, false)));
        let counted = format!("qos=\"{}\"", Qos::AtLeastOnce.as_str());
        assert!(fixture.count(&counted) > 0);
    }
}
