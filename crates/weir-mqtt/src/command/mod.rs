//! Commands: what a device takes from applications, by subscription (device contract §3.9).
//!
//! * [`Downlinks`] is all of it for one connection. A connection has none until its first SUBSCRIBE.
//! * `request` is a SUBSCRIBE that has no answer yet, `filter` the grammar of filters and topics.
//! * `deliveries` are the commands that were sent and have no outcome yet, `packet_ids` their numbers.
//!
//! A command has one deadline, counted from when it is taken from its subscription. It may spend that
//! time waiting, in the output, or unacknowledged; then it is given up. If the stream has taken nothing
//! of it by then, it is never sent.
//!
//! Responses are uploads and go with those: see `uplinks` and `address`. Subscriptions for errors are
//! asked for in the same packets, so they are made and ended here; what comes of them is in `error`.

mod deliveries;
mod filter;
mod packet_ids;
mod request;

use std::collections::VecDeque;
use std::future::Future as _;
use std::num::NonZeroU16;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use bytestring::ByteString;
use rmqtt_codec::types::QoS;
use rmqtt_codec::v5::PublishAckReason;
use tokio::time::{Instant, Sleep, sleep_until};
use weir_core::command::{CommandDelivery, Subscription};
use weir_metrics::MqttTraffic;

use crate::client::{Client, Key};
use crate::codec::Codec;
use crate::count::{self, Subscribed};
use crate::error;
use crate::latch::Signal;
use deliveries::{Deliveries, Timed};
use filter::Form;
use request::{Claim, Made, Request, Wish};

/// SUBSCRIBEs that may wait for their answer before nothing more is read.
const OPEN_REQUESTS: usize = 8;

/// Subscriptions of one connection; more are refused.
const SUBSCRIPTIONS: usize = 1000;

/// Commands of one connection that may wait until there is room to send them.
const WAITING: usize = 64;

/// The row of a subscription that grew beyond this is given back when it is empty.
const KEPT_ROW: usize = 4;

/// The subscriptions of a connection, and the commands that come by them.
///
/// Whatever it waits for wakes it by one signal, so that a connection whose device only sends pays
/// for one atomic swap.
pub(crate) struct Downlinks {
    client: Client,
    signal: Arc<Signal>,
    /// In the order in which they came; only the first is worked on, so that SUBACKs have that
    /// order and a later claim to the same device replaces an earlier one.
    requests: VecDeque<Request>,
    active: Vec<Active>,
    errors: error::Subscriptions,
    /// The subscription that was asked last, so that all get their turn.
    turn: usize,
    deliveries: Deliveries,
    /// How long a command may take to be with the device.
    timeout: Duration,
    /// Fires at the first deadline or before it: a command that was taken leaves it as it is.
    timer: Option<Pin<Box<Sleep>>>,
    /// Commands may wait for the output to be written.
    is_held_back: bool,
    subscribed: Subscribed,
}

/// A subscription that was granted.
struct Active {
    key: Key,
    form: Form,
    qos: QoS,
    /// None once another connection has taken its place.
    subscription: Option<Subscription>,
    /// Commands that there was no room for when they came.
    waiting: VecDeque<Timed>,
}

impl Active {
    /// The next command that there is still time for.
    fn next(&mut self, cx: &mut Context<'_>, timeout: Duration) -> Option<Timed> {
        while let Some(command) = self.pop_waiting(|_| true) {
            if command.deadline > Instant::now() {
                return Some(command);
            }
            command.delivery.release();
        }
        let delivery = self.poll_next(cx)?;
        let deadline = Instant::now() + timeout;
        Some(Timed { deadline, delivery })
    }

    fn pop_waiting(&mut self, is_wanted: impl FnOnce(&mut Timed) -> bool) -> Option<Timed> {
        let command = self.waiting.pop_front_if(is_wanted);
        if self.waiting.is_empty() {
            self.waiting.shrink_to(KEPT_ROW);
        }
        command
    }

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
    /// For a client that a command has to be with in `timeout`, and that lets `receive_maximum` of
    /// them be unacknowledged.
    pub(crate) fn new(
        client: Client,
        timeout: Duration,
        receive_maximum: NonZeroU16,
        traffic: Arc<MqttTraffic>,
    ) -> Self {
        Self {
            client,
            signal: Signal::new(),
            requests: VecDeque::new(),
            active: Vec::new(),
            errors: error::Subscriptions::default(),
            turn: 0,
            deliveries: Deliveries::new(receive_maximum, traffic.clone()),
            timeout,
            timer: None,
            is_held_back: false,
            subscribed: Subscribed::new(traffic),
        }
    }

