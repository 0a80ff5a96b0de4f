//! Commands: what a device takes from applications, by subscription (device contract §3.9).
//!
//! * [`Downlinks`] is all of it for one connection. A connection has none until its first SUBSCRIBE.
//! * `request` is a SUBSCRIBE that has no answer yet, `filter` the grammar of filters and topics.
//! * `deliveries` are the commands that were sent and have no outcome yet, `packet_ids` their numbers.
//!
//! Responses are uploads and go with those: see `uplinks` and `address`.

mod deliveries;
mod filter;
mod packet_ids;
mod request;

use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use bytestring::ByteString;
use rmqtt_codec::types::QoS;
use rmqtt_codec::v5::PublishAckReason;
use weir_core::command::{CommandDelivery, Subscription};
use weir_core::{DeviceId, Principal, Session};

use crate::codec::Codec;
use crate::latch::Signal;
use deliveries::Deliveries;
use filter::{Filter, Form};
use request::{Made, Request};

/// SUBSCRIBEs that may wait for their answer before nothing more is read.
const OPEN_REQUESTS: usize = 8;

/// Subscriptions of one connection; more are refused.
const SUBSCRIPTIONS: usize = 1000;

/// The subscriptions of a connection, and the commands that come by them.
///
/// Whatever it waits for wakes it by one signal, so that a connection whose device only sends pays
/// for one atomic swap.
pub(crate) struct Downlinks {
    session: Arc<Session>,
    signal: Arc<Signal>,
    /// In the order in which they came; only the first is worked on, so that SUBACKs have that
    /// order and a later claim to the same device replaces an earlier one.
    requests: VecDeque<Request>,
    active: Vec<Active>,
    /// The subscription that was asked last, so that all get their turn.
    turn: usize,
    deliveries: Deliveries,
    /// Commands may wait for the output to be written.
    is_held_back: bool,
}

/// A subscription that was granted.
struct Active {
    key: DeviceId,
    form: Form,
    qos: QoS,
    /// None once another connection has taken its place.
    subscription: Option<Subscription>,
}

impl Active {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Option<CommandDelivery> {
        match self.subscription.as_mut()?.poll_next(cx) {
            Poll::Ready(Some(delivery)) => Some(delivery),
            Poll::Ready(None) => {
                self.subscription = None;
                None
            }
            Poll::Pending => None,
        }
    }
}

impl Downlinks {
    /// For a client that has `timeout` to acknowledge a command, and lets `receive_maximum` of them
    /// be unacknowledged.
    pub(crate) fn new(
        session: Arc<Session>,
        timeout: Duration,
        receive_maximum: NonZeroU16,
    ) -> Self {
        Self {
            session,
            signal: Signal::new(),
            requests: VecDeque::new(),
            active: Vec::new(),
            turn: 0,
            deliveries: Deliveries::new(timeout, receive_maximum),
            is_held_back: false,
        }
    }

    /// Whether one more SUBSCRIBE may come.
    pub(crate) fn has_room(&self) -> bool {
        self.requests.len() < OPEN_REQUESTS
    }

    /// A SUBSCRIBE. It is answered when there is a result for each of its filters.
    pub(crate) fn subscribe(&mut self, packet_id: NonZeroU16, filters: &[(ByteString, QoS)]) {
        let Principal { tenant, device, .. } = self.session.principal();
        let mut room = SUBSCRIPTIONS.saturating_sub(self.active.len());
        room = room.saturating_sub(self.requests.iter().map(Request::wants).sum());
        let mut request = Request::new(packet_id, filters.len());
        for (place, (text, qos)) in filters.iter().enumerate().rev() {
            if let Some(filter) = Filter::parse(text, tenant, device) {
                let key = filter.key(device).clone();
                let is_known = self.active.iter().any(|active| active.key == key);
                if is_known || request.wants() < room {
                    request.add(place, &key, filter, *qos);
                }
            }
        }
        self.requests.push_back(request);
        self.signal.raise();
    }

