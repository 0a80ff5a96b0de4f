//! Tenants have nothing of each other's commands.

use super::{FILTER, SUBSCRIBED, assert_response, replies, reply_address};
use crate::kit::{Answer, Command, Commander, Fate, Gateway, MqttDevice, story};

#[test]
fn devices_of_the_same_name_in_two_tenants() {
    story(async {
        let gateway = Gateway::start().await;
        let ours = gateway.tenant_and_device().await;
        let theirs = gateway.tenant_and_device().await;
        let mut commander = Commander::of(&gateway, &ours.tenant).await;
        let mut others = Commander::of(&gateway, &theirs.tenant).await;
        let mut our_replies = replies(&gateway, &ours.tenant).await;
        let mut our = MqttDevice::v5(&gateway, &ours).await.unwrap();
        let mut their = MqttDevice::v5(&gateway, &theirs).await.unwrap();
        assert_eq!(their.subscribe(FILTER, 1).await, SUBSCRIBED);
        // Ours cannot be reached, however many of the name can.
        let mut waiting = MqttDevice::v5(&gateway, &ours).await.unwrap();
        assert_eq!(waiting.subscribe(FILTER, 1).await, SUBSCRIBED);
        waiting.unsubscribe(FILTER).await;
        let request = Command::one_way(&ours, "get", "ours");
        let request = request.answered_at(&reply_address(&ours.tenant), "1");
        assert_eq!(commander.send(&request).await, Fate::Released);

        assert_eq!(our.subscribe(FILTER, 1).await, SUBSCRIBED);
        let (fate, arrived) = tokio::join!(commander.send(&request), our.command());
        assert_eq!((fate, &*arrived.payload), (Fate::Accepted, "ours"));
        let command = Command::one_way(&theirs, "set", "theirs");
        let (fate, heard) = tokio::join!(others.send(&command), their.command());
        assert_eq!((fate, &*heard.payload), (Fate::Accepted, "theirs"));

        // With our request's id they reach an application of their own, and never ours.
        let topic = format!("command///res/{}/200", arrived.request_id());
        let quiet = format!("{topic}/?on-error=ignore");
        let answer = their.publish(&quiet, "forged").await;
        assert_eq!(answer, Answer::Acknowledged { success: false });
        let mut their_replies = replies(&gateway, &theirs.tenant).await;
        let (answer, response) =
            tokio::join!(their.publish(&topic, "forged"), their_replies.accept_next());
        assert_eq!(answer, Answer::Acknowledged { success: true });
        assert_response(&response, &theirs, "1", 200, "forged");
        let (answer, response) = tokio::join!(our.publish(&topic, "42"), our_replies.accept_next());
        assert_eq!(answer, Answer::Acknowledged { success: true });
        assert_response(&response, &ours, "1", 200, "42");
    });
}
