//! Commands that are on their way to the device.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::ops::Range;
use std::sync::Arc;

use bytes::BytesMut;
use rmqtt_codec::types::QoS;
use rmqtt_codec::v5::PublishAckReason;
use tokio::time::Instant;
use weir_core::command::CommandDelivery;
use weir_core::{Reason, RejectCondition, TraceContext};
use weir_metrics::{MqttCount, MqttTraffic};

use super::filter::Form;
use super::packet_ids::PacketIds;
use crate::bag::{TRACEPARENT, TRACESTATE};
use crate::codec::{Codec, Message, is_string};

/// Commands that may wait for their PUBACK at the same time.
const IN_FLIGHT: usize = 64;

/// What was put into the output and has no outcome yet.
///
/// With QoS 0 the device has a command when it is in the socket; with QoS 1 when it says so (device
/// contract §3.9). What is given up before the stream has taken anything of it is taken out of the
/// output again: an application that was told to send its command once more must not see it carried
/// out twice.
pub(super) struct Deliveries {
    receive_maximum: usize,
    /// Bytes of the output that the stream has taken.
    taken: u64,
    /// QoS 0, in the order of their places.
    unwritten: VecDeque<Sent>,
    /// QoS 1.
    open: VecDeque<Sent>,
    ids: PacketIds,
    traffic: Arc<MqttTraffic>,
}

/// A command, and until when it has to be with the device.
pub(super) struct Timed {
    pub(super) deadline: Instant,
    pub(super) delivery: CommandDelivery,
}

struct Sent {
    /// Where it is in all of the output, counted like `taken`.
    place: Range<u64>,
    packet_id: Option<NonZeroU16>,
    command: Timed,
}

impl Deliveries {
    pub(super) fn new(receive_maximum: NonZeroU16, traffic: Arc<MqttTraffic>) -> Self {
        Self {
            receive_maximum: receive_maximum.get().into(),
            taken: 0,
            unwritten: VecDeque::new(),
            open: VecDeque::new(),
            ids: PacketIds::default(),
            traffic,
        }
    }

    /// Whether one more command may be sent. A PUBLISH whose time is up still counts against the
    /// client's Receive Maximum until it is acknowledged [MQTT-3.3.4-9 in version 5].
    pub(super) fn has_room(&self, qos: QoS) -> bool {
        let has_window = || self.open.len() < IN_FLIGHT && self.ids.used() < self.receive_maximum;
        qos == QoS::AtMostOnce || has_window()
    }

    /// Whether any of them waits for its PUBACK.
    pub(super) fn has_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Sends a command by a subscription of `form` and `qos`.
    ///
    /// A device of version 5 is told also what the payload is, where an answer goes, and with the request
    /// id as Correlation Data what it answers; so one that knows nothing of Hono's topics can answer.
    pub(super) fn send(
        &mut self,
        (form, qos): (Form, QoS),
        command: Timed,
        codec: &Codec,
        out: &mut BytesMut,
    ) {
        let delivery = &command.delivery;
        let topic = match form.topic(delivery) {
            Ok(topic) => topic,
            Err(reason) => return command.delivery.reject(reason),
        };
        let request_id = delivery.request_id().filter(|_| codec.is_v5());
        let answer = request_id.map(|id| (form.answer(delivery, &id), id));
        let trace = delivery.command().recorded_trace();
        let parent = trace.map(TraceContext::traceparent);
        let told = [
            parent.as_ref().map(|parent| (TRACEPARENT, &**parent)),
            trace
                .and_then(TraceContext::tracestate)
                .filter(|state| is_string(state))
                .map(|state| (TRACESTATE, state)),
        ];
        let told: Vec<_> = told.into_iter().flatten().collect();
        let packet_id = match qos {
            QoS::AtMostOnce => None,
            _ => match self.ids.take() {
                None => return command.delivery.release(),
                taken => taken,
            },
        };
        let start = self.taken + out.len() as u64;
        let message = Message {
            topic: &topic,
            payload: &command.delivery.command().payload,
            content_type: command.delivery.command().content_type.as_deref(),
            answer: answer
                .as_ref()
                .map(|(topic, id)| (topic.as_str(), &**id.as_bytes())),
            user: &told,
        };
        // A client that takes only small packets is spared what it can do without, the trace first.
        let untraced = Message {
            user: &[],
            ..message
        };
        let bare = Message {
            content_type: None,
            answer: None,
            ..untraced
        };
        let forms = [message, untraced, bare];
        if forms
            .iter()
            .any(|form| codec.publish(*form, packet_id, out))
        {
            let row = match packet_id {
                Some(_) => &mut self.open,
                None => &mut self.unwritten,
            };
            row.push_back(Sent {
                place: start..self.taken + out.len() as u64,
                packet_id,
                command,
            });
        } else {
            packet_id.map(|packet_id| self.ids.free(packet_id));
            command.delivery.reject(Reason::PayloadTooLarge);
        }
    }

