use std::task::Waker;

use futures_util::future::join_all;
use tempfile::TempDir;
use weir_amqp_engine::{
    AcceptLink, AttachRequest, ClientSasl, Config, Event as EngineEvent, PeerAttach,
};
use weir_core::{Downstream, Endpoint, Outlet as _, Qos};
use weir_event_store::{EventStore, Options, Taker};
use weir_metrics::Metrics;

use super::*;
use crate::message::tests::message;

/// Both ends of a connection, with links in one session, and a store. Nothing moves but when it is told
/// to, and no time passes.
struct Rig {
    now: Instant,
    gateway: Connection<Token>,
    application: Connection<()>,
    /// The application's names for the links.
    receivers: Vec<LinkId>,
    links: Vec<Link>,
    messages: usize,
    drains: usize,
    events: Arc<Events>,
    store: EventStore,
    _folder: TempDir,
}

impl Rig {
    /// With so many links, an application that takes `window` transfers before it is heard of again, and
    /// a gateway that has `max_unsettled` deliveries open at most.
    fn with(count: usize, credit: u32, window: u32, max_unsettled: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = EventStore::open(folder.path(), Options::default()).unwrap();
        let now = Instant::now();
        let config = Config {
            max_unsettled,
            ..Config::default()
        };
        let gateway = Connection::server(config, now);
        let config = Config {
            incoming_window: window,
            ..Config::default()
        };
        let application = Connection::client(config, ClientSasl::None, now);
        let mut rig = Self {
            now,
            gateway,
            application,
            receivers: Vec::new(),
            links: Vec::new(),
            messages: 0,
            drains: 0,
            events: Arc::new(Events::new(store.clone(), Metrics::new("test", now))),
            store,
            _folder: folder,
        };
        rig.exchange();
        let session = rig.application.begin(now);
        for number in 0..count {
            let attach = AttachRequest::receiver(format!("{number}"), "event/acme", credit);
            rig.receivers.push(rig.application.attach(session, attach));
        }
        rig.exchange();
        assert_eq!(rig.links.len(), count);
        rig
    }

    /// Hands each end what the other has written, until there is no more.
    fn exchange(&mut self) {
        loop {
            let mut written = self.gateway.output().split();
            let mut answer = self.application.output().split();
            if written.is_empty() && answer.is_empty() {
                return;
            }
            self.application.handle_input(self.now, &mut written);
            self.gateway.handle_input(self.now, &mut answer);
            while let Some(event) = self.application.poll_event() {
                match event {
                    EngineEvent::Message { .. } => self.messages += 1,
                    EngineEvent::Drained { .. } => self.drains += 1,
                    _ => {}
                }
            }
            while let Some(event) = self.gateway.poll_event() {
                self.heard(event);
            }
        }
    }

    fn heard(&mut self, event: EngineEvent<Token>) {
        match event {
            EngineEvent::Opened(_) => self.gateway.open(self.now),
            EngineEvent::Attach { link, attach } => self.attach(link, &attach),
            EngineEvent::Drain { link } => {
                let mut links = self.links.iter_mut();
                links.find(|it| it.id == link).unwrap().is_draining = true;
            }
            _ => {}
        }
    }

    fn attach(&mut self, id: LinkId, attach: &PeerAttach) {
        let source = (&"acme".into(), Queue::Event);
        let ids = (id, attach.session);
        let beside = (self.now, self.links.first());
        let link = Link::new(ids, &self.events, source, attach.snd_settle_mode, beside);
        self.links.push(link);
        self.gateway.accept_link(id, AcceptLink::default());
    }

    /// Stores an event of each of so many devices.
    async fn store(&self, count: usize) {
        let outlet = self.events.outlet(&"acme".into());
        let stored = (0..count).map(|number| {
            let event = Downstream {
                endpoint: Endpoint::Event,
                device: number.to_string().into(),
                ..message(Qos::AtLeastOnce)
            };
            outlet.publish(event)
        });
        for stored in join_all(stored).await {
            assert_eq!(stored.disposition, Ok(()));
        }
    }

    fn poll(&mut self, link: usize) {
        let mut cx = Context::from_waker(Waker::noop());
        self.links[link].poll(&mut cx, self.now, &mut self.gateway);
    }

