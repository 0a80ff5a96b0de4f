use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use weir_event_store::{Cause, Options, Queue, TakeError, Taker};

use crate::{Fixture, TENANT, ids, now, options, payloads};

async fn take(taker: &mut Taker, max: usize) -> Vec<String> {
    let taken = taker.take(max, now()).await.unwrap();
    payloads(&taken).into_iter().map(str::to_owned).collect()
}

#[tokio::test]
async fn one_taker_has_several_events_of_a_device_and_another_none() {
    let mut fixture = Fixture::new();
    let mut other = fixture.taker();
    fixture.append("a", &["a1", "a2", "a3"]).await;
    fixture.append("b", &["b1"]).await;
    let first = fixture.take(2).await;
    assert_eq!(payloads(&first), ["a1", "a2"]);
    assert_eq!(&*first[0].device, "a");
    assert_eq!(take(&mut other, 10).await, ["b1"]);
    fixture.store.accept(&ids(&first[1..]));
    assert!(take(&mut other, 10).await.is_empty());
    fixture.store.accept(&ids(&first[..1]));
    assert_eq!(take(&mut other, 10).await, ["a3"]);
    fixture.append("a", &["a4"]).await;
    assert!(fixture.take(10).await.is_empty());
    assert_eq!(take(&mut other, 10).await, ["a4"]);
}

#[tokio::test]
async fn what_is_left_when_a_taker_is_dropped_is_the_others_at_once() {
    let mut fixture = Fixture::new();
    let mut watch = fixture.store.watch(TENANT, Queue::Event);
    fixture.append("a", &["a1", "a2", "a3"]).await;
    let mut gone = fixture.taker();
    let taken = gone.take(2, now()).await.unwrap();
    fixture.store.release(&ids(&taken[..1]), true, now());
    assert!(fixture.take(10).await.is_empty());
    watch.mark_unchanged();
    drop(gone);
    watch.changed().await.unwrap();
    let again = fixture.take(10).await;
    assert_eq!(payloads(&again), ["a1", "a2", "a3"]);
    let attempts: Vec<_> = again.iter().map(|taken| taken.attempts).collect();
    assert_eq!(attempts, [1, 0, 0], "none is counted for what was left");
    // What the first had to say comes too late.
    fixture.store.accept(&ids(&taken));
    fixture.store.reject(&ids(&taken), Cause::Rejected);
    fixture.store.release(&ids(&taken), true, now());
    assert_eq!(fixture.figures().await.events.count, 3);
    assert!(fixture.take(10).await.is_empty());
}

#[tokio::test]
async fn dead_letters_have_takers_of_their_own() {
    let mut fixture = Fixture::new();
    fixture.append("a", &["a1", "a2", "a3"]).await;
    let taken = fixture.take(2).await;
    fixture.store.reject(&ids(&taken), Cause::Rejected);
    let held = fixture.take(1).await;
    assert_eq!(payloads(&held), ["a3"]);
    fixture.store.flush().await.unwrap();
    assert_eq!(payloads(&fixture.take_dead(1).await), ["a1"]);
    let mut other = fixture.store.taker(TENANT, Queue::DeadLetter);
    assert!(take(&mut other, 10).await.is_empty());
    assert_eq!(payloads(&fixture.take_dead(10).await), ["a2"]);
}

#[tokio::test]
async fn a_take_that_is_given_up_hands_nothing_out() {
    let options = Options {
        memory: 0,
        ..options()
    };
    let mut fixture = Fixture::with(options);
    let big = "x".repeat(1_000_000);
    fixture.append("a", &[&big, "a2"]).await;
    loop {
        let mut take = Box::pin(fixture.taker.take(1, now()));
        match poll(take.as_mut()) {
            Poll::Pending => break,
            // The disk was faster than this.
            Poll::Ready(taken) => fixture.store.release(&ids(&taken.unwrap()), false, now()),
        }
    }
    let mut other = fixture.taker();
    let taken = other.take(10, now()).await.unwrap();
    assert_eq!(payloads(&taken), [&big, "a2"]);
    assert_eq!(taken[0].attempts, 0);
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn a_take_that_closing_overtakes_ends() {
    let options = Options {
        memory: 0,
        ..options()
    };
    let mut fixture = Fixture::with(options);
    fixture.append("a", &["a1", "a2"]).await;
    let mut other = fixture.taker();
    for (round, taker) in [&mut fixture.taker, &mut other].into_iter().enumerate() {
        let mut take = Box::pin(taker.take(1, now()));
        let first = poll(take.as_mut());
        fixture.store.close().await;
        let answer = match first {
            Poll::Ready(answer) => answer,
            Poll::Pending => take.await,
        };
        match round {
            // It was asked before.
            0 => assert_eq!(payloads(&answer.unwrap()), ["a1"]),
            _ => assert_eq!(answer.unwrap_err(), TakeError::Closed),
        }
    }
    fixture.reopen().await;
    assert_eq!(payloads(&fixture.take(10).await), ["a1", "a2"]);
}

#[tokio::test]
async fn an_event_that_cannot_be_read_is_in_nobodys_way_and_is_kept() {
    for max in [1, 10] {
        let mut fixture = Fixture::new();
        fixture.append("a", &["a1", "a2"]).await;
        fixture.append("b", &["b1"]).await;
        fixture.store.close().await;
        set_device(&fixture, "x'ff'");
        fixture.reopen().await;
        let mut taken = Vec::new();
        while taken.len() < 2 {
            match fixture.taker.take(max, now()).await {
                Ok(more) => taken.extend(more),
                Err(error) => assert_eq!((error, max), (TakeError::Io, 1)),
            }
        }
        assert_eq!(payloads(&taken), ["a2", "b1"], "{max} at a time");
        assert!(fixture.take(max).await.is_empty());
        fixture.store.accept(&ids(&taken));
        assert_eq!(fixture.figures().await.events.count, 1);
        fixture.store.close().await;
        set_device(&fixture, "'a'");
        fixture.reopen().await;
        assert_eq!(payloads(&fixture.take(max).await), ["a1"]);
    }
}

/// Writes something else for the device of the first event.
fn set_device(fixture: &Fixture, value: &str) {
    let database = fixture.folder.path().join("events.db");
    let database = rusqlite::Connection::open(database).unwrap();
    let sql = format!("UPDATE body SET device = {value} WHERE id = 1");
    assert_eq!(database.execute(&sql, []).unwrap(), 1);
}