    /// The stream has taken so many bytes more; the last `unflushed` of all may not be in the socket.
    pub(super) fn written(&mut self, bytes: usize, unflushed: usize) {
        self.taken += bytes as u64;
        let in_socket = self.taken.saturating_sub(unflushed as u64);
        let is_in_socket = |sent: &mut Sent| sent.place.end <= in_socket;
        while let Some(sent) = self.unwritten.pop_front_if(is_in_socket) {
            self.traffic.count(MqttCount::PublishQos0Sent);
            sent.command.delivery.accept();
        }
    }

    /// The client has acknowledged a PUBLISH. If its time was up, that changes nothing any more. Says
    /// whether there was one.
    pub(super) fn acknowledged(&mut self, packet_id: NonZeroU16, said: PublishAckReason) -> bool {
        let is_known = self.ids.free(packet_id);
        let mut open = self.open.iter();
        let row = open.position(|open| open.packet_id == Some(packet_id));
        if let Some(sent) = row.and_then(|row| self.open.remove(row)) {
            self.traffic.count(MqttCount::PublishQos1Sent);
            settle(sent.command.delivery, said);
        }
        is_known
    }

    /// The first deadline of all.
    pub(super) fn first_deadline(&self) -> Option<Instant> {
        let all = self.unwritten.iter().chain(&self.open);
        all.map(|sent| sent.command.deadline).min()
    }

    /// Gives up what was not taken in time; says whether there was any.
    pub(super) fn expire(&mut self, now: Instant, out: &mut BytesMut) -> bool {
        self.give_up(|sent| sent.command.deadline <= now, out)
    }

    /// Gives up everything but what came with QoS 0 and is in the socket in part. Once all of the
    /// output is there, the device has those.
    pub(super) fn finish(mut self, out: &mut BytesMut) -> Vec<CommandDelivery> {
        let taken = self.taken;
        self.give_up(
            |sent| sent.packet_id.is_some() || sent.place.start >= taken,
            out,
        );
        let begun = self.unwritten.into_iter();
        let count = begun.len() as u64;
        self.traffic.add(MqttCount::PublishQos0Sent, count);
        begun.map(|sent| sent.command.delivery).collect()
    }

    fn give_up(&mut self, is_over: impl Fn(&Sent) -> bool, out: &mut BytesMut) -> bool {
        let mut over = Vec::new();
        for row in [&mut self.unwritten, &mut self.open] {
            // They were taken from several subscriptions in turn, so any may be over.
            if row.iter().any(&is_over) {
                let all = std::mem::take(row).into_iter();
                let (gone, kept): (VecDeque<_>, _) = all.partition(&is_over);
                *row = kept;
                over.extend(gone);
            }
        }
        // From the last one on, so that the places of those that are still to go stay true.
        over.sort_unstable_by_key(|sent| Reverse(sent.place.start));
        let any = !over.is_empty();
        for sent in over {
            if self.cut(&sent.place, out) {
                // The client has never seen it.
                sent.packet_id.map(|packet_id| self.ids.free(packet_id));
            } else {
                self.traffic.count(match sent.packet_id {
                    Some(_) => MqttCount::PublishQos1Sent,
                    None => MqttCount::PublishQos0Sent,
                });
            }
            sent.command.delivery.release();
        }
        any
    }

    /// Takes what is at `place` out of the output, if the stream has taken nothing of it.
    fn cut(&mut self, place: &Range<u64>, out: &mut BytesMut) -> bool {
        let Some(start) = place.start.checked_sub(self.taken) else {
            return false;
        };
        let length = place.end - place.start;
        let (begin, end) = (start as usize, (start + length) as usize);
        out.copy_within(end.., begin);
        out.truncate(out.len() - length as usize);
        for sent in self.unwritten.iter_mut().chain(&mut self.open) {
            if sent.place.start > place.start {
                sent.place = sent.place.start - length..sent.place.end - length;
            }
        }
        true
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
