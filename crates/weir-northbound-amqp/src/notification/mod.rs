//! What applications are told when the registry changes (northbound contract §8.1).
//!
//! Each topic is a ring that all its receivers share and read at their own pace: every one gets
//! every notification, none holds up another or whoever made the change, and one that falls behind
//! by more than the ring holds misses the oldest. Without a receiver nothing is kept.

mod subscription;

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use serde::Serialize;
use tokio::sync::broadcast;
use weir_amqp_engine::{MessageWriter, Properties};
use weir_core::{
    ChangeKind, ChangeListener, ChangeSubject, DeviceId, LogLimit, RegistryChange, TenantId,
    Timestamp,
};

pub(crate) use subscription::Subscription;

/// Notifications of a topic that are kept for receivers without credit.
const CAPACITY: usize = 1024;
/// Largest notification, bytes of JSON. One is larger only if somebody has chosen ids of thousands of
/// characters; with this a topic holds at most 4 MiB, whatever its receivers do.
const LARGEST: usize = 4096;

static UNSENDABLE: LogLimit = LogLimit::new();

/// An address of notifications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topic {
    Tenants,
    Devices,
}

impl Topic {
    pub(crate) const ALL: [Self; 2] = [Self::Tenants, Self::Devices];

    pub(crate) fn address(self) -> &'static str {
        match self {
            Self::Tenants => "notification/registry-tenant",
            Self::Devices => "notification/registry-device",
        }
    }

    fn of(subject: &ChangeSubject) -> Self {
        match subject {
            ChangeSubject::Tenant { .. } => Self::Tenants,
            ChangeSubject::Device { .. }
            | ChangeSubject::Credentials { .. }
            | ChangeSubject::AllDevices => Self::Devices,
        }
    }
}

/// Both topics.
#[derive(Debug)]
pub(crate) struct Notifications {
    tenants: broadcast::Sender<Bytes>,
    devices: broadcast::Sender<Bytes>,
}

impl Notifications {
    pub(crate) fn new() -> Self {
        Self {
            tenants: broadcast::Sender::new(CAPACITY),
            devices: broadcast::Sender::new(CAPACITY),
        }
    }

    /// All notifications from now on, each an encoded message.
    pub(crate) fn subscribe(&self, topic: Topic) -> broadcast::Receiver<Bytes> {
        self.topic(topic).subscribe()
    }

    fn topic(&self, topic: Topic) -> &broadcast::Sender<Bytes> {
        match topic {
            Topic::Tenants => &self.tenants,
            Topic::Devices => &self.devices,
        }
    }
}

impl ChangeListener for Notifications {
    fn changed(&self, change: &RegistryChange) {
        let topic = Topic::of(&change.subject);
        let receivers = self.topic(topic);
        if receivers.receiver_count() == 0 {
            return;
        }
        match encode(topic, change) {
            // If the last receiver has just gone, nobody misses it.
            Ok(message) => drop(receivers.send(message)),
            Err(error) => {
                if let Some(unlogged) = UNSENDABLE.admit(Instant::now()) {
                    let address = topic.address();
                    tracing::warn!(address, %error, unlogged, "notification not sent");
                }
            }
        }
    }
}

/// Why a change is not told.
#[derive(Debug, thiserror::Error)]
enum Unsendable {
    #[error("{0} bytes are more than the {LARGEST} that a notification may have")]
    TooLarge(usize),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// The message, which is the same for every receiver.
fn encode(topic: Topic, change: &RegistryChange) -> Result<Bytes, Unsendable> {
    let json = serde_json::to_vec(&Body::of(change))?;
    if json.len() > LARGEST {
        return Err(Unsendable::TooLarge(json.len()));
    }
    let mut message = BytesMut::with_capacity(json.len() + 64);
    let properties = Properties {
        to: Some(topic.address()),
        content_type: Some("application/json"),
        ..Properties::default()
    };
    MessageWriter::new(&mut message)
        .properties(&properties)
        .data(&json);
    Ok(message.freeze())
}

/// The JSON of a notification. Each type has its own members, and a reader expects all of them.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Body<'a> {
    r#type: &'static str,
    source: &'static str,
    creation_time: Timestamp,
    tenant_id: &'a TenantId,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_id: Option<&'a DeviceId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    invalidate_cache_on_update: Option<bool>,
}

impl<'a> Body<'a> {
    fn of(change: &'a RegistryChange) -> Self {
        let body = |r#type| Self {
            r#type,
            source: "device-registry",
            creation_time: change.at.into(),
            tenant_id: &change.tenant,
            device_id: None,
            change: None,
            enabled: None,
            invalidate_cache_on_update: None,
        };
        match &change.subject {
            ChangeSubject::Tenant {
                change,
                enabled,
                invalidate_cache,
            } => Self {
                change: Some(name(*change)),
                enabled: Some(*enabled),
                invalidate_cache_on_update: Some(*invalidate_cache),
                ..body("tenant-change-v1")
            },
            ChangeSubject::Device {
                device,
                change,
                enabled,
            } => Self {
                device_id: Some(device),
                change: Some(name(*change)),
                enabled: Some(*enabled),
                ..body("device-change-v1")
            },
            ChangeSubject::Credentials { device } => Self {
                device_id: Some(device),
                ..body("credentials-change-v1")
            },
            ChangeSubject::AllDevices => body("all-devices-of-tenant-deleted-v1"),
        }
    }
}

