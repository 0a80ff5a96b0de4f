//! A SUBSCRIBE that has no answer yet.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::future::BoxFuture;
use rmqtt_codec::types::QoS;
use weir_core::command::Subscription;
use weir_core::{DeviceId, Reason, Session};

use super::filter::{Filter, Form};

/// Commands that may wait in a subscription. What finds no room is released.
const ROOM: usize = 64;

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
}

type Work = BoxFuture<'static, Result<Subscription, Reason>>;

struct Wanted {
    key: DeviceId,
    filter: Filter,
    qos: QoS,
    result: Option<Subscription>,
    is_decided: bool,
    is_granted: bool,
    /// An UNSUBSCRIBE came in between.
    is_given_up: bool,
}

/// A subscription that was made.
pub(super) struct Made {
    pub(super) key: DeviceId,
    pub(super) form: Form,
    pub(super) qos: QoS,
    pub(super) subscription: Subscription,
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
        }
    }

    /// Adds what the filter at `place` stands for. To be called from the last to the first.
    pub(super) fn add(&mut self, place: usize, key: &DeviceId, filter: Filter, qos: QoS) {
        let same = self.wanted.iter().position(|wanted| wanted.key == *key);
        self.filters[place] = Some(same.unwrap_or(self.wanted.len()));
        if same.is_none() {
            self.wanted.push(Wanted {
                key: key.clone(),
                filter,
                qos,
                result: None,
                // Commands do not come with QoS 2.
                is_decided: qos == QoS::ExactlyOnce,
                is_granted: false,
                is_given_up: false,
            });
        }
    }

    /// The subscriptions that it may bring.
    pub(super) fn wants(&self) -> usize {
        self.wanted.len()
    }

    /// Ready when each filter has a result.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, session: &Arc<Session>) -> Poll<()> {
        while let Some(wanted) = self.wanted.get_mut(self.current) {
            if !wanted.is_decided {
                let start = || subscribe(session.clone(), &wanted.filter);
                let work = self.work.get_or_insert_with(start);
                let result = ready!(work.as_mut().poll(cx));
                self.work = None;
                wanted.is_decided = true;
                wanted.is_granted = result.is_ok();
                wanted.result = result.ok();
            }
            self.current += 1;
        }
        Poll::Ready(())
    }

    /// An UNSUBSCRIBE: the subscription ends as soon as it begins. Says whether there was one to end.
    pub(super) fn give_up(&mut self, key: &DeviceId) -> bool {
        let mut wanted = self.wanted.iter_mut();
        let Some(wanted) = wanted.find(|wanted| wanted.key == *key) else {
            return false;
        };
        let is_refused = wanted.is_decided && wanted.result.is_none();
        wanted.result = None;
        !std::mem::replace(&mut wanted.is_given_up, true) && !is_refused
    }

    /// With what each filter was granted, and what there is now.
    pub(super) fn finish(self) -> (Vec<Option<QoS>>, impl Iterator<Item = Made>) {
        let granted = |place: usize| {
            let wanted = &self.wanted[place];
            wanted.is_granted.then_some(wanted.qos)
        };
        let granted = self.filters.iter().map(|place| place.and_then(granted));
        let granted = granted.collect();
        let made = self.wanted.into_iter().filter_map(|wanted| {
            let subscription = wanted.result.filter(|_| !wanted.is_given_up)?;
            Some(Made {
                key: wanted.key,
                form: wanted.filter.form,
                qos: wanted.qos,
                subscription,
            })
        });
        (granted, made)
    }

    /// Gives everything up and tells nobody; what has begun is seen to its end.
    pub(super) fn leave(self) {
        self.wanted
            .into_iter()
            .filter_map(|wanted| wanted.result)
            .for_each(Subscription::leave);
        if let Some(work) = self.work {
            tokio::spawn(async move {
                if let Ok(subscription) = work.await {
                    subscription.leave();
                }
            });
        }
    }
}

fn subscribe(session: Arc<Session>, filter: &Filter) -> Work {
    let target = filter.target.clone();
    Box::pin(async move { session.subscribe(target, ROOM).await })
}
