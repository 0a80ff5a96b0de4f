//! Random operations, on the store and on a model that is simple enough to be right.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use weir_event_store::{Cause, EventId, Options, Queue, Taken, Taker};

use crate::{Fixture, TENANT, at, event, options};

const MAX_ATTEMPTS: u32 = 3;

/// Takers of each queue.
const TAKERS: usize = 3;

#[derive(Clone, Debug)]
struct Modelled {
    device: u8,
    number: u32,
    expires: Option<i64>,
    attempts: u32,
    cause: Option<Cause>,
    out: Option<(usize, EventId)>,
}

#[derive(Default)]
struct Model {
    events: Vec<Modelled>,
    dead: Vec<Modelled>,
}

/// The real takers, and what each has seen of each device since something was released.
struct Takers(BTreeMap<(bool, usize), (Taker, BTreeMap<u8, EventId>)>);

impl Takers {
    fn new(fixture: &Fixture) -> Self {
        let mut takers = Self(BTreeMap::new());
        for at in 0..TAKERS {
            takers.renew(fixture, Queue::Event, at);
            takers.renew(fixture, Queue::DeadLetter, at);
        }
        takers
    }

    fn renew(&mut self, fixture: &Fixture, queue: Queue, at: usize) {
        let taker = fixture.store.taker(TENANT, queue);
        let key = (queue == Queue::Event, at);
        self.0.insert(key, (taker, BTreeMap::new()));
    }

    fn forget_order(&mut self) {
        self.0.values_mut().for_each(|(_, seen)| seen.clear());
    }

    /// Takes, and sees that each device's events come in their order.
    async fn take(&mut self, queue: Queue, at: usize, max: usize, now: i64) -> Vec<Taken> {
        let (taker, seen) = self.0.get_mut(&(queue == Queue::Event, at)).unwrap();
        let taken = taker.take(max, crate::at(now)).await.unwrap();
        for taken in &taken {
            let before = seen.insert(taken.device.parse().unwrap(), taken.id);
            assert!(before.is_none_or(|before| before < taken.id), "{taken:?}");
        }
        taken
    }
}

impl Model {
    fn queue(&mut self, queue: Queue) -> &mut Vec<Modelled> {
        match queue {
            Queue::Event => &mut self.events,
            Queue::DeadLetter => &mut self.dead,
        }
    }

    /// Which a taker is handed out: those that are not out, of devices that no other has.
    fn take(&mut self, queue: Queue, taker: usize, max: usize) -> Vec<&mut Modelled> {
        let queue = self.queue(queue);
        let others: BTreeSet<_> = queue
            .iter()
            .filter(|event| event.out.is_some_and(|(holder, _)| holder != taker))
            .map(|event| event.device)
            .collect();
        let free = |event: &&mut Modelled| event.out.is_none() && !others.contains(&event.device);
        queue.iter_mut().filter(free).take(max).collect()
    }

    /// That no device is out with two takers.
    fn check(&mut self, queue: Queue) {
        let mut holders = BTreeMap::new();
        for event in self.queue(queue) {
            if let Some((holder, _)) = event.out {
                assert_eq!(*holders.entry(event.device).or_insert(holder), holder);
            }
        }
    }

    /// Nothing is out with a taker any more.
    fn leave(&mut self, queue: Queue, taker: usize) {
        for event in self.queue(queue) {
            event.out = event.out.filter(|(holder, _)| *holder != taker);
        }
    }

    fn bury(&mut self, event: Modelled, cause: Cause) {
        self.dead.push(Modelled {
            expires: None,
            attempts: 0,
            cause: Some(cause),
            out: None,
            ..event
        });
    }

    /// Settles one that is out, the same way as the store.
    fn settle(&mut self, queue: Queue, at: usize, how: u32, now: i64) {
        let event = self.queue(queue)[at].clone();
        let is_dead = queue == Queue::DeadLetter;
        match how {
            0 | 1 if event.expires.is_some_and(|at| at <= now) => {
                self.queue(queue).remove(at);
            }
            0 | 1 => {
                let event = &mut self.queue(queue)[at];
                event.out = None;
                event.attempts += how;
                if event.attempts >= MAX_ATTEMPTS && !is_dead && how == 1 {
                    let event = self.queue(queue).remove(at);
                    self.bury(event, Cause::Attempts);
                }
            }
            2 => {
                self.queue(queue).remove(at);
                if !is_dead {
                    self.bury(event, Cause::Rejected);
                }
            }
            _ => {
                self.queue(queue).remove(at);
            }
        }
    }
}

