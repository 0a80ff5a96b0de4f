//! The links of one application's connection.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;
use weir_amqp_engine::{
    AcceptLink, Connection, DeliveryId, LinkId, Outcome, PeerAttach, Role, SenderSettleMode,
    SessionId,
};
use weir_core::command::Commands;
use weir_core::{Reason, TenantId};
use weir_event_store::Queue as StoredQueue;

use crate::address::{self, Direct, Source};
use crate::command;
use crate::embedded::Embedded;
use crate::events;
use crate::notification::Subscription;
use crate::permissions::Activity;
use crate::slots::{Linked, Slots};
use crate::token::Token;
use crate::uplink::{self, Consumer, Node, Order, Outgoing, Queue};

/// How often the queue of a connection that is over is looked into for what is still on its way in.
const LAST_LOOKS: usize = 100_000;

/// What a link leads to.
pub(crate) enum Place {
    /// The application receives.
    From(Source),
    /// The application sends commands to the devices of a tenant.
    Commands(TenantId),
}

impl Place {
    /// Where a link that a peer asks for leads to, and its address; nothing if there is no such node.
    pub(crate) fn of(attach: &PeerAttach) -> (Option<Self>, Option<&str>) {
        let terminus = match attach.role {
            Role::Sender => &attach.source,
            Role::Receiver => &attach.target,
        };
        let address = terminus.as_ref().and_then(|it| it.address.as_deref());
        let place = address.and_then(|address| match attach.role {
            Role::Sender => address::source(address).map(Self::From),
            Role::Receiver => address::command_target(address).map(Self::Commands),
        });
        (place, address)
    }

    /// What the application needs permission for.
    pub(crate) fn activity(&self) -> Activity {
        match self {
            Self::From(_) => Activity::Read,
            Self::Commands(_) => Activity::Write,
        }
    }
}

/// Everything there is on a connection, each kind in a list of its own.
pub(crate) struct Links {
    embedded: Embedded,
    commands: Commands,
    queue: mpsc::UnboundedReceiver<Order>,
    queue_in: Queue,
    uplinks: Slots<uplink::Link>,
    events: Slots<events::Link>,
    senders: Vec<command::Link>,
    budget: command::Budget,
    subscriptions: Vec<Subscription>,
    /// Counts the turns; decides who is first.
    turn: usize,
}

impl Links {
    pub(crate) fn new(embedded: Embedded, commands: Commands) -> Self {
        let (queue_in, queue) = mpsc::unbounded_channel();
        Self {
            embedded,
            commands,
            queue,
            queue_in,
            uplinks: Slots::default(),
            events: Slots::default(),
            senders: Vec::new(),
            budget: command::Budget::default(),
            subscriptions: Vec::new(),
            turn: 0,
        }
    }

    // === attach and end ===

    /// Adds a link that is allowed, and says how it is to be answered.
    pub(crate) fn add(
        &mut self,
        now: Instant,
        id: LinkId,
        attach: &PeerAttach,
        place: Place,
    ) -> AcceptLink {
        let ids = (id, attach.session);
        let settle_mode = attach.snd_settle_mode;
        match place {
            Place::From(Source::Direct(address)) => {
                self.add_uplink(now, ids, address, settle_mode);
            }
            Place::From(Source::Stored(tenant, queue)) => {
                self.add_events(now, ids, (&tenant, queue), settle_mode);
            }
            Place::From(Source::Notification(topic)) => {
                let receiver = self.embedded.subscribe(topic);
                let timeout = self.embedded.limits().outcome_timeout;
                let subscription = Subscription::new(ids, (topic, receiver), settle_mode, timeout);
                self.subscriptions.push(subscription);
            }
            Place::Commands(tenant) => {
                let (commands, budget) = (self.commands.clone(), self.budget.clone());
                let link = command::Link::new(ids, tenant, commands, budget);
                self.senders.push(link);
            }
        }
        AcceptLink {
            rcv_settle_mode: attach.rcv_settle_mode,
            ..AcceptLink::default()
        }
    }

    fn add_events(
        &mut self,
        now: Instant,
        (id, session): (LinkId, SessionId),
        source: (&TenantId, StoredQueue),
        settle_mode: SenderSettleMode,
    ) {
        let events = self.embedded.events();
        let neighbour = {
            let mut others = self.events.iter();
            others.find(|other| other.session() == session)
        };
        let link = events::Link::new((id, session), events, source, settle_mode, (now, neighbour));
        self.events.insert(|slot| link.in_slot(slot));
    }

