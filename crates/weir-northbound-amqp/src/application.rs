//! One application's connection: its login, its links, the messages on their way to it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use weir_amqp_engine::{
    AcceptLink, Connection, Error, Event, LinkId, Outcome, PeerAttach, Role, SaslCode, SendOptions,
    SenderSettleMode, SessionId, condition,
};
use weir_amqp_transport::Peer;
use weir_core::{
    Accounts, Completion, Disposition, Endpoint, Reason, RejectCondition, Role as Account, TenantId,
};

use crate::address;
use crate::consumer::{Consumer, Outgoing, Queue};
use crate::message::encode;
use crate::node::{Embedded, Node};

/// What a connection's owner decides: who may log in, which links there are, what is sent on them.
pub(crate) struct Application {
    embedded: Embedded,
    accounts: Arc<Accounts>,
    login: Option<Login>,
    /// Set when logged in.
    user: Option<String>,
    queue: mpsc::UnboundedReceiver<(Arc<Consumer>, Box<Outgoing>)>,
    queue_in: Queue,
    /// By slot; a detached link leaves its slot empty for the next one.
    links: Vec<Option<Link>>,
    /// The link that sends first at the next turn.
    first: usize,
}

/// A password being checked.
struct Login {
    user: String,
    check: BoxFuture<'static, bool>,
}

/// A link to an application that consumes.
struct Link {
    id: LinkId,
    session: SessionId,
    endpoint: Endpoint,
    tenant: TenantId,
    node: Arc<Node>,
    consumer: Arc<Consumer>,
    /// Waiting for credit, oldest first.
    waiting: VecDeque<Box<Outgoing>>,
    /// Messages sent; numbers their ids.
    sent: u64,
    /// The application wants its messages settled already.
    presettled: bool,
}