    /// The subscriptions for errors.
    pub(crate) fn errors(&self) -> &error::Subscriptions {
        &self.errors
    }

    /// Whether one more SUBSCRIBE may come.
    pub(crate) fn has_room(&self) -> bool {
        self.requests.len() < OPEN_REQUESTS
    }

    /// Whether a command waits for its PUBACK.
    pub(crate) fn has_open(&self) -> bool {
        self.deliveries.has_open()
    }

    /// A SUBSCRIBE. It is answered when there is a result for each of its filters. What can be granted
    /// without a question is in force at once, for what was published right behind it.
    pub(crate) fn subscribe(&mut self, packet_id: NonZeroU16, filters: &[(ByteString, QoS)]) {
        let own = self.client.own();
        let taken = self.active.len() + self.errors.len();
        let mut room = SUBSCRIPTIONS.saturating_sub(taken);
        room = room.saturating_sub(self.requests.iter().map(Request::wants).sum());
        let mut request = Request::new(packet_id, filters.len());
        // More than there may be subscriptions would only cost time.
        for (place, (text, qos)) in filters.iter().enumerate().rev().take(SUBSCRIPTIONS) {
            if let Some(wish) = Wish::parse(text, own) {
                let claim = wish.claim();
                let is_known = match &claim {
                    Claim::Commands(key) => self.active.iter().any(|all| all.key == *key),
                    Claim::Errors(key) => self.errors.has(key),
                };
                if is_known || request.wants() < room {
                    let granted = request.add(place, (claim, wish), *qos, own);
                    if let Some(filter) = granted {
                        room -= usize::from(!is_known);
                        self.errors.begin(filter);
                    }
                }
            }
        }
        self.requests.push_back(request);
        self.count_subscriptions();
        self.signal.raise();
    }

    /// An UNSUBSCRIBE: says of each filter whether there was such a subscription.
    pub(crate) fn unsubscribe(&mut self, filters: &[ByteString]) -> Vec<bool> {
        let mut ended = vec![false; filters.len()];
        for (ended, text) in ended.iter_mut().zip(filters).take(SUBSCRIPTIONS) {
            *ended = self.end(text);
        }
        self.count_subscriptions();
        ended
    }

    fn count_subscriptions(&mut self) {
        self.subscribed.set(self.active.len() + self.errors.len());
    }

    fn end(&mut self, text: &str) -> bool {
        let Some(wish) = Wish::parse(text, self.client.own()) else {
            return false;
        };
        let claim = wish.claim();
        let mut is_ended = match &claim {
            Claim::Commands(key) => {
                let active = self.active.iter().position(|active| active.key == *key);
                let active = active.map(|place| self.active.swap_remove(place));
                active.is_some()
            }
            Claim::Errors(key) => self.errors.end(key),
        };
        for request in &mut self.requests {
            is_ended |= request.give_up(&claim);
        }
        is_ended
    }

    /// A PUBACK. Says whether it was for something that had none yet.
    pub(crate) fn acknowledged(&mut self, packet_id: NonZeroU16, said: PublishAckReason) -> bool {
        let is_known = self.deliveries.acknowledged(packet_id, said);
        // There may be room for another command.
        self.signal.raise();
        is_known
    }

