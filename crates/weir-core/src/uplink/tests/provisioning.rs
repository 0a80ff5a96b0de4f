//! Devices that are registered by themselves, and connections whose registration ends.

use futures_util::FutureExt as _;
use serde_json::Value;
use time::OffsetDateTime;

use crate::world::{fixture, received, refused};
use crate::{
    ChangeKind, ChangeSubject, ClientContext, CredentialFault, Presented, Protocol, Reason,
    RegistryChange,
};

#[tokio::test]
async fn applications_are_told_of_a_new_device_before_its_first_message() {
    let fixture = fixture();
    fixture.world.provision("new", "gw");
    let gateway = fixture.session(Protocol::Mqtt, "gw").await;
    let admit = || async {
        let authenticated = received(("", "new")).authenticate(&gateway).unwrap();
        authenticated.admit().await
    };
    // Nobody takes the notification: the message fails and may be sent again.
    let told = async { fixture.world.settle(Err(Reason::NoConsumer)) };
    let (failed, _) = tokio::join!(refused(received(("", "new")), &gateway), told);
    assert_eq!(failed, (Reason::NotAnnounced, false));

    let told = async { fixture.world.settle(Ok(())) };
    let (admitted, event) = tokio::join!(admit(), told);
    assert_eq!(admitted.unwrap().message().device.as_str(), "new");
    assert_eq!(
        event.content_type.as_deref(),
        Some("application/vnd.eclipse-hono-device-provisioning-notification")
    );
    assert_eq!(event.device.as_str(), "new");
    assert_eq!(event.adapter, "hono-device-registry");
    assert_eq!(&*event.origin_address, "event");
    assert!(event.payload.is_empty());
    let expected = [
        ("hono_registration_status", "NEW"),
        ("tenant_id", "acme"),
        ("gateway_id", "gw"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), Value::from(value)));
    assert_eq!(event.defaults.properties, expected);

    // Once is enough.
    assert!(admit().await.is_ok());
    assert!(fixture.world.published.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_connection_is_told_when_its_device_is_gone() {
    let fixture = fixture();
    let session = fixture.session(Protocol::Mqtt, "sensor").await;
    let listener = fixture.pipeline.change_listener();
    let delete = |device: &str| RegistryChange {
        at: OffsetDateTime::UNIX_EPOCH,
        tenant: "acme".into(),
        subject: ChangeSubject::Device {
            device: device.into(),
            change: ChangeKind::Deleted,
            enabled: false,
        },
    };
    listener.changed(&delete("gw"));
    assert_eq!(session.closed().now_or_never(), None);
    listener.changed(&delete("4711"));
    session.closed().await;
    assert!(session.is_closed());
}

#[tokio::test]
async fn a_client_must_not_contradict_what_is_registered_of_it() {
    let fixture = fixture();
    let presented = || Presented::Password {
        username: "sensor@acme",
        password: b"secret",
    };
    let as_client = |client_id| {
        let context = ClientContext { client_id };
        fixture
            .pipeline
            .authenticate(Protocol::Mqtt, presented(), context)
    };
    assert!(as_client(None).await.is_ok());
    assert!(as_client(Some("meter-1")).await.is_ok());
    let refused = as_client(Some("meter-2")).await.unwrap_err();
    assert_eq!(refused.reason, Reason::Unauthorized(CredentialFault::Wrong));
}
