//! One application's connection: its login, its links, the messages on their way to it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;
use weir_amqp_engine::{
    AcceptLink, Connection, Error, Event, LinkId, PeerAttach, Role, SaslCode, SenderSettleMode,
    SessionId, condition,
};
use weir_amqp_transport::Peer;
use weir_core::{Accounts, Endpoint, LogLimit, Role as Account, TenantId, shorten};

use crate::address::{self, Address};
use crate::consumer::{Consumer, Order, Outgoing, Queue};
use crate::link::{Link, Token};
use crate::node::{Embedded, Node};
use crate::subscription::Subscription;

/// Longest user name that is looked at, bytes.
const LONGEST_USER: usize = 256;

/// How often the queue of a connection that is over is looked into for what is still on its way in.
const LAST_LOOKS: usize = 100_000;

/// Refused logins are told a few times a second; a guesser must not fill the disk.
static REFUSED_LOGINS: LogLimit = LogLimit::new();

/// What a connection's owner decides: who may log in, which links there are, what is sent on them.
pub(crate) struct Application {
    embedded: Embedded,
    accounts: Arc<Accounts>,
    login: Option<Login>,
    /// Set when logged in.
    user: Option<String>,
    queue: mpsc::UnboundedReceiver<Order>,
    queue_in: Queue,
    /// By slot; a detached link leaves its slot empty for the next one.
    links: Vec<Option<Link>>,
    /// The link that sends first at the next turn.
    first: usize,
    subscriptions: Vec<Subscription>,
}

/// A password being checked.
struct Login {
    user: String,
    check: BoxFuture<'static, bool>,
}

impl Application {
    pub(crate) fn new(embedded: Embedded, accounts: Arc<Accounts>) -> Self {
        let (queue_in, queue) = mpsc::unbounded_channel();
        Self {
            embedded,
            accounts,
            login: None,
            user: None,
            queue,
            queue_in,
            links: Vec::new(),
            first: 0,
            subscriptions: Vec::new(),
        }
    }

    // === login ===

    /// SASL PLAIN [RFC 4616]: authorization id, user and password, separated by NUL. Nobody may act
    /// for another, so the authorization id is empty or the user itself.
    fn login(&mut self, response: &[u8]) -> Option<()> {
        let mut parts = response.splitn(3, |byte| *byte == 0);
        let authorization = parts.next()?;
        let (user, password) = (parts.next()?, parts.next()?.to_vec());
        let is_allowed = authorization.is_empty() || authorization == user;
        if !is_allowed || user.len() > LONGEST_USER {
            return None;
        }
        let user = String::from_utf8(user.to_vec()).ok()?;
        let (accounts, name) = (self.accounts.clone(), user.clone());
        let check = async move {
            accounts
                .verify(Account::Application, &name, &password)
                .await
        };
        self.login = Some(Login {
            user,
            check: Box::pin(check),
        });
        Some(())
    }

    fn poll_login(&mut self, cx: &mut Context<'_>, now: Instant, engine: &mut Connection<Token>) {
        let Some(login) = &mut self.login else {
            return;
        };
        let Poll::Ready(is_good) = Pin::new(&mut login.check).poll(cx) else {
            return;
        };
        let user = self
            .login
            .take()
            .map(|login| login.user)
            .unwrap_or_default();
        if is_good {
            tracing::info!(user, "application logged in");
            self.user = Some(user);
            engine.sasl_outcome(now, SaslCode::Ok);
        } else {
            refuse_login(now, engine, Some(&user), "bad credentials");
        }
    }

    // === links ===