    fn add_uplink(
        &mut self,
        now: Instant,
        ids: (LinkId, SessionId),
        address: Direct,
        settle_mode: SenderSettleMode,
    ) {
        let (limits, queue) = (self.embedded.limits(), self.queue_in.clone());
        let node = self.embedded.node(&address);
        let presettled = settle_mode == SenderSettleMode::Settled;
        self.uplinks.insert(|slot| {
            let consumer = Arc::new(Consumer::new(limits, queue, slot));
            node.add(&consumer);
            uplink::Link::new(ids, address, (node, consumer), presettled, now)
        });
    }

    /// Takes out links that are no more; with `orderly`, because the application wanted it so, or we.
    pub(crate) fn end_where(&mut self, orderly: bool, is_gone: impl Fn(LinkId, SessionId) -> bool) {
        self.end_others_where(&is_gone);
        for link in self.events.take_where(&is_gone) {
            let orderly = orderly || link.is_leaving();
            link.end(orderly);
        }
    }

    /// Takes out links that we have told to go. Those that have stored events open stay until the
    /// application has heard of it, because it may have settled them already.
    pub(crate) fn dismiss_where(
        &mut self,
        now: Instant,
        is_gone: impl Fn(LinkId, SessionId) -> bool,
    ) {
        self.end_others_where(&is_gone);
        let events = self.events.iter_mut();
        for link in events.filter(|link| is_gone(link.id(), link.session())) {
            link.leave(now);
        }
    }

    /// Sends no more events; the links that are to be told so.
    pub(crate) fn leave_events(&mut self, now: Instant) -> Vec<LinkId> {
        let links = self.events.iter_mut();
        let links = links.filter(|link| !link.is_leaving());
        links
            .map(|link| {
                link.leave(now);
                link.id()
            })
            .collect()
    }

    /// Whether the application may still settle events.
    pub(crate) fn has_open_events(&self) -> bool {
        self.events.iter().any(events::Link::has_open)
    }

    /// Takes out links that we have told to go, and of which the application has said nothing since.
    fn end_overdue(&mut self, now: Instant) {
        let overdue = self.events.iter().filter(|link| link.is_overdue(now));
        let overdue: Vec<_> = overdue.map(Linked::id).collect();
        if !overdue.is_empty() {
            for link in self.events.take_where(|id, _| overdue.contains(&id)) {
                link.end(true);
            }
        }
    }

    fn end_others_where(&mut self, is_gone: impl Fn(LinkId, SessionId) -> bool) {
        self.subscriptions
            .retain(|link| !is_gone(link.id(), link.session()));
        let is_over = |link: &mut command::Link| is_gone(link.id(), link.session());
        for link in self.senders.extract_if(.., is_over) {
            link.end();
        }
        let uplinks = self.uplinks.take_where(is_gone);
        self.end_uplinks(uplinks);
    }

    /// Takes links out of their addresses and lets other consumers have what they did not send.
    fn end_uplinks(&self, gone: Vec<uplink::Link>) {
        // All of them first, so that none is offered what another one leaves.
        for link in &gone {
            link.consumer.close();
        }
        for mut link in gone {
            link.node.prune();
            for outgoing in link.take_waiting() {
                pass_on(&link.node, outgoing);
            }
            let address = link.address.clone();
            drop(link);
            self.embedded.forget_unused(&address);
        }
    }

    // === messages ===

