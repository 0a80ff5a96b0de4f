use std::time::Duration;

use weir_event_store::{Budget, Budgets, Cause, EventStore, Options, Queue, Refused};

use crate::{Fixture, at, event, ids, name, now, options};

fn with(budgets: Budgets) -> Fixture {
    let options = Options {
        budgets,
        ..options()
    };
    Fixture::with(options)
}

async fn refused(fixture: &Fixture, len: usize) -> Result<(), Refused> {
    fixture.store.append(event("a", vec![0; len])).await
}

#[tokio::test]
async fn a_tenant_that_uses_up_its_number_of_events_is_refused_until_some_are_accepted() {
    let mut fixture = with(Budgets {
        count: 3,
        ..Budgets::default()
    });
    // All at once, so that they share a batch.
    let appends: Vec<_> = (0..5)
        .map(|_| fixture.store.append(event("a", "x")))
        .collect();
    let mut results = Vec::new();
    for append in appends {
        results.push(append.await);
    }
    let full = Err(Refused::Full(Budget::Count));
    assert_eq!(results, [Ok(()), Ok(()), Ok(()), full, full]);
    let mut other = event("a", "x");
    other.tenant = name("other");
    assert_eq!(fixture.store.append(other).await, Ok(()), "on its own");
    assert_eq!(fixture.figures().await.refused, 2);
    fixture.reopen().await;
    assert_eq!(refused(&fixture, 1).await, full);
    let taken = fixture.take(1).await;
    // A dead letter is still the tenant's.
    fixture.store.reject(&ids(&taken), Cause::Rejected);
    fixture.store.flush().await.unwrap();
    assert_eq!(refused(&fixture, 1).await, full);
    let letters = fixture.take_dead(1).await;
    fixture.store.accept(&ids(&letters));
    fixture.store.flush().await.unwrap();
    assert_eq!(refused(&fixture, 1).await, Ok(()));
}

#[tokio::test]
async fn bytes_are_counted_and_given_back() {
    let mut fixture = with(Budgets {
        bytes: 100,
        ..Budgets::default()
    });
    let full = Err(Refused::Full(Budget::Bytes));
    assert_eq!(refused(&fixture, 60).await, Ok(()));
    assert_eq!(refused(&fixture, 41).await, full);
    assert_eq!(refused(&fixture, 40).await, Ok(()));
    assert_eq!(fixture.figures().await.events.bytes, 100);
    let taken = fixture.take(1).await;
    fixture.store.accept(&ids(&taken));
    fixture.store.flush().await.unwrap();
    assert_eq!(refused(&fixture, 61).await, full);
    fixture.reopen().await;
    assert_eq!(refused(&fixture, 61).await, full, "still after a restart");
    assert_eq!(refused(&fixture, 60).await, Ok(()));
}

#[tokio::test]
async fn nothing_new_comes_in_while_the_oldest_event_is_too_old() {
    let mut fixture = with(Budgets {
        age: Some(Duration::from_secs(60)),
        ..Budgets::default()
    });
    let store = fixture.store.clone();
    let arriving = |seconds| {
        let mut event = event("a", "x");
        event.arrived = at(seconds);
        store.append(event)
    };
    assert_eq!(arriving(1_000).await, Ok(()));
    assert_eq!(arriving(1_060).await, Ok(()));
    assert_eq!(arriving(1_061).await, Err(Refused::Full(Budget::Age)));
    let taken = fixture.take(1).await;
    assert_eq!(arriving(1_061).await, Err(Refused::Full(Budget::Age)));
    fixture.store.reject(&ids(&taken), Cause::Rejected);
    fixture.store.flush().await.unwrap();
    assert_eq!(arriving(1_120).await, Ok(()), "dead letters may be old");
    let figures = fixture.store.figures(at(1_130));
    assert_eq!(figures[0].events.oldest_age, Some(Duration::from_secs(70)));
    let dead = figures[0].dead_letters.oldest_age;
    assert_eq!(dead, Some(Duration::from_secs(130)));
}

#[tokio::test]
async fn events_that_nobody_can_write_in_time_are_refused_and_not_kept() {
    let options = Options {
        queued_events: 0,
        ..options()
    };
    let fixture = Fixture::with(options);
    assert_eq!(refused(&fixture, 1).await, Err(Refused::Busy));
}

#[tokio::test]
async fn a_closed_store_refuses_and_can_be_opened_again_while_others_hold_it() {
    let mut fixture = Fixture::new();
    let in_use = EventStore::open(fixture.folder.path(), options()).unwrap_err();
    assert!(
        matches!(in_use, weir_event_store::OpenError::InUse),
        "{in_use}"
    );
    let last = fixture.store.append(event("a", "last"));
    fixture.store.close().await;
    assert_eq!(last.await, Ok(()), "it was on its way");
    assert_eq!(refused(&fixture, 1).await, Err(Refused::Closed));
    assert!(fixture.store.flush().await.is_err());
    let taken = fixture.taker.take(10, now()).await;
    assert_eq!(taken.unwrap_err(), weir_event_store::TakeError::Closed);
    let again = EventStore::open(fixture.folder.path(), options()).unwrap();
    let taken = again
        .taker("t", Queue::Event)
        .take(10, now())
        .await
        .unwrap();
    assert_eq!(&taken[0].payload[..], b"last");
}