fn name(change: ChangeKind) -> &'static str {
    match change {
        ChangeKind::Created => "CREATE",
        ChangeKind::Updated => "UPDATE",
        ChangeKind::Deleted => "DELETE",
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;
    use weir_amqp_engine::{Body as AmqpBody, Message};

    use super::*;

    fn change(subject: ChangeSubject) -> RegistryChange {
        RegistryChange {
            at: datetime!(2026-03-01 00:59:58.987 +02:00),
            tenant: "acme".into(),
            subject,
        }
    }

    fn tenant(change: ChangeKind, enabled: bool, invalidate_cache: bool) -> ChangeSubject {
        ChangeSubject::Tenant {
            change,
            enabled,
            invalidate_cache,
        }
    }

    fn device(change: ChangeKind, enabled: bool) -> ChangeSubject {
        ChangeSubject::Device {
            device: "47:11".into(),
            change,
            enabled,
        }
    }

    /// The head of each JSON text, then what is its own.
    fn json(kind: &str, rest: &str) -> String {
        let head = r#""source":"device-registry","creation-time":"2026-02-28T22:59:58Z""#;
        format!(r#"{{"type":"{kind}",{head},"tenant-id":"acme"{rest}}}"#)
    }

    #[test]
    fn each_change_has_the_json_and_the_address_of_its_type() {
        use ChangeKind::{Created, Deleted, Updated};
        let (tenants, devices) = (
            "notification/registry-tenant",
            "notification/registry-device",
        );
        let credentials = ChangeSubject::Credentials {
            device: "47:11".into(),
        };
        let rows = [
            (
                tenant(Created, true, false),
                tenants,
                "tenant-change-v1",
                r#","change":"CREATE","enabled":true,"invalidate-cache-on-update":false"#,
            ),
            (
                tenant(Updated, false, true),
                tenants,
                "tenant-change-v1",
                r#","change":"UPDATE","enabled":false,"invalidate-cache-on-update":true"#,
            ),
            (
                tenant(Deleted, false, true),
                tenants,
                "tenant-change-v1",
                r#","change":"DELETE","enabled":false,"invalidate-cache-on-update":true"#,
            ),
            (
                device(Created, true),
                devices,
                "device-change-v1",
                r#","device-id":"47:11","change":"CREATE","enabled":true"#,
            ),
            (
                device(Updated, false),
                devices,
                "device-change-v1",
                r#","device-id":"47:11","change":"UPDATE","enabled":false"#,
            ),
            (
                device(Deleted, false),
                devices,
                "device-change-v1",
                r#","device-id":"47:11","change":"DELETE","enabled":false"#,
            ),
            (
                credentials,
                devices,
                "credentials-change-v1",
                r#","device-id":"47:11""#,
            ),
            (
                ChangeSubject::AllDevices,
                devices,
                "all-devices-of-tenant-deleted-v1",
                "",
            ),
        ];
        for (subject, address, kind, rest) in rows {
            let change = change(subject);
            let encoded = encode(Topic::of(&change.subject), &change).unwrap();
            let decoded = Message::decode(encoded).unwrap();
            assert_eq!(
                decoded.body,
                AmqpBody::Data(json(kind, rest).into()),
                "{change:?}"
            );
            assert_eq!(decoded.properties.to.as_deref(), Some(address));
            let content_type = decoded.properties.content_type.as_deref();
            assert_eq!(content_type, Some("application/json"));
            assert!(!decoded.header.durable);
        }
    }

    #[test]
    fn without_a_receiver_nothing_is_kept() {
        let notifications = Notifications::new();
        let made = change(ChangeSubject::AllDevices);
        notifications.changed(&made);
        assert_eq!(notifications.devices.len(), 0, "nobody has come yet");
        let mut receiver = notifications.subscribe(Topic::Devices);
        assert!(receiver.try_recv().is_err(), "what was before is past");
        notifications.changed(&made);
        assert_eq!(notifications.devices.len(), 1);
        drop(receiver);
        assert_eq!(notifications.devices.len(), 0, "all have gone");
        notifications.changed(&made);
        assert_eq!(notifications.devices.len(), 0);
    }

    #[test]
    fn ids_of_thousands_of_characters_cannot_fill_the_memory() {
        let notifications = Notifications::new();
        let mut receiver = notifications.subscribe(Topic::Devices);
        notifications.changed(&change(ChangeSubject::Credentials {
            device: "x".repeat(LARGEST).into(),
        }));
        assert!(receiver.try_recv().is_err());
        notifications.changed(&change(ChangeSubject::Credentials {
            device: "x".repeat(LARGEST / 2).into(),
        }));
        assert!(receiver.try_recv().is_ok());
    }
}
