//! Events in: from a device to the store.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use weir_core::{Delivery, Disposition, Downstream, LogLimit, Reason, Settled, TenantId};
use weir_event_store::{Append, Event, Queue, Refused};

use super::{Events, stored};

/// How long a device waits for the disk. A write that takes longer may still succeed.
const PATIENCE: Duration = Duration::from_secs(10);

static REFUSED: LogLimit = LogLimit::new();

/// Where the events of one tenant leave.
pub(crate) struct Outlet {
    events: Arc<Events>,
    tenant: Arc<str>,
}

impl Outlet {
    pub(super) fn new(events: Arc<Events>, tenant: &TenantId) -> Self {
        Self {
            events,
            tenant: tenant.as_str().into(),
        }
    }

    fn append(&self, message: &Downstream) -> Append {
        let number = self.events.number.fetch_add(1, Ordering::Relaxed);
        let (arrived, expires) = times(message);
        self.events.store.append(Event {
            tenant: self.tenant.clone(),
            device: message.device.as_str().into(),
            queue: Queue::Event,
            arrived,
            expires,
            payload: stored::write(message, number),
        })
    }
}

impl weir_core::Outlet for Outlet {
    fn publish(&self, message: Downstream) -> Delivery {
        let append = self.append(&message);
        let tenant = self.tenant.clone();
        Delivery::from_future(async move {
            let appended = tokio::time::timeout(PATIENCE, append).await;
            let disposition = match appended {
                Ok(Ok(())) => Ok(()),
                Ok(Err(refused)) => refuse(&tenant, reason(refused), &refused.to_string()),
                Err(_) => {
                    let text = "the disk takes too long";
                    refuse(&tenant, Reason::DownstreamUnavailable, text)
                }
            };
            let at = Instant::now();
            Settled { disposition, at }
        })
    }
}

/// When a message has arrived, and when nobody wants it any more.
fn times(message: &Downstream) -> (OffsetDateTime, Option<OffsetDateTime>) {
    let nanos = i128::from(message.creation_time) * 1_000_000;
    let arrived = OffsetDateTime::from_unix_timestamp_nanos(nanos);
    let arrived = arrived.unwrap_or_else(|_| OffsetDateTime::now_utc());
    let ttl = message.ttl.map(|ttl| Duration::from_millis(ttl.into()));
    // Later than there are dates is never.
    let expires = ttl.and_then(|ttl| arrived.checked_add(ttl.try_into().ok()?));
    (arrived, expires)
}

/// What the device is told.
fn reason(refused: Refused) -> Reason {
    match refused {
        Refused::Full(_) | Refused::NoSpace | Refused::Busy => Reason::EventStoreFull,
        Refused::Closed | Refused::Io => Reason::DownstreamUnavailable,
    }
}

fn refuse(tenant: &str, reason: Reason, error: &str) -> Disposition {
    if let Some(unlogged) = REFUSED.admit(Instant::now()) {
        let reason = reason.name();
        tracing::warn!(tenant, reason, error, unlogged, "event not stored");
    }
    Err(reason)
}

#[cfg(test)]
mod tests {
    use weir_core::{Endpoint, Outlet as _, Qos};
    use weir_event_store::{Budget, Budgets, EventStore, Options};

    use super::*;
    use crate::message::tests::message;

    fn event() -> Downstream {
        Downstream {
            endpoint: Endpoint::Event,
            ..message(Qos::AtLeastOnce)
        }
    }

    #[tokio::test]
    async fn an_event_is_taken_when_it_is_stored_and_refused_when_there_is_no_room() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            budgets: Budgets {
                count: 2,
                ..Budgets::default()
            },
            ..Options::default()
        };
        let store = EventStore::open(folder.path(), options).unwrap();
        let metrics = weir_metrics::Metrics::new("test", Instant::now());
        let outlet = Arc::new(Events::new(store.clone(), metrics)).outlet(&"acme".into());
        for _ in 0..2 {
            assert_eq!(outlet.publish(event()).await.disposition, Ok(()));
        }
        let refused = outlet.publish(event()).await.disposition;
        assert_eq!(refused, Err(Reason::EventStoreFull));
        let taken = store
            .taker("acme", Queue::Event)
            .take(10, OffsetDateTime::now_utc())
            .await
            .unwrap();
        let devices: Vec<_> = taken.iter().map(|event| &*event.device).collect();
        assert_eq!(devices, ["4711", "4711"]);
        store.close().await;
        let refused = outlet.publish(event()).await.disposition;
        assert_eq!(refused, Err(Reason::DownstreamUnavailable));
    }

    #[test]
    fn a_device_is_told_that_it_is_temporary() {
        for refused in [
            Refused::Full(Budget::Age),
            Refused::NoSpace,
            Refused::Busy,
            Refused::Closed,
            Refused::Io,
        ] {
            let reason = reason(refused);
            assert_eq!((reason.status(), reason.may_retry()), (503, true));
        }
    }

    #[test]
    fn an_event_expires_so_long_after_it_has_arrived() {
        let timed = |creation_time, ttl| {
            times(&Downstream {
                creation_time,
                ttl,
                ..event()
            })
        };
        let at = |seconds| OffsetDateTime::from_unix_timestamp(seconds).unwrap();
        assert_eq!(timed(2000, None), (at(2), None));
        assert_eq!(timed(2000, Some(7000)), (at(2), Some(at(9))));
        let last = (i64::MAX, Some(1));
        assert!(timed(last.0, last.1).1.is_some(), "no such date: as of now");
    }
}
