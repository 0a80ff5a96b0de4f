//! One application's connection: its login, its links, the messages on their way to it.

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use weir_amqp_engine::{
    CloseReason, Connection, Error, Event, LinkId, PeerAttach, SessionId, condition,
};
use weir_amqp_transport::Peer;
use weir_core::command::Commands;
use weir_core::shorten;

use crate::embedded::Embedded;
use crate::links::{Links, Place};
use crate::login::{Access, Loss};
use crate::token::Token;

/// How long an application may still settle events when the gateway stops.
const FAREWELL: Duration = Duration::from_secs(1);

/// What a connection's owner decides: which links there are, what is sent on them.
pub(crate) struct Application {
    access: Access,
    links: Links,
    /// The gateway stops: the connection is closed then, or as soon as no event is open.
    closes_by: Option<Instant>,
}

impl Application {
    pub(crate) fn new(embedded: Embedded, commands: Commands, access: Access) -> Self {
        Self {
            access,
            links: Links::new(embedded, commands),
            closes_by: None,
        }
    }

    // === login ===

    fn poll_access(&mut self, cx: &mut Context<'_>, now: Instant, engine: &mut Connection<Token>) {
        if let Poll::Ready(code) = self.access.poll_login(cx, now) {
            engine.sasl_outcome(now, code);
        }
        let Poll::Ready(loss) = self.access.poll_loss(cx) else {
            return;
        };
        match loss {
            Loss::Links(links) => {
                for link in links {
                    let user = self.access.user();
                    tracing::info!(user, "permission withdrawn: link detached");
                    let text = "the permission was withdrawn";
                    let error = Error::new(condition::UNAUTHORIZED_ACCESS, text);
                    engine.detach(link, Some(error));
                    self.dismiss_where(now, |other, _| other == link);
                }
            }
            Loss::Login => {
                let user = self.access.user();
                tracing::info!(user, "login withdrawn: application disconnected");
                let error = Error::new(condition::UNAUTHORIZED_ACCESS, "the login was withdrawn");
                engine.close(now, Some(error));
                self.dismiss_where(now, |_, _| true);
            }
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
        if self.closes_by.is_some() {
            return engine.refuse_link(id, shutting_down());
        }
        let (place, address) = Place::of(attach);
        let (link, role) = (shorten(&attach.name), attach.role);
        let (user, shown) = (self.access.user(), address.map(shorten));
        let (Some(place), Some(address)) = (place, address) else {
            tracing::info!(user, link, ?role, address = shown, "no such node");
            return engine.refuse_link(id, Error::new(condition::NOT_FOUND, "no such node"));
        };
        let ids = (id, attach.session);
        if !self.access.admit(ids, place.activity(), address) {
            let user = self.access.user();
            tracing::info!(user, link, ?role, address = shown, "no permission");
            let error = Error::new(condition::UNAUTHORIZED_ACCESS, "no permission");
            return engine.refuse_link(id, error);
        }
        let user = self.access.user();
        tracing::info!(user, link, ?role, address = shown, "link attached");
        let accept = self.links.add(now, id, attach, place);
        engine.accept_link(id, accept);
    }

    fn close_if_due(&mut self, now: Instant, engine: &mut Connection<Token>) {
        if self
            .closes_by
            .is_some_and(|by| by <= now || !self.links.has_open_events())
        {
            self.closes_by = None;
            engine.close(now, Some(shutting_down()));
        }
    }

    /// Takes out links that are no more; see [`Links::end_where`].
    fn end_where(&mut self, orderly: bool, is_gone: impl Fn(LinkId, SessionId) -> bool) {
        self.access.forget_where(&is_gone);
        self.links.end_where(orderly, is_gone);
    }

    /// Takes out links that we have told to go; see [`Links::dismiss_where`].
    fn dismiss_where(&mut self, now: Instant, is_gone: impl Fn(LinkId, SessionId) -> bool) {
        self.access.forget_where(&is_gone);
        self.links.dismiss_where(now, is_gone);
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
                left_to_us,
            } => self.links.settled(now, link, token, (outcome, left_to_us)),
            Event::Message {
                link,
                delivery,
                message,
                settled,
            } => self
                .links
                .arrived(engine, link, (delivery, message, settled)),
            Event::SaslInit {
                mechanism,
                response,
                ..
            } => {
                if let Some(code) = self.access.login(now, &mechanism, &response) {
                    engine.sasl_outcome(now, code);
                }
            }
            Event::Opened(open) => {
                let container = shorten(&open.container_id);
                tracing::debug!(user = self.access.user(), container, "opened");
                engine.open(now);
            }
            Event::Attach { link, attach } => self.attach(now, engine, link, &attach),
            // Without an error, ending it was the application's wish.
            Event::Detached { link, error, .. } => {
                self.end_where(error.is_none(), |other, _| other == link);
            }
            Event::SessionEnded { session, error } => {
                self.end_where(error.is_none(), |_, other| other == session);
            }
            Event::Drain { link } => self.links.drain(link),
            Event::Closed { reason, error } => {
                tracing::debug!(
                    user = self.access.user(),
                    ?reason,
                    ?error,
                    "connection over"
                );
                let orderly = match reason {
                    CloseReason::Local => true,
                    CloseReason::Remote => error.is_none(),
                    _ => false,
                };
                self.end_where(orderly, |_, _| true);
            }
            // Credit is looked at after each event anyway; the others are for clients.
            Event::Credit { .. }
            | Event::SessionBegun { .. }
            | Event::Attached { .. }
            | Event::Drained { .. } => {}
        }
    }

    fn poll_progress(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        engine: &mut Connection<Token>,
    ) {
        self.poll_access(cx, now, engine);
        self.links.poll(cx, now, engine);
        self.close_if_due(now, engine);
    }

    fn deadline(&self) -> Option<Instant> {
        self.links
            .deadline()
            .into_iter()
            .chain(self.closes_by)
            .min()
    }

    /// No more events are sent; what the application is about to say of those it has still counts.
    fn stop(&mut self, now: Instant, engine: &mut Connection<Token>) {
        for link in self.links.leave_events(now) {
            engine.detach(link, Some(shutting_down()));
        }
        self.closes_by = Some(now + FAREWELL);
        self.close_if_due(now, engine);
    }
}

fn shutting_down() -> Error {
    Error::new(condition::CONNECTION_FORCED, "the gateway is shutting down")
}

impl Drop for Application {
    fn drop(&mut self) {
        if let Some(user) = self.access.user() {
            tracing::info!(user, "application disconnected");
        }
    }
}
