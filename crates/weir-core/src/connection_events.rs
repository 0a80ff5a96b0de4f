//! That devices connect and disconnect, told to whoever is to know (device contract §1.17).

use std::sync::Arc;

use bytestring::ByteString;
use serde_json::{Map, json};

use crate::uplink::time_to_live;
use crate::{Defaults, Downstream, Endpoint, Outlet, Qos, Reason, Session, shorten};

/// Who is told of authenticated devices that connect and disconnect (Hono's
/// `hono.connectionEvents.producer`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConnectionEvents {
    /// Nobody.
    None,
    /// The log.
    #[default]
    Logging,
    /// The tenant's applications, by an event. A device that they cannot be told of may not connect.
    Events,
}

/// What has happened to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Connected,
    Disconnected,
}

impl Cause {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
        }
    }
}

/// The content type of such events (northbound contract §8.2).
const CONTENT_TYPE: ByteString =
    ByteString::from_static("application/vnd.eclipse-hono-dc-notification+json");

/// Tells what has happened to the connection of `session`, whose client calls itself `remote_id`.
///
/// # Errors
/// If applications were to be told, and could not be.
pub(crate) async fn tell(session: &Session, cause: Cause, remote_id: &str) -> Result<(), Reason> {
    let principal = session.principal();
    let (tenant, device) = (principal.tenant.as_str(), principal.device.as_str());
    let source = session.protocol().type_name();
    let remote_id = match remote_id {
        "" => "unknown",
        given => given,
    };
    match session.pipeline().connection_events() {
        ConnectionEvents::None => Ok(()),
        ConnectionEvents::Logging => {
            tracing::info!(
                protocol = source,
                tenant,
                device,
                remote_id = shorten(remote_id),
                cause = cause.as_str(),
                "device"
            );
            Ok(())
        }
        ConnectionEvents::Events => {
            let farewell = (cause == Cause::Connected).then(|| Farewell::new(session, remote_id));
            let outlet = session.pipeline().northbound();
            let outlet = outlet.outlet(&principal.tenant, Endpoint::Event);
            let delivery = outlet.publish(event(session, cause, remote_id)).await;
            if let Some(farewell) = farewell {
                farewell.forget();
            }
            delivery.disposition.map_err(|reason| {
                let (cause, reason) = (cause.as_str(), reason.name());
                tracing::warn!(tenant, device, cause, reason, "no application was told");
                Reason::NotAnnounced
            })
        }
    }
}

/// Says that a device has disconnected if nobody waits any more to hear that it may connect: that it has
/// connected may have been told already.
struct Farewell(Option<(Arc<dyn Outlet>, Downstream)>);

impl Farewell {
    fn new(session: &Session, remote_id: &str) -> Self {
        let tenant = &session.principal().tenant;
        let outlet = session.pipeline().northbound();
        let outlet = outlet.outlet(tenant, Endpoint::Event);
        let event = event(session, Cause::Disconnected, remote_id);
        Self(Some((outlet, event)))
    }

    /// It is not needed: somebody has waited.
    fn forget(mut self) {
        self.0 = None;
    }
}

impl Drop for Farewell {
    fn drop(&mut self) {
        // Outside a runtime (it is being torn down) nobody can be told either.
        if let Some((outlet, event)) = self.0.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move {
                let _ = outlet.publish(event).await;
            });
        }
    }
}

