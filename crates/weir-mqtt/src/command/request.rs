//! A SUBSCRIBE that has no answer yet.

use std::num::NonZeroU16;
use std::task::{Context, Poll, ready};

use futures_util::future::BoxFuture;
use rmqtt_codec::types::QoS;
use weir_core::Reason;
use weir_core::command::Subscription;

use super::filter::{Filter, Form};
use crate::client::{Client, Key, Own};
use crate::error;

/// Commands that may wait in a subscription. What finds no room is released.
const ROOM: usize = 64;

/// What a filter asks for.
pub(super) enum Wish {
    Commands(Filter),
    Errors(error::Filter),
}

/// Of the filters with the same one only the latest is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    Commands(Key),
    Errors(Key),
}

/// The subscriptions that one packet asks for.
///
/// They are made one after the other, from the last filter to the first. Filters for the same share
/// one result, which is the last one's (device contract §3.9).
pub(super) struct Request {
    pub(super) packet_id: NonZeroU16,
    /// Which of the wanted each filter of the packet stands for, if any.
    filters: Vec<Option<usize>>,
    wanted: Vec<Wanted>,
    /// The first of the wanted that has not had its turn.
    current: usize,
    /// Asks for the current one.
    work: Option<Work>,
    /// Why the first that was refused was.
    refusal: Option<Reason>,
}

type Work = BoxFuture<'static, Result<Made, Reason>>;

struct Wanted {
    claim: Claim,
    qos: QoS,
    state: State,
    /// An UNSUBSCRIBE came in between.
    is_given_up: bool,
}

enum State {
    /// It has not had its turn.
    Open(Wish),
    /// It has it now.
    Asking,
    Refused,
    /// It begins when the packet is answered.
    Made(Made),
    /// Granted, and nothing is left to begin.
    Granted,
}

/// A subscription that was made.
pub(super) enum Made {
    Commands {
        key: Key,
        form: Form,
        qos: QoS,
        subscription: Subscription,
    },
    Errors(error::Filter),
}

impl Wish {
    /// Reads a filter; `None` if the client can have nothing by it.
    pub(super) fn parse(text: &str, own: Own<'_>) -> Option<Self> {
        let errors = || error::Filter::parse(text, own).map(Self::Errors);
        let commands = Filter::parse(text, own);
        commands.map(Self::Commands).or_else(errors)
    }

    pub(super) fn claim(&self) -> Claim {
        match self {
            Self::Commands(filter) => Claim::Commands(filter.key.clone()),
            Self::Errors(filter) => Claim::Errors(filter.key.clone()),
        }
    }

    /// Whether nobody has to be asked: the errors of one's own messages are.
    fn is_free(&self, own: Own<'_>) -> bool {
        match self {
            Self::Commands(_) => false,
            Self::Errors(filter) => own.is_none_or(|(_, device)| filter.key.device == *device),
        }
    }

    /// The best quality that it may come with.
    fn best_quality(&self) -> QoS {
        match self {
            Self::Commands(_) => QoS::AtLeastOnce,
            Self::Errors(_) => QoS::AtMostOnce,
        }
    }
}

impl Request {
    /// A packet with no filter in it yet.
    pub(super) fn new(packet_id: NonZeroU16, filters: usize) -> Self {
        Self {
            packet_id,
            filters: vec![None; filters],
            wanted: Vec::new(),
            current: 0,
            work: None,
            refusal: None,
        }
    }

    /// Adds what the filter at `place` stands for. To be called from the last to the first. Hands
    /// back what is granted without a question, for it to begin at once.
    pub(super) fn add(
        &mut self,
        place: usize,
        (claim, wish): (Claim, Wish),
        qos: QoS,
        own: Own<'_>,
    ) -> Option<error::Filter> {
        let mut wanted = self.wanted.iter();
        let same = wanted.position(|wanted| wanted.claim == claim);
        self.filters[place] = Some(same.unwrap_or(self.wanted.len()));
        if same.is_some() {
            return None;
        }
        let (state, granted) = match wish {
            wish if qos > wish.best_quality() => (State::Refused, None),
            wish if !wish.is_free(own) => (State::Open(wish), None),
            Wish::Errors(filter) => (State::Granted, Some(filter)),
            wish @ Wish::Commands(_) => (State::Open(wish), None),
        };
        self.wanted.push(Wanted {
            claim,
            qos,
            state,
            is_given_up: false,
        });
        granted
    }