    /// Moves what waits in either direction. Who is first changes with each turn, because the first may
    /// fill what can be written.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        engine: &mut Connection<Token>,
    ) {
        self.end_overdue(now);
        self.take_orders(cx);
        // Before the messages: they are few, and there may be no end of messages.
        for subscription in &mut self.subscriptions {
            subscription.poll_send(cx, now, engine);
        }
        for link in &mut self.senders {
            link.poll(cx, engine);
        }
        self.turn = self.turn.wrapping_add(1);
        let turn = self.turn;
        let events_first = turn.is_multiple_of(2);
        if events_first {
            self.events
                .for_each(turn, |link| link.poll(cx, now, engine));
        }
        self.uplinks
            .for_each(turn, |link| link.send_waiting(now, engine));
        if !events_first {
            self.events
                .for_each(turn, |link| link.poll(cx, now, engine));
        }
    }

    /// Sorts what was offered into the links' own queues.
    fn take_orders(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(order)) = self.queue.poll_recv(cx) {
            self.take_order(order);
        }
    }

    fn take_order(&mut self, order: Order) {
        match order {
            Order::Send(consumer, outgoing) => match self.uplink(&consumer) {
                Some(link) => link.push(outgoing),
                // Offered while the link went away.
                None => {
                    consumer.taken(&outgoing);
                    let address = Direct::of(&outgoing.message);
                    match address.and_then(|address| self.embedded.find(&address)) {
                        Some(node) => pass_on(&node, outgoing),
                        None => {
                            self.embedded.refused(&outgoing.message);
                            let refusal = Err(Reason::NoConsumer);
                            outgoing.completion.settle(refusal, Instant::now());
                        }
                    }
                }
            },
            Order::PassOn(consumer) => {
                consumer.nudged();
                let Some(link) = self.uplink(&consumer) else {
                    return;
                };
                let node = link.node.clone();
                if !consumer.has_spare_credit() && node.has_other_with_credit(&consumer) {
                    // Those that the others cannot take at once come back to the one that has least
                    // waiting.
                    for outgoing in link.take_waiting() {
                        pass_on(&node, outgoing);
                    }
                }
            }
        }
    }

    fn uplink(&mut self, consumer: &Arc<Consumer>) -> Option<&mut uplink::Link> {
        let link = self.uplinks.get(consumer.slot())?;
        Arc::ptr_eq(&link.consumer, consumer).then_some(link)
    }

    /// A delivery has ended. With `open`, its receiver has left the settling to us.
    pub(crate) fn settled(
        &mut self,
        now: Instant,
        id: LinkId,
        token: Token,
        (outcome, open): (Outcome, bool),
    ) {
        match token {
            Token::Uplink(token) => {
                let link = self.uplinks.get(token.slot);
                if let Some(link) = link.filter(|link| link.id() == id) {
                    link.settled(now, &outcome);
                }
                token.settle(outcome, open, now);
            }
            Token::Event(token) => {
                if let Some(sent) = &token.sent {
                    sent.ended(&outcome, now);
                }
                let link = self.events.get(token.slot);
                // One that is gone has given its events back already.
                if let Some(link) = link.filter(|link| link.id() == id) {
                    link.settled(&token, &outcome);
                }
            }
            Token::Unobserved => {}
        }
    }

    /// A command has arrived.
    pub(crate) fn arrived(
        &mut self,
        engine: &mut Connection<Token>,
        id: LinkId,
        message: (DeliveryId, Bytes, bool),
    ) {
        if let Some(link) = self.senders.iter_mut().find(|link| link.id() == id) {
            link.arrive(engine, message);
        }
    }

    /// The application wants credit used or given back.
    pub(crate) fn drain(&mut self, id: LinkId) {
        let mut subscriptions = self.subscriptions.iter_mut();
        if let Some(link) = self.uplinks.find(id) {
            link.is_draining = true;
        } else if let Some(link) = self.events.find(id) {
            link.is_draining = true;
        } else if let Some(link) = subscriptions.find(|link| link.id() == id) {
            link.is_draining = true;
        }
    }

    /// When it has to be looked at though nothing happened.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let uplinks = self.uplinks.iter().filter_map(uplink::Link::deadline);
        let events = self.events.iter().filter_map(events::Link::deadline);
        uplinks.chain(events).min()
    }
}

/// However the connection ends, nothing can be offered to it any more, and what waits goes to others.
impl Drop for Links {
    fn drop(&mut self) {
        self.end_where(true, |_, _| true);
        self.queue.close();
        // A sender that was in the middle of it when the queue was closed is a moment behind.
        for _ in 0..LAST_LOOKS {
            match self.queue.try_recv() {
                Ok(order) => self.take_order(order),
                Err(TryRecvError::Empty) => std::hint::spin_loop(),
                Err(TryRecvError::Disconnected) => break,
            }
        }
    }
}

/// Offers a message to the consumers of its address.
fn pass_on(node: &Node, outgoing: Box<Outgoing>) {
    if let Err((outgoing, reason)) = node.dispatch(outgoing) {
        node.meters().refused(&reason);
        outgoing.completion.settle(Err(reason), Instant::now());
    }
}