    fn attach(
        &mut self,
        now: Instant,
        engine: &mut Connection<Token>,
        id: LinkId,
        attach: &PeerAttach,
    ) {
        let source = attach.source.as_ref();
        let source = source.and_then(|source| source.address.as_deref());
        let shown = (shorten(&attach.name), source.map(shorten));
        let wanted = source.filter(|_| attach.role == Role::Sender);
        let Some(address) = wanted.and_then(address::parse) else {
            tracing::info!(
                user = self.user,
                link = shown.0,
                source = shown.1,
                "no such node"
            );
            return engine.refuse_link(id, Error::new(condition::NOT_FOUND, "no such node"));
        };
        tracing::info!(
            user = self.user,
            link = shown.0,
            source = shown.1,
            "consumer attached"
        );
        let (ids, settle_mode) = ((id, attach.session), attach.snd_settle_mode);
        match address {
            Address::Uplink(endpoint, tenant) => {
                self.add_link(now, ids, (endpoint, tenant), settle_mode);
            }
            Address::Notification(topic) => {
                let receiver = self.embedded.subscribe(topic);
                let timeout = self.embedded.limits().outcome_timeout;
                let subscription = Subscription::new(ids, (topic, receiver), settle_mode, timeout);
                self.subscriptions.push(subscription);
            }
        }
        engine.accept_link(id, AcceptLink::default());
    }

    fn add_link(
        &mut self,
        now: Instant,
        ids: (LinkId, SessionId),
        place: (Endpoint, TenantId),
        settle_mode: SenderSettleMode,
    ) {
        let free = self.links.iter().position(Option::is_none);
        let slot = free.unwrap_or(self.links.len());
        let limits = self.embedded.limits();
        let consumer = Arc::new(Consumer::new(limits, self.queue_in.clone(), slot));
        let node = self.embedded.node(&place.1, place.0);
        node.add(&consumer);
        let presettled = settle_mode == SenderSettleMode::Settled;
        let link = Link::new(ids, place, (node, consumer), presettled, now);
        if slot == self.links.len() {
            self.links.push(Some(link));
        } else {
            self.links[slot] = Some(link);
        }
    }

    /// Takes links out of their addresses and lets other consumers have what they did not send.
    fn remove_where(&mut self, is_gone: impl Fn(LinkId, SessionId) -> bool) {
        self.subscriptions
            .retain(|link| !is_gone(link.id, link.session));
        let is_gone = |link: &Link| is_gone(link.id, link.session);
        let is_gone = |link: &Option<Link>| link.as_ref().is_some_and(is_gone);
        let slots = self.links.iter_mut().filter(|link| is_gone(link));
        let gone: Vec<Link> = slots.filter_map(Option::take).collect();
        // All of them first, so that none is offered what another one leaves.
        for link in &gone {
            link.consumer.close();
        }
        for mut link in gone {
            link.node.prune();
            for outgoing in link.take_waiting() {
                pass_on(&link.node, outgoing);
            }
            let (endpoint, tenant) = (link.endpoint, link.tenant.clone());
            drop(link);
            self.embedded.forget_unused(&tenant, endpoint);
        }
    }

    fn link(&mut self, consumer: &Arc<Consumer>) -> Option<&mut Link> {
        let link = self.links.get_mut(consumer.slot())?.as_mut();
        link.filter(|link| Arc::ptr_eq(&link.consumer, consumer))
    }

    // === messages ===