    /// The subscriptions that it may still bring.
    pub(super) fn wants(&self) -> usize {
        let all = self.wanted.iter();
        let may_begin = |state: &State| match state {
            State::Open(_) | State::Asking | State::Made(_) => true,
            State::Refused | State::Granted => false,
        };
        all.filter(|wanted| may_begin(&wanted.state)).count()
    }

    /// Ready when each filter has a result.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, client: &Client) -> Poll<()> {
        while let Some(wanted) = self.wanted.get_mut(self.current) {
            if let State::Open(_) = wanted.state
                && let State::Open(wish) = std::mem::replace(&mut wanted.state, State::Asking)
            {
                self.work = Some(make(client.clone(), wish, wanted.qos));
            }
            if let Some(work) = &mut self.work {
                let result = ready!(work.as_mut().poll(cx));
                self.work = None;
                wanted.state = match result {
                    Ok(_) if wanted.is_given_up => State::Granted,
                    Ok(made) => State::Made(made),
                    Err(reason) => {
                        self.refusal.get_or_insert(reason);
                        State::Refused
                    }
                };
            }
            self.current += 1;
        }
        Poll::Ready(())
    }

    /// An UNSUBSCRIBE: the subscription ends as soon as it begins. Says whether there was one to end.
    pub(super) fn give_up(&mut self, claim: &Claim) -> bool {
        let mut wanted = self.wanted.iter_mut();
        let Some(wanted) = wanted.find(|wanted| wanted.claim == *claim) else {
            return false;
        };
        match wanted.state {
            State::Refused | State::Granted => false,
            State::Made(_) => {
                wanted.state = State::Granted;
                true
            }
            State::Open(_) | State::Asking => !std::mem::replace(&mut wanted.is_given_up, true),
        }
    }

    /// What the device is told of those that were refused; nothing if its filters say it all.
    pub(super) fn refusal(&self) -> String {
        let text = self.refusal.as_ref().map(Reason::text);
        text.unwrap_or_default().to_owned()
    }

    /// With what each filter was granted, and what there is now.
    pub(super) fn finish(self) -> (Vec<Option<QoS>>, impl Iterator<Item = Made>) {
        let granted = |place: usize| {
            let wanted = &self.wanted[place];
            let is_granted = matches!(wanted.state, State::Made(_) | State::Granted);
            is_granted.then_some(wanted.qos)
        };
        let granted = self.filters.iter().map(|place| place.and_then(granted));
        let granted = granted.collect();
        (granted, made(self.wanted))
    }

    /// Gives everything up and tells nobody; what has begun is seen to its end.
    pub(super) fn leave(self) {
        made(self.wanted).for_each(Made::leave);
        if let Some(work) = self.work {
            tokio::spawn(async move {
                if let Ok(made) = work.await {
                    made.leave();
                }
            });
        }
    }
}

impl Made {
    fn leave(self) {
        match self {
            Self::Commands { subscription, .. } => subscription.leave(),
            Self::Errors(_) => {}
        }
    }
}

fn made(wanted: Vec<Wanted>) -> impl Iterator<Item = Made> {
    wanted.into_iter().filter_map(|wanted| match wanted.state {
        State::Made(made) => Some(made),
        _ => None,
    })
}

fn make(client: Client, wish: Wish, qos: QoS) -> Work {
    match wish {
        Wish::Commands(Filter { key, target, form }) => Box::pin(async move {
            let session = client.session(&key.target()).await?;
            let subscription = session.subscribe(target, ROOM).await?;
            Ok(Made::Commands {
                key,
                form,
                qos,
                subscription,
            })
        }),
        Wish::Errors(filter) => Box::pin(async move {
            let session = client.session(&filter.key.target()).await?;
            session.may_speak_for(&filter.key.device).await?;
            Ok(Made::Errors(filter))
        }),
    }
}