fn event(session: &Session, cause: Cause, remote_id: &str) -> Downstream {
    let principal = session.principal();
    let settings = &principal.snapshot.settings;
    let defaults = Defaults::merge(&settings.defaults, &Map::new());
    let kind = (Endpoint::Event, Qos::AtLeastOnce);
    let payload = json!({
        "cause": cause.as_str(),
        "remote-id": remote_id,
        "source": session.protocol().type_name(),
    });
    Downstream {
        ttl: time_to_live(kind, None, &defaults, settings),
        defaults: Arc::new(defaults),
        payload: payload.to_string().into(),
        // No adapter took it (northbound contract §8.2).
        ..Downstream::notification(&principal.tenant, &principal.device, "", CONTENT_TYPE)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::world::{Fixture, fixture_with};
    use crate::{ClientContext, PipelineOptions, Presented, Principal, Protocol};

    fn fixture(connection_events: ConnectionEvents) -> Fixture {
        fixture_with(PipelineOptions {
            connection_events,
            ..PipelineOptions::default()
        })
    }

    async fn principal(fixture: &Fixture) -> Principal {
        let presented = Presented::Password {
            username: "sensor@acme",
            password: b"secret",
        };
        let context = ClientContext::default();
        let known = fixture
            .pipeline
            .authenticate(Protocol::Mqtt, presented, context);
        known.await.unwrap()
    }

    /// Settles the event that is out, once it is.
    async fn settle(fixture: &Fixture, disposition: Result<(), Reason>) -> Downstream {
        while fixture.world.published.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        fixture.world.settle(disposition)
    }

    #[tokio::test]
    async fn applications_are_told_by_events() {
        let fixture = fixture(ConnectionEvents::Events);
        let principal = principal(&fixture).await;
        let connect = fixture
            .pipeline
            .connect(Protocol::Mqtt, principal, "meter-1");
        let (session, connected) = tokio::join!(connect, settle(&fixture, Ok(())));
        let session = session.unwrap();
        let gone = session.disconnected("");
        let ((), disconnected) = tokio::join!(gone, settle(&fixture, Ok(())));
        let rows = [
            (connected, "connected", "meter-1"),
            (disconnected, "disconnected", "unknown"),
        ];
        for (event, cause, remote_id) in rows {
            assert_eq!(event.endpoint, Endpoint::Event);
            assert_eq!(event.device.as_str(), "4711");
            assert_eq!((event.adapter, &*event.origin_address), ("", ""));
            assert_eq!(event.content_type, Some(CONTENT_TYPE));
            let body: Value = serde_json::from_slice(&event.payload).unwrap();
            let expected = json!({"cause": cause, "remote-id": remote_id, "source": "hono-mqtt"});
            assert_eq!(body, expected);
        }
    }

    #[tokio::test]
    async fn a_device_that_applications_cannot_be_told_of_may_not_connect() {
        let fixture = fixture(ConnectionEvents::Events);
        let principal = principal(&fixture).await;
        let connect = fixture
            .pipeline
            .connect(Protocol::Mqtt, principal, "meter-1");
        let (refused, _) = tokio::join!(connect, settle(&fixture, Err(Reason::EventStoreFull)));
        assert_eq!(refused.unwrap_err(), Reason::NotAnnounced);
        assert_eq!(
            fixture.counted("hono_connections_attempts_total", "unavailable"),
            1
        );
        assert_eq!(
            fixture.counted("hono_connections_authenticated{", "acme"),
            0
        );
    }

    #[tokio::test]
    async fn a_device_that_gives_up_while_applications_are_told_has_disconnected() {
        let fixture = fixture(ConnectionEvents::Events);
        let principal = principal(&fixture).await;
        let connect = fixture
            .pipeline
            .connect(Protocol::Mqtt, principal, "meter-1");
        let mut connect = Box::pin(connect);
        assert!(futures_util::poll!(&mut connect).is_pending());
        let connected = settle(&fixture, Ok(())).await;
        drop(connect);
        let disconnected = settle(&fixture, Ok(())).await;
        for (event, cause) in [(connected, "connected"), (disconnected, "disconnected")] {
            let body: Value = serde_json::from_slice(&event.payload).unwrap();
            assert_eq!(body["cause"], cause);
        }
    }

    #[tokio::test]
    async fn unless_told_otherwise_there_are_no_events() {
        for quiet in [ConnectionEvents::None, ConnectionEvents::Logging] {
            let fixture = fixture(quiet);
            let principal = principal(&fixture).await;
            let connect = fixture
                .pipeline
                .connect(Protocol::Mqtt, principal, "meter-1");
            connect.await.unwrap().disconnected("meter-1").await;
            assert!(fixture.world.published.lock().unwrap().is_empty());
        }
    }
}