    fn other(&self) -> Taker {
        self.store.taker("acme", Queue::Event)
    }
}

async fn take(taker: &mut Taker) -> usize {
    let taken = taker.take(10_000, OffsetDateTime::now_utc()).await;
    taken.unwrap().len()
}

#[tokio::test]
async fn what_the_session_does_not_take_within_a_second_is_for_others() {
    let mut rig = Rig::with(1, 10, 3, 100);
    rig.store(10).await;
    rig.poll(0);
    assert_eq!((rig.links[0].open, rig.links[0].taken.len()), (3, 7));
    let mut other = rig.other();
    assert_eq!(take(&mut other).await, 0);
    let due = rig.links[0].deadline().unwrap();
    assert_eq!(due, rig.now + PATIENCE);
    rig.now = due;
    rig.poll(0);
    assert_eq!(take(&mut other).await, 7);
    assert_eq!(rig.links[0].deadline(), None);
    assert_eq!(rig.links[0].batch, BATCH / 2, "it takes less from now on");
}

#[tokio::test]
async fn a_drain_is_answered_though_only_settling_makes_room_for_what_waits() {
    // The session is full.
    let mut rig = Rig::with(1, 10, 100, 4);
    rig.store(10).await;
    rig.application.drain(rig.receivers[0]);
    rig.exchange();
    rig.poll(0);
    rig.exchange();
    rig.poll(0);
    rig.exchange();
    assert_eq!((rig.messages, rig.drains), (4, 0));
    rig.now = rig.links[0].deadline().unwrap();
    rig.poll(0);
    rig.exchange();
    assert_eq!((rig.messages, rig.drains), (4, 1));
    assert_eq!(take(&mut rig.other()).await, 6);
    // The links of the session have what they may have; nothing has to be waited for.
    let mut rig = Rig::with(1, 10, 100, 100);
    rig.store(10).await;
    let link = &mut rig.links[0];
    link.share.take(link.share.room());
    rig.application.drain(rig.receivers[0]);
    rig.exchange();
    rig.poll(0);
    rig.exchange();
    assert_eq!((rig.messages, rig.drains), (0, 1));
}

#[tokio::test]
async fn the_events_of_a_session_leave_room_for_everything_else() {
    let most = Config::default().max_unsettled;
    let mut rig = Rig::with(3, 5000, 2048, most);
    rig.store(most).await;
    // The first one comes first until nothing moves.
    for link in [0, 1] {
        let mut before = None;
        while before != Some(rig.messages) {
            before = Some(rig.messages);
            // What one task may do at a time is bounded.
            tokio::task::yield_now().await;
            rig.poll(link);
            rig.exchange();
        }
    }
    assert_eq!(rig.messages, rig.links[0].open + rig.links[1].open);
    assert!(rig.links[1].open > 0);
    assert!(rig.messages <= most / 2, "{}", rig.messages);
    assert!(rig.gateway.can_send(rig.links[2].id));
}

#[tokio::test]
async fn an_application_that_does_not_answer_that_its_link_was_ended_keeps_nothing() {
    let mut rig = Rig::with(1, 10, 100, 100);
    rig.store(5).await;
    rig.poll(0);
    let mut link = rig.links.remove(0);
    rig.gateway.detach(link.id, None);
    // One of them pauses, which is no reason to keep the others.
    let paused = link.claim.out()[0];
    let (attempts, counts) = (3, true);
    link.give_back([Returned {
        id: paused,
        attempts,
        counts,
    }]);
    link.leave(rig.now);
    link.leave(rig.now + FAREWELL);
    assert_eq!(link.deadline(), Some(rig.now + FAREWELL));
    assert!(!link.is_overdue(rig.now) && link.is_overdue(rig.now + FAREWELL));
    let mut other = rig.other();
    assert_eq!(take(&mut other).await, 0);
    link.end(true);
    let taken = other.take(10, OffsetDateTime::now_utc()).await.unwrap();
    let attempts: Vec<_> = taken.iter().map(|event| event.attempts).collect();
    assert_eq!(attempts, [0; 4]);
}