    /// The stream has taken so many bytes more of the output; the last `unflushed` of all may not be
    /// in the socket.
    pub(crate) fn written(&mut self, bytes: usize, unflushed: usize) {
        self.deliveries.written(bytes, unflushed);
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
            self.send_commands(cx, codec, (out, limit));
            if !self.poll_expired(cx, out) {
                return;
            }
        }
    }

    fn answer_requests(&mut self, cx: &mut Context<'_>, codec: &mut Codec, out: &mut BytesMut) {
        while let Some(request) = self.requests.front_mut()
            && request.poll(cx, &self.client).is_ready()
        {
            let Some(request) = self.requests.pop_front() else {
                return;
            };
            let packet_id = request.packet_id;
            let text = request.refusal();
            let (granted, made) = request.finish();
            count::suback(self.subscribed.traffic(), &granted);
            codec.suback(packet_id, &granted, &text, out);
            made.for_each(|made| self.begin(made));
            self.count_subscriptions();
        }
    }

    /// Puts a subscription in force. If there was one for the same, it has been replaced already.
    fn begin(&mut self, made: Made) {
        let active = match made {
            Made::Errors(filter) => return self.errors.begin(filter),
            Made::Commands {
                key,
                form,
                qos,
                subscription,
            } => Active {
                key,
                form,
                qos,
                subscription: Some(subscription),
                waiting: VecDeque::new(),
            },
        };
        let mut all = self.active.iter_mut();
        match all.find(|earlier| earlier.key == active.key) {
            Some(earlier) => *earlier = active,
            None => self.active.push(active),
        }
    }

    /// Asks all subscriptions in turn, until none has a command or there is no room for one.
    fn send_commands(
        &mut self,
        cx: &mut Context<'_>,
        codec: &Codec,
        (out, limit): (&mut BytesMut, usize),
    ) {
        let count = self.active.len();
        let mut idle = 0;
        let mut is_short = false;
        while idle < count {
            if out.len() >= limit {
                self.is_held_back = true;
                is_short = true;
                break;
            }
            self.turn = (self.turn + 1) % count;
            let active = &mut self.active[self.turn];
            idle += 1;
            if !self.deliveries.has_room(active.qos) {
                is_short = true;
            } else if let Some(command) = active.next(cx, self.timeout) {
                idle = 0;
                let way = (active.form, active.qos);
                self.deliveries.send(way, command, codec, out);
            }
        }
        if is_short {
            self.queue_commands(cx);
        }
    }

    /// Takes what there is no room for, so that its time begins: in a subscription it would have none.
    fn queue_commands(&mut self, cx: &mut Context<'_>) {
        let mut waiting: usize = self.active.iter().map(|active| active.waiting.len()).sum();
        let deadline = Instant::now() + self.timeout;
        for active in &mut self.active {
            while let Some(delivery) = active.poll_next(cx) {
                if waiting < WAITING {
                    waiting += 1;
                    active.waiting.push_back(Timed { deadline, delivery });
                } else {
                    delivery.release();
                }
            }
        }
    }

    /// Gives up what the device does not have in time; says whether there was any. The task is woken
    /// when it is time to ask again.
    fn poll_expired(&mut self, cx: &mut Context<'_>, out: &mut BytesMut) -> bool {
        let mut any = false;
        if self.timer.is_none() {
            let first = self.first_deadline();
            self.timer = first.map(|first| Box::pin(sleep_until(first)));
        }
        while let Some(timer) = &mut self.timer
            && timer.as_mut().poll(cx).is_ready()
        {
            let now = Instant::now();
            any |= self.deliveries.expire(now, out);
            for active in &mut self.active {
                while let Some(command) = active.pop_waiting(|first| first.deadline <= now) {
                    command.delivery.release();
                }
            }
            match (self.first_deadline(), &mut self.timer) {
                (Some(first), Some(timer)) => timer.as_mut().reset(first),
                _ => self.timer = None,
            }
        }
        any
    }

    fn first_deadline(&self) -> Option<Instant> {
        let waiting = self.active.iter().filter_map(|all| all.waiting.front());
        let waiting = waiting.map(|command| command.deadline);
        waiting.chain(self.deliveries.first_deadline()).min()
    }

    /// Gives the subscriptions up and tells nobody: the process stops, or the registration has ended
    /// (device contract §1.17). Commands that are in the output are sent still, and may be
    /// acknowledged in their time.
    pub(crate) fn leave(&mut self) {
        let active = self.active.drain(..);
        active
            .filter_map(|active| active.subscription)
            .for_each(Subscription::leave);
        self.requests.drain(..).for_each(Request::leave);
        self.count_subscriptions();
    }

    /// The connection ends: no more is taken, and what is not begun is taken out of the output. What
    /// is returned is with the device once all of the output is in the socket.
    pub(crate) fn finish(self, out: &mut BytesMut) -> Vec<CommandDelivery> {
        self.deliveries.finish(out)
    }
}