    /// An UNSUBSCRIBE: says of each filter whether there was such a subscription.
    pub(crate) fn unsubscribe(&mut self, filters: &[ByteString]) -> Vec<bool> {
        let ended = filters.iter().map(|text| self.end(text));
        ended.collect()
    }

    fn end(&mut self, text: &str) -> bool {
        let Principal { tenant, device, .. } = self.session.principal();
        let Some(filter) = Filter::parse(text, tenant, device) else {
            return false;
        };
        let key = filter.key(device);
        let active = self.active.iter().position(|active| active.key == *key);
        if let Some(place) = active {
            self.active.swap_remove(place);
        }
        let mut is_ended = active.is_some();
        for request in &mut self.requests {
            is_ended |= request.give_up(key);
        }
        is_ended
    }

    /// A PUBACK.
    pub(crate) fn acknowledged(&mut self, packet_id: NonZeroU16, said: PublishAckReason) {
        self.deliveries.acknowledged(packet_id, said);
        // There may be room for another command.
        self.signal.raise();
    }

    /// So many bytes of the output are in the socket now.
    pub(crate) fn written(&mut self, bytes: usize) {
        self.deliveries.written(bytes);
        if bytes > 0 && std::mem::take(&mut self.is_held_back) {
            self.signal.raise();
        }
    }

    /// Does all there is to do, as long as less than `limit` bytes wait to be written.
    pub(crate) fn poll(
        &mut self,
        cx: &Context<'_>,
        codec: &mut Codec,
        (out, limit): (&mut BytesMut, usize),
    ) {
        let Some(waker) = self.signal.lower(cx) else {
            return;
        };
        let cx = &mut Context::from_waker(&waker);
        self.answer_requests(cx, codec, out);
        loop {
            self.take_commands(cx, codec, (out, limit));
            if !self.deliveries.poll_expired(cx) {
                return;
            }
        }
    }

    fn answer_requests(&mut self, cx: &mut Context<'_>, codec: &mut Codec, out: &mut BytesMut) {
        while let Some(request) = self.requests.front_mut()
            && request.poll(cx, &self.session).is_ready()
        {
            let Some(request) = self.requests.pop_front() else {
                return;
            };
            let packet_id = request.packet_id;
            let (granted, made) = request.finish();
            codec.suback(packet_id, &granted, out);
            made.for_each(|made| self.begin(made));
        }
    }

    /// Puts a subscription in force. If there was one for the same, it has been replaced already.
    fn begin(&mut self, made: Made) {
        let active = Active {
            key: made.key,
            form: made.form,
            qos: made.qos,
            subscription: Some(made.subscription),
        };
        let mut all = self.active.iter_mut();
        match all.find(|earlier| earlier.key == active.key) {
            Some(earlier) => *earlier = active,
            None => self.active.push(active),
        }
    }

    /// Asks all subscriptions in turn, until none has a command or there is no room for one.
    fn take_commands(
        &mut self,
        cx: &mut Context<'_>,
        codec: &Codec,
        (out, limit): (&mut BytesMut, usize),
    ) {
        let count = self.active.len();
        let mut idle = 0;
        while idle < count {
            if out.len() >= limit {
                self.is_held_back = true;
                return;
            }
            self.turn = (self.turn + 1) % count;
            let active = &mut self.active[self.turn];
            idle += 1;
            if self.deliveries.has_room(active.qos)
                && let Some(delivery) = active.poll_next(cx)
            {
                idle = 0;
                match active.form.topic(&delivery) {
                    Ok(topic) => {
                        let way = (topic.as_str(), active.qos);
                        self.deliveries.send(way, delivery, codec, out);
                    }
                    Err(reason) => delivery.reject(reason),
                }
            }
        }
    }

    /// Gives the subscriptions up and tells nobody: the process stops, or the registration has ended
    /// (device contract §1.17). Commands that are in the output are sent still.
    pub(crate) fn leave(&mut self) {
        let active = self.active.drain(..);
        active
            .filter_map(|active| active.subscription)
            .for_each(Subscription::leave);
        self.requests.drain(..).for_each(Request::leave);
        self.deliveries.leave();
    }
}
