//! What is counted of packets and connections, apart from what core counts of messages.

use std::sync::Arc;

use rmqtt_codec::types::QoS;
use rmqtt_codec::v5::ConnectAckReason as V5Code;
use weir_core::{AuthenticationError, Reason};
use weir_metrics::{MqttCount, MqttTraffic, Status};

use crate::codec::Packet;
use crate::outcome::{ConnectCode, is_about_rights, is_wrong_login};

/// What a packet from a client is.
pub(crate) fn received(packet: &Packet) -> MqttCount {
    match packet {
        Packet::Publish(publish) => match publish.qos {
            QoS::AtMostOnce => MqttCount::PublishQos0Received,
            QoS::AtLeastOnce => MqttCount::PublishQos1Received,
            QoS::ExactlyOnce => MqttCount::PublishQos2Received,
        },
        Packet::Subscribe(..) => MqttCount::Subscribe,
        Packet::Unsubscribe(..) => MqttCount::Unsubscribe,
        Packet::PublishAck(..) => MqttCount::PubackReceived,
        Packet::PublishRelease(_) => MqttCount::PubrelReceived,
        Packet::Unasked => MqttCount::Unasked,
        Packet::Ping => MqttCount::Ping,
        Packet::Disconnect => MqttCount::Disconnect,
    }
}

/// Counts a PUBLISH that was refused, if it is the sender's fault.
pub(crate) fn refused(traffic: &MqttTraffic, reason: &Reason) {
    if is_about_rights(reason) {
        traffic.count(MqttCount::PublishAuthError);
    } else if reason.metric_status() == Status::Unprocessable {
        traffic.count(MqttCount::PublishError);
    }
}

/// Counts whether a client has proved who it is. Where that could not be found out, it is neither.
pub(crate) fn authentication<T>(traffic: &MqttTraffic, known: &Result<T, AuthenticationError>) {
    match known {
        Ok(_) => traffic.count(MqttCount::Authenticated),
        Err(error) if is_wrong_login(&error.reason) => {
            traffic.count(MqttCount::AuthenticationFailed);
        }
        Err(_) => {}
    }
}

/// Counts a CONNACK that lets a client in.
pub(crate) fn welcomed(traffic: &MqttTraffic) {
    traffic.count(MqttCount::ConnackSent);
    traffic.count(MqttCount::Connected);
}

/// Counts a CONNACK that refuses.
pub(crate) fn connack_refused(traffic: &MqttTraffic, code: ConnectCode) {
    traffic.count(MqttCount::ConnackSent);
    traffic.count(MqttCount::ConnackError);
    if matches!(
        code.v5,
        V5Code::BadUserNameOrPassword | V5Code::NotAuthorized
    ) {
        traffic.count(MqttCount::ConnackAuthError);
    }
}

/// Counts the answer to a SUBSCRIBE.
pub(crate) fn suback(traffic: &MqttTraffic, granted: &[Option<QoS>]) {
    let all = granted.len();
    let granted = granted.iter().filter(|granted| granted.is_some()).count();
    traffic.count(MqttCount::SubackSent);
    traffic.add(MqttCount::FilterGranted, granted as u64);
    if granted < all {
        traffic.count(MqttCount::SubscribeError);
        traffic.add(MqttCount::FilterRefused, (all - granted) as u64);
    }
}

/// The subscriptions of one connection, which end with it.
pub(crate) struct Subscribed {
    traffic: Arc<MqttTraffic>,
    count: usize,
}

impl Subscribed {
    pub(crate) fn new(traffic: Arc<MqttTraffic>) -> Self {
        Self { traffic, count: 0 }
    }

    pub(crate) fn traffic(&self) -> &MqttTraffic {
        &self.traffic
    }

    /// There are so many now.
    pub(crate) fn set(&mut self, count: usize) {
        let before = std::mem::replace(&mut self.count, count);
        let (begun, ended) = (count.saturating_sub(before), before.saturating_sub(count));
        self.add(MqttCount::SubscriptionBegun, begun);
        self.add(MqttCount::SubscriptionEnded, ended);
        let (was_one, is_one) = (before > 0, count > 0);
        self.add(MqttCount::SubscriberBegun, (is_one && !was_one).into());
        self.add(MqttCount::SubscriberEnded, (was_one && !is_one).into());
    }

    fn add(&self, what: MqttCount, number: usize) {
        if number > 0 {
            self.traffic.add(what, number as u64);
        }
    }
}

impl Drop for Subscribed {
    fn drop(&mut self) {
        self.set(0);
    }
}
