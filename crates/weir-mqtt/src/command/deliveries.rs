//! Commands that are on their way to the device.

use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use bytes::BytesMut;
use rmqtt_codec::types::QoS;
use rmqtt_codec::v5::PublishAckReason;
use tokio::time::{Instant, Sleep, sleep_until};
use weir_core::command::CommandDelivery;
use weir_core::{Reason, RejectCondition};

use super::packet_ids::PacketIds;
use crate::codec::Codec;

/// Commands that may wait for their PUBACK at the same time.
const IN_FLIGHT: usize = 64;

/// What was written and has no outcome yet.
///
/// With QoS 0 the device has a command when it is in the socket; with QoS 1 when it says so, for which
/// it has so much time (device contract §3.9).
pub(super) struct Deliveries {
    timeout: Duration,
    receive_maximum: usize,
    /// Bytes of the output that went into the socket.
    written: u64,
    /// QoS 0, each with what `written` is when all of it is in the socket.
    unwritten: VecDeque<(u64, CommandDelivery)>,
    /// QoS 1, in the order of their deadlines.
    open: VecDeque<Open>,
    ids: PacketIds,
    /// Fires at the first deadline or before it: an acknowledgement leaves it as it is.
    timer: Option<Pin<Box<Sleep>>>,
}

struct Open {
    packet_id: NonZeroU16,
    deadline: Instant,
    delivery: CommandDelivery,
}

impl Deliveries {
    pub(super) fn new(timeout: Duration, receive_maximum: NonZeroU16) -> Self {
        Self {
            timeout,
            receive_maximum: receive_maximum.get().into(),
            written: 0,
            unwritten: VecDeque::new(),
            open: VecDeque::new(),
            ids: PacketIds::default(),
            timer: None,
        }
    }

    /// Whether one more command may be sent. A PUBLISH whose time is up still counts against the
    /// client's Receive Maximum until it is acknowledged [MQTT-3.3.4-9 in version 5].
    pub(super) fn has_room(&self, qos: QoS) -> bool {
        let has_window = || self.open.len() < IN_FLIGHT && self.ids.used() < self.receive_maximum;
        qos == QoS::AtMostOnce || has_window()
    }

    /// Sends a command.
    pub(super) fn send(
        &mut self,
        (topic, qos): (&str, QoS),
        delivery: CommandDelivery,
        codec: &Codec,
        out: &mut BytesMut,
    ) {
        let packet_id = match qos {
            QoS::AtMostOnce => None,
            _ => match self.ids.take() {
                None => return delivery.release(),
                taken => taken,
            },
        };
        let payload = &delivery.command().payload;
        let is_sent = codec.publish(topic, packet_id, payload, out);
        match packet_id {
            Some(packet_id) if is_sent => self.open.push_back(Open {
                packet_id,
                deadline: Instant::now() + self.timeout,
                delivery,
            }),
            None if is_sent => {
                let end = self.written + out.len() as u64;
                self.unwritten.push_back((end, delivery));
            }
            unused => {
                unused.map(|packet_id| self.ids.free(packet_id));
                delivery.reject(Reason::PayloadTooLarge);
            }
        }
    }

    /// So many bytes more are in the socket.
    pub(super) fn written(&mut self, bytes: usize) {
        self.written += bytes as u64;
        let written = self.written;
        while let Some((_, delivery)) = self.unwritten.pop_front_if(|(end, _)| *end <= written) {
            delivery.accept();
        }
    }

    /// The client has acknowledged a PUBLISH. If its time was up, that changes nothing any more.
    pub(super) fn acknowledged(&mut self, packet_id: NonZeroU16, said: PublishAckReason) {
        self.ids.free(packet_id);
        let mut open = self.open.iter();
        let Some(place) = open.position(|open| open.packet_id == packet_id) else {
            return;
        };
        if let Some(Open { delivery, .. }) = self.open.remove(place) {
            settle(delivery, said);
        }
    }

    /// Gives up what was not acknowledged in time; says whether there was any. The task is woken when
    /// it is time to ask again.
    pub(super) fn poll_expired(&mut self, cx: &mut Context<'_>) -> bool {
        let before = self.open.len();
        if self.timer.is_none() {
            let first = self.open.front();
            self.timer = first.map(|first| Box::pin(sleep_until(first.deadline)));
        }
        while let Some(timer) = &mut self.timer
            && timer.as_mut().poll(cx).is_ready()
        {
            let now = Instant::now();
            while let Some(late) = self.open.pop_front_if(|first| first.deadline <= now) {
                late.delivery.release();
            }
            match self.open.front() {
                Some(first) => timer.as_mut().reset(first.deadline),
                None => self.timer = None,
            }
        }
        self.open.len() < before
    }

    /// Gives up what was not acknowledged: no acknowledgement is read any more.
    pub(super) fn leave(&mut self) {
        self.open.clear();
        self.timer = None;
    }
}

/// What becomes of a command that a device has acknowledged. In version 5 it can say that it did not
/// take it: for ever, if the fault is in the command.
fn settle(delivery: CommandDelivery, said: PublishAckReason) {
    use PublishAckReason as Said;
    match said {
        Said::Success | Said::NoMatchingSubscribers => delivery.accept(),
        Said::UnspecifiedError
        | Said::ImplementationSpecificError
        | Said::PacketIdentifierInUse
        | Said::QuotaExceeded => delivery.release(),
        Said::NotAuthorized | Said::TopicNameInvalid | Said::PayloadFormatInvalid => {
            let code = u8::from(said);
            let text = format!("the device refused the command with reason code {code:#04x}");
            delivery.reject(Reason::Rejected(RejectCondition::Other, Some(text.into())));
        }
    }
}
