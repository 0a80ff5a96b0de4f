//! Responses go to whoever listens at the address that the command has named.

use bytestring::ByteString;
use fe2o3_amqp::types::messaging::MessageId;
use fe2o3_amqp::types::primitives::SimpleValue;
use weir_core::command::{Messaging, ReplyTo, Response};
use weir_core::{Disposition, Downstream, Endpoint, Qos, Reason, RejectCondition};

use crate::application::{Application, accept, annotation, next};
use crate::{Gateway, message};

pub(crate) const ADDRESS: &str = "command_response/acme/4711/app/1";

pub(crate) fn response(reply_id: &'static str, payload: &str) -> Downstream {
    let reply_to = ReplyTo {
        messaging: Messaging::Amqp,
        correlation_id: "c-1".into(),
        reply_id: ByteString::from_static(reply_id),
    };
    Downstream {
        response: Some(Box::new(Response {
            reply_to,
            status: 200,
        })),
        ..message(Endpoint::CommandResponse, "4711", payload)
    }
}

pub(crate) async fn answer(gateway: &Gateway) -> Disposition {
    gateway.publish(response("4711/app/1", "21.5")).await
}

#[tokio::test]
async fn a_response_has_all_its_fields_and_its_outcome_reaches_the_device() {
    let gateway = Gateway::start().await;
    let mut application = Application::connect(gateway.address).await;
    let mut receiver = application.receiver(ADDRESS).await;
    let mut others = application
        .receiver("command_response/acme/4711/app/2")
        .await;

    let (disposition, ()) = tokio::join!(answer(&gateway), async {
        let delivery = next(&mut receiver).await;
        let properties = delivery.message().properties.as_ref().unwrap();
        assert_eq!(properties.to.as_deref(), Some(ADDRESS));
        let correlation_id = MessageId::String("c-1".to_owned());
        assert_eq!(properties.correlation_id, Some(correlation_id));
        assert!(properties.creation_time.is_some());
        let content_type = properties.content_type.as_ref().unwrap();
        assert_eq!(content_type.as_str(), "text/plain");
        let property = |key: &str| {
            let properties = delivery.message().application_properties.as_ref()?;
            properties.0.get(key).cloned()
        };
        let text = |text: &str| Some(SimpleValue::String(text.to_owned()));
        assert_eq!(property("status"), Some(SimpleValue::Int(200)));
        assert_eq!(property("tenant_id"), text("acme"));
        assert_eq!(property("device_id"), text("4711"));
        assert_eq!(annotation(&delivery, "resource").as_deref(), Some(ADDRESS));
        receiver.accept(&delivery).await.unwrap();
    });
    assert_eq!(disposition, Ok(()));

    let (disposition, ()) = tokio::join!(answer(&gateway), async {
        let delivery = next(&mut receiver).await;
        receiver.release(&delivery).await.unwrap();
    });
    assert_eq!(disposition, Err(Reason::Released));

    let (disposition, ()) = tokio::join!(answer(&gateway), async {
        let delivery = next(&mut receiver).await;
        receiver.reject(&delivery, None).await.unwrap();
    });
    let refused = Reason::Rejected(RejectCondition::Other, None);
    assert_eq!(disposition, Err(refused));

    let other = gateway.publish(response("4711/app/2", "other"));
    let (disposition, text) = tokio::join!(other, accept(&mut others));
    assert_eq!((disposition, &*text), (Ok(()), "other"));
}

#[tokio::test]
async fn without_somebody_who_listens_there_is_no_consumer() {
    let gateway = Gateway::start().await;
    assert_eq!(answer(&gateway).await, Err(Reason::NoConsumer));
    let mut application = Application::connect(gateway.address).await;
    let mut receiver = application.receiver(ADDRESS).await;
    let (disposition, _) = tokio::join!(answer(&gateway), accept(&mut receiver));
    assert_eq!(disposition, Ok(()));
    receiver.close().await.unwrap();
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
        let response = Downstream {
            qos,
            ..response("4711/app/1", "late")
        };
        assert_eq!(gateway.publish(response).await, Err(Reason::NoConsumer));
    }
}

#[tokio::test]
async fn who_tells_an_outcome_and_leaves_it_open_has_not_settled() {
    let gateway = Gateway::start().await;
    let mut application = Application::connect(gateway.address).await;
    let mut receiver = application.second(ADDRESS).await;
    let (disposition, _) = tokio::join!(answer(&gateway), accept(&mut receiver));
    assert_eq!(disposition, Err(Reason::Unsettled));
}