/// What an open delivery carries.
pub(crate) struct Token {
    completion: Completion,
    presettled: bool,
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
        }
    }

    /// The connection is over: nothing can be offered any more, and what waits goes to others.
    pub(crate) fn finish(mut self) {
        for slot in 0..self.links.len() {
            self.remove(slot);
        }
        self.queue.close();
        while let Ok((_, outgoing)) = self.queue.try_recv() {
            // Its link is gone; there is no other place to look for its address than the message.
            let node = self
                .embedded
                .node(&outgoing.message.tenant, outgoing.message.endpoint);
            pass_on(&node, outgoing);
        }
        if let Some(user) = &self.user {
            tracing::info!(user, "application disconnected");
        }
    }

    // === login ===

    /// SASL PLAIN [RFC 4616]: authorization id, user and password, separated by NUL. Nobody may act
    /// for another, so the authorization id is empty or the user itself.
    fn login(&mut self, response: &[u8]) -> Option<()> {
        let mut parts = response.splitn(3, |byte| *byte == 0);
        let authorization = parts.next()?;
        let (user, password) = (parts.next()?, parts.next()?.to_vec());
        if !(authorization.is_empty() || authorization == user) {
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
        let Some(login) = &mut self.login else { return };
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
            tracing::warn!(user, "application refused: bad credentials");
            engine.sasl_outcome(now, SaslCode::Auth);
        }
    }

    // === links ===

    fn attach(&mut self, engine: &mut Connection<Token>, id: LinkId, attach: &PeerAttach) {
        let source = attach
            .source
            .as_ref()
            .and_then(|source| source.address.as_deref());
        let wanted = source
            .filter(|_| attach.role == Role::Sender)
            .and_then(address::parse);
        let Some((endpoint, tenant)) = wanted else {
            tracing::info!(user = self.user, link = attach.name, source, "no such node");
            return engine.refuse_link(id, Error::new(condition::NOT_FOUND, "no such node"));
        };
        let slot = self
            .links
            .iter()
            .position(Option::is_none)
            .unwrap_or(self.links.len());
        let limits = self.embedded.limits();
        let consumer = Arc::new(Consumer::new(limits, self.queue_in.clone(), slot));
        let node = self.embedded.node(&tenant, endpoint);
        node.add(&consumer);
        tracing::info!(
            user = self.user,
            link = attach.name,
            source,
            "consumer attached"
        );
        let presettled = attach.snd_settle_mode == SenderSettleMode::Settled;
        let (session, waiting) = (attach.session, VecDeque::new());
        let sent = 0;
        let link = Link {
            id,
            session,
            endpoint,
            tenant,
            node,
            consumer,
            waiting,
            sent,
            presettled,
        };
        if slot == self.links.len() {
            self.links.push(Some(link));
        } else {
            self.links[slot] = Some(link);
        }
        engine.accept_link(id, AcceptLink::default());
    }

    /// Takes a link out of its address and lets other consumers have what it did not send.
    fn remove(&mut self, slot: usize) {
        let Some(link) = self.links.get_mut(slot).and_then(Option::take) else {
            return;
        };
        let Link {
            endpoint,
            tenant,
            node,
            consumer,
            waiting,
            ..
        } = link;
        node.remove(&consumer);
        consumer.close();
        for outgoing in waiting {
            consumer.taken(&outgoing);
            pass_on(&node, outgoing);
        }
        drop(node);
        self.embedded.forget_unused(&tenant, endpoint);
    }

    fn remove_where(&mut self, is_gone: impl Fn(&Link) -> bool) {
        for slot in 0..self.links.len() {
            if self.links[slot].as_ref().is_some_and(&is_gone) {
                self.remove(slot);
            }
        }
    }

    // === messages ===

    /// Sorts what was offered into the links' own queues.
    fn take_offered(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some((consumer, outgoing))) = self.queue.poll_recv(cx) {
            let link = self.links.get_mut(consumer.slot()).and_then(Option::as_mut);
            match link.filter(|link| Arc::ptr_eq(&link.consumer, &consumer)) {
                Some(link) => link.waiting.push_back(outgoing),
                // Offered while the link went away.
                None => {
                    consumer.taken(&outgoing);
                    let message = &outgoing.message;
                    pass_on(
                        &self.embedded.node(&message.tenant, message.endpoint),
                        outgoing,
                    );
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

impl Link {
    fn send_waiting(&mut self, now: Instant, engine: &mut Connection<Token>) {
        while let Some(oldest) = self.waiting.front() {
            let is_late = oldest.give_up_at <= now;
            if !is_late && !engine.can_send(self.id) {
                return;
            }
            let Some(outgoing) = self.waiting.pop_front() else {
                return;
            };
            self.consumer.taken(&outgoing);
            let Outgoing {
                message,
                completion,
                give_up_at,
            } = *outgoing;
            if is_late {
                completion.settle(Err(Reason::NoCredit), now);
                continue;
            }
            self.sent += 1;
            let options = SendOptions {
                settled: self.presettled,
                give_up_at: Some(give_up_at),
            };
            let token = Token {
                completion,
                presettled: self.presettled,
            };
            let number = self.sent;
            let sent = engine.send(now, self.id, token, options, |buffer| {
                encode(buffer, &message, number);
            });
            if let Err(token) = sent {
                token.completion.settle(Err(Reason::NoCredit), now);
            }
        }
    }
}

impl Peer for Application {
    type Token = Token;

    fn handle_event(&mut self, now: Instant, engine: &mut Connection<Token>, event: Event<Token>) {
        match event {
            Event::Settled { token, outcome, .. } => {
                token
                    .completion
                    .settle(disposition(outcome, token.presettled), now);
            }
            Event::SaslInit { response, .. } => {
                if self.login(&response).is_none() {
                    tracing::warn!("application refused: malformed SASL PLAIN response");
                    engine.sasl_outcome(now, SaslCode::Auth);
                }
            }
            Event::Opened(open) => {
                tracing::debug!(user = self.user, container = open.container_id, "opened");
                engine.open(now);
            }
            Event::Attach { link, attach } => self.attach(engine, link, &attach),
            Event::Detached { link, .. } => self.remove_where(|other| other.id == link),
            Event::SessionEnded { session, .. } => {
                self.remove_where(|link| link.session == session);
            }
            Event::Drain { link } => {
                // What waits has been sent as far as the credit went; the rest is given back.
                engine.drained(link);
            }
            Event::Closed { reason, error } => {
                tracing::debug!(user = self.user, ?reason, ?error, "connection over");
                self.remove_where(|_| true);
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
        self.take_offered(cx);
        self.send_waiting(now, engine);
    }

    fn deadline(&self) -> Option<Instant> {
        let oldest = |link: &Link| link.waiting.front().map(|outgoing| outgoing.give_up_at);
        self.links.iter().flatten().filter_map(oldest).min()
    }

    fn stop(&mut self, now: Instant, engine: &mut Connection<Token>) {
        let error = Error::new(condition::CONNECTION_FORCED, "the gateway is shutting down");
        engine.close(now, Some(error));
    }
}

/// Offers a message to the other consumers of its address.
fn pass_on(node: &Node, outgoing: Box<Outgoing>) {
    if let Err((outgoing, reason)) = node.dispatch(outgoing) {
        outgoing.completion.settle(Err(reason), Instant::now());
    }
}

/// What a consumer's outcome means for the device (northbound contract §1.3).
fn disposition(outcome: Outcome, presettled: bool) -> Disposition {
    match outcome {
        Outcome::Accepted => Ok(()),
        Outcome::Unknown if presettled => Ok(()),
        Outcome::Rejected {
            condition: name,
            description,
        } => {
            let condition = match name.as_deref() {
                Some(condition::INTERNAL_ERROR) => RejectCondition::InternalError,
                Some(condition::RESOURCE_LIMIT_EXCEEDED) => RejectCondition::ResourceLimitExceeded,
                Some(condition::UNAUTHORIZED_ACCESS) => RejectCondition::UnauthorizedAccess,
                _ => RejectCondition::Other,
            };
            Err(Reason::Rejected(condition, description.map(Arc::from)))
        }
        Outcome::Modified {
            undeliverable_here: true,
            ..
        } => Err(Reason::UndeliverableHere),
        Outcome::Modified { .. } => Err(Reason::Modified),
        // Settled without saying anything, or gone before it could: nobody has taken it.
        Outcome::Released | Outcome::Unknown | Outcome::LinkLost => Err(Reason::Released),
        Outcome::TimedOut => Err(Reason::OutcomeTimeout),
    }
}