fn settle(fixture: &Fixture, id: EventId, how: u32, now: i64) {
    let store = &fixture.store;
    match how {
        0 | 1 => store.release(&[id], how == 1, at(now)),
        2 => store.reject(&[id], Cause::Rejected),
        _ => store.accept(&[id]),
    }
}

fn same(taken: &Taken, event: &Modelled) {
    assert_eq!(taken.payload, event.number.to_string());
    assert_eq!(*taken.device, event.device.to_string());
    assert_eq!(taken.attempts, event.attempts);
    assert_eq!(taken.cause, event.cause);
    assert_eq!(taken.expires, event.expires.map(at));
}

async fn run(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut fixture = Fixture::with(Options {
        max_attempts: MAX_ATTEMPTS,
        memory: [0, 1_000, 1 << 20][seed as usize % 3],
        ..options()
    });
    let mut takers = Takers::new(&fixture);
    let mut model = Model::default();
    let mut now = 1_000;
    for number in 0..800 {
        let queue = match random.random_range(0..3) {
            0 => Queue::DeadLetter,
            _ => Queue::Event,
        };
        let taker = random.random_range(0..TAKERS);
        match random.random_range(0..100) {
            0..40 => append(&fixture, &mut model, &mut random, number, now).await,
            40..60 => {
                fixture.store.flush().await.unwrap();
                let max = random.random_range(0..6);
                let taken = takers.take(queue, taker, max, now).await;
                let expected = model.take(queue, taker, max);
                assert_eq!(taken.len(), expected.len(), "seed {seed}, step {number}");
                for (taken, event) in taken.iter().zip(expected) {
                    same(taken, event);
                    event.out = Some((taker, taken.id));
                }
                model.check(queue);
            }
            60..88 => {
                let events = model.queue(queue).iter().enumerate();
                let out: Vec<_> = events.filter_map(|(at, e)| Some((at, e.out?.1))).collect();
                if !out.is_empty() {
                    let (at, id) = out[random.random_range(0..out.len())];
                    let how = random.random_range(0..5);
                    settle(&fixture, id, how, now);
                    model.settle(queue, at, how, now);
                    if how <= 1 {
                        takers.forget_order();
                    }
                }
            }
            88..90 => {
                takers.renew(&fixture, queue, taker);
                takers.forget_order();
                model.leave(queue, taker);
                expire(&fixture, &mut model, now);
            }
            90..96 => {
                now += random.random_range(0..5);
                expire(&fixture, &mut model, now);
            }
            96..98 => {
                fixture.reopen().await;
                takers = Takers::new(&fixture);
                let all = model.events.iter_mut().chain(&mut model.dead);
                all.for_each(|event| event.out = None);
                expire(&fixture, &mut model, now);
            }
            _ => compare_figures(&fixture, &model).await,
        }
    }
}

fn expire(fixture: &Fixture, model: &mut Model, now: i64) {
    let before = model.events.len();
    let stays = |e: &Modelled| e.out.is_some() || e.expires.is_none_or(|at| at > now);
    model.events.retain(stays);
    let expired = fixture.store.expire(at(now));
    assert_eq!(expired.count, before - model.events.len());
}

async fn compare_figures(fixture: &Fixture, model: &Model) {
    let figures = fixture.figures().await;
    let (events, dead) = (figures.events, figures.dead_letters);
    let counts = ((events.count, events.bytes), (dead.count, dead.bytes));
    let bytes = |events: &[Modelled]| {
        let lengths = events.iter().map(|event| event.number.to_string().len());
        lengths.sum::<usize>() as u64
    };
    let expected = |events: &[Modelled]| (events.len() as u64, bytes(events));
    assert_eq!(counts, (expected(&model.events), expected(&model.dead)));
}

async fn append(fixture: &Fixture, model: &mut Model, random: &mut StdRng, number: u32, now: i64) {
    let device = random.random_range(0..6_u8);
    let expires = random
        .random_bool(0.3)
        .then(|| now + random.random_range(1..30));
    let mut event = event(&device.to_string(), number.to_string());
    event.expires = expires.map(at);
    fixture.store.append(event).await.unwrap();
    model.events.push(Modelled {
        device,
        number,
        expires,
        attempts: 0,
        cause: None,
        out: None,
    });
}

#[tokio::test]
async fn random_operations_do_what_a_simple_model_does() {
    for seed in 0..9 {
        run(seed).await;
    }
}