    /// Sorts what was offered into the links' own queues.
    fn take_orders(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(order)) = self.queue.poll_recv(cx) {
            self.take_order(order);
        }
    }

    fn take_order(&mut self, order: Order) {
        match order {
            Order::Send(consumer, outgoing) => match self.link(&consumer) {
                Some(link) => link.push(outgoing),
                // Offered while the link went away.
                None => {
                    consumer.taken(&outgoing);
                    let message = &outgoing.message;
                    let node = self.embedded.node(&message.tenant, message.endpoint);
                    pass_on(&node, outgoing);
                }
            },
            Order::PassOn(consumer) => {
                consumer.nudged();
                let Some(link) = self.link(&consumer) else {
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

    fn send_waiting(&mut self, now: Instant, engine: &mut Connection<Token>) {
        let count = self.links.len();
        for step in 0..count {
            if let Some(link) = &mut self.links[(self.first + step) % count] {
                link.send_waiting(now, engine);
            }
        }
        self.first = if count == 0 {
            0
        } else {
            (self.first + 1) % count
        };
    }
}

impl Peer for Application {
    type Token = Token;

    fn handle_event(&mut self, now: Instant, engine: &mut Connection<Token>, event: Event<Token>) {
        match event {
            Event::Settled {
                link,
                token,
                outcome,
            } => {
                let slot = token
                    .slot()
                    .and_then(|slot| self.links.get_mut(slot)?.as_mut());
                if let Some(own) = slot.filter(|own| own.id == link) {
                    own.settled(now);
                }
                token.settle(outcome, now);
            }
            Event::SaslInit { response, .. } => {
                if self.login(&response).is_none() {
                    refuse_login(now, engine, None, "malformed SASL PLAIN response");
                }
            }
            Event::Opened(open) => {
                let container = shorten(&open.container_id);
                tracing::debug!(user = self.user, container, "opened");
                engine.open(now);
            }
            Event::Attach { link, attach } => self.attach(now, engine, link, &attach),
            Event::Detached { link, .. } => self.remove_where(|other, _| other == link),
            Event::SessionEnded { session, .. } => {
                self.remove_where(|_, other| other == session);
            }
            Event::Drain { link } => {
                let mut subscriptions = self.subscriptions.iter_mut();
                if let Some(own) = self.links.iter_mut().flatten().find(|own| own.id == link) {
                    own.is_draining = true;
                } else if let Some(own) = subscriptions.find(|own| own.id == link) {
                    own.is_draining = true;
                }
            }
            Event::Closed { reason, error } => {
                tracing::debug!(user = self.user, ?reason, ?error, "connection over");
                self.remove_where(|_, _| true);
            }
            // Credit is looked at after each event anyway; the others are for clients and receivers.
            Event::Credit { .. }
            | Event::SessionBegun { .. }
            | Event::Attached { .. }
            | Event::Drained { .. }
            | Event::Message { .. } => {}
        }
    }

    fn poll_progress(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        engine: &mut Connection<Token>,
    ) {
        self.poll_login(cx, now, engine);
        self.take_orders(cx);
        // Before the messages: they are few, and there may be no end of messages.
        for subscription in &mut self.subscriptions {
            subscription.poll_send(cx, now, engine);
        }
        self.send_waiting(now, engine);
    }

    fn deadline(&self) -> Option<Instant> {
        self.links.iter().flatten().filter_map(Link::deadline).min()
    }

    fn stop(&mut self, now: Instant, engine: &mut Connection<Token>) {
        let error = Error::new(condition::CONNECTION_FORCED, "the gateway is shutting down");
        engine.close(now, Some(error));
    }
}

/// However the connection ends, nothing can be offered to it any more, and what waits goes to others.
impl Drop for Application {
    fn drop(&mut self) {
        self.remove_where(|_, _| true);
        self.queue.close();
        // A sender that was in the middle of it when the queue was closed is a moment behind.
        for _ in 0..LAST_LOOKS {
            match self.queue.try_recv() {
                Ok(order) => self.take_order(order),
                Err(TryRecvError::Empty) => std::hint::spin_loop(),
                Err(TryRecvError::Disconnected) => break,
            }
        }
        if let Some(user) = &self.user {
            tracing::info!(user, "application disconnected");
        }
    }
}

fn refuse_login(
    now: Instant,
    engine: &mut Connection<Token>,
    user: Option<&str>,
    why: &'static str,
) {
    if let Some(unlogged) = REFUSED_LOGINS.admit(now) {
        tracing::warn!(
            user = user.map(shorten),
            why,
            unlogged,
            "application refused"
        );
    }
    engine.sasl_outcome(now, SaslCode::Auth);
}

/// Offers a message to the consumers of its address.
fn pass_on(node: &Node, outgoing: Box<Outgoing>) {
    if let Err((outgoing, reason)) = node.dispatch(outgoing) {
        outgoing.completion.settle(Err(reason), Instant::now());
    }
}
