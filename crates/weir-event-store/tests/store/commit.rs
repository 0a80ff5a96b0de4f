//! What an acknowledgement waits for, seen from another connection to the database.

use std::time::Duration;

use rusqlite::Connection;
use weir_event_store::{Append, Options, Refused, Unwritable};

use crate::{Fixture, event, now, options, payloads};

fn connect(fixture: &Fixture) -> Connection {
    Connection::open(fixture.folder.path().join("events.db")).unwrap()
}

fn rows(connection: &Connection) -> u32 {
    let count = "SELECT count(*) FROM head JOIN body USING (id)";
    connection.query_row(count, [], |row| row.get(0)).unwrap()
}

fn append_many(fixture: &Fixture, count: usize) -> Vec<Append> {
    (0..count)
        .map(|number| fixture.store.append(event("a", number.to_string())))
        .collect()
}

#[tokio::test]
async fn an_event_is_acknowledged_after_its_commit_and_not_before() {
    let fixture = Fixture::new();
    let other = connect(&fixture);
    // While this one may write, the store cannot commit.
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut append = fixture.store.append(event("a", "a1"));
    let early = tokio::time::timeout(Duration::from_millis(300), &mut append);
    assert!(early.await.is_err(), "acknowledged before it was written");
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(append.await, Ok(()));
    assert_eq!(rows(&other), 1);
}

#[tokio::test]
async fn a_commit_that_fails_is_told_to_all_who_wait_and_leaves_nothing() {
    let mut fixture = Fixture::new();
    let other = connect(&fixture);
    let stop = "CREATE TRIGGER stop BEFORE INSERT ON body WHEN NEW.bytes = CAST('9' AS BLOB)
                BEGIN SELECT RAISE(ABORT, 'this test does not want it'); END";
    other.execute_batch(stop).unwrap();
    let mut stored = 0;
    loop {
        // The writer waits for this, so that the events share a commit, or all but the first do.
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let all = append_many(&fixture, 10);
        other.execute_batch("ROLLBACK").unwrap();
        let mut results = Vec::new();
        for append in all {
            results.push(append.await);
        }
        let failed = results.iter().filter(|result| result.is_err()).count();
        let alike = results.iter().rev().take(failed);
        assert!(alike.eq(std::iter::repeat_n(&Err(Refused::Io), failed)));
        stored += 10 - u32::try_from(failed).unwrap();
        assert_eq!(rows(&other), stored);
        assert_eq!(fixture.figures().await.events.count, u64::from(stored));
        if failed > 1 {
            break;
        }
    }
    other.execute_batch("DROP TRIGGER stop").unwrap();
    for append in append_many(&fixture, 10) {
        assert_eq!(append.await, Ok(()));
    }
    let taken = fixture.take(usize::MAX).await;
    assert_eq!(taken.len(), stored as usize + 10);
    assert!(payloads(&taken).ends_with(&["8", "9"]));
}

#[tokio::test]
async fn who_goes_away_while_an_event_is_written_changes_nothing() {
    let mut fixture = Fixture::new();
    drop(append_many(&fixture, 3));
    fixture.store.flush().await.unwrap();
    assert_eq!(payloads(&fixture.take(10).await), ["0", "1", "2"]);
}

#[tokio::test]
async fn settlements_that_cannot_be_written_are_written_later() {
    let mut fixture = Fixture::new();
    fixture.append("a", &["a1", "a2", "a3"]).await;
    let other = connect(&fixture);
    let stop = "CREATE TRIGGER stop BEFORE DELETE ON head
                BEGIN SELECT RAISE(ABORT, 'this test does not want it'); END";
    other.execute_batch(stop).unwrap();
    let taken = fixture.take(10).await;
    fixture.store.release(&[taken[2].id], true, now());
    fixture.store.accept(&[taken[0].id]);
    assert!(fixture.store.flush().await.is_err());
    // What cannot be removed keeps no event out.
    assert_eq!(
        fixture.store.append(event("b", "b1")).await,
        Err(Refused::Io)
    );
    assert_eq!(rows(&other), 3);
    other.execute_batch("DROP TRIGGER stop").unwrap();
    assert_eq!(fixture.store.append(event("b", "b2")).await, Ok(()));
    assert_eq!(fixture.store.flush().await, Ok(()));
    assert_eq!(rows(&other), 3);
    fixture.reopen().await;
    let taken = fixture.take(10).await;
    assert_eq!(payloads(&taken), ["a2", "a3", "b2"]);
    assert_eq!(taken[1].attempts, 1);
}

/// Has every event fail, and nothing else.
fn let_no_event_in(other: &Connection) {
    let stop = "CREATE TRIGGER stop BEFORE INSERT ON body
                BEGIN SELECT RAISE(ABORT, 'this test does not want it'); END";
    other.execute_batch(stop).unwrap();
}

async fn refuse_one(fixture: &Fixture) {
    let refused = fixture.store.append(event("a", "a9")).await;
    assert_eq!(refused, Err(Refused::Io));
    assert_eq!(fixture.store.check(), Err(Unwritable::Failing));
}

async fn good_again(fixture: &Fixture) {
    let good_again = async {
        while fixture.store.check().is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let good_again = tokio::time::timeout(Duration::from_secs(30), good_again);
    good_again.await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_written_is_known_until_something_could_be_though_nothing_comes() {
    let fixture = Fixture::new();
    assert_eq!(fixture.store.check(), Ok(()));
    let other = connect(&fixture);
    let_no_event_in(&other);
    refuse_one(&fixture).await;
    other.execute_batch("DROP TRIGGER stop").unwrap();
    good_again(&fixture).await;
    assert_eq!(rows(&other), 0, "what was tried leaves nothing behind");
}

#[tokio::test]
async fn what_can_be_removed_does_not_make_believe_that_events_can_be_written() {
    let mut fixture = Fixture::new();
    fixture.append("a", &["a1", "a2"]).await;
    let taken = fixture.take(10).await;
    let other = connect(&fixture);
    let_no_event_in(&other);
    // A removal in the batch of an event is written after the event could not be.
    fixture.store.accept(&[taken[0].id]);
    refuse_one(&fixture).await;
    // One by itself.
    fixture.store.accept(&[taken[1].id]);
    assert_eq!(fixture.store.flush().await, Ok(()));
    assert_eq!(rows(&other), 0);
    assert_eq!(fixture.store.check(), Err(Unwritable::Failing));
    refuse_one(&fixture).await;
    other.execute_batch("DROP TRIGGER stop").unwrap();
    good_again(&fixture).await;
}

#[tokio::test]
async fn that_events_can_be_written_again_is_found_although_settlements_come_all_the_time() {
    let fixture = Fixture::new();
    let other = connect(&fixture);
    let_no_event_in(&other);
    refuse_one(&fixture).await;
    other.execute_batch("DROP TRIGGER stop").unwrap();
    // Without a pause in which it could be tried out.
    for _ in 0..100 {
        fixture.store.flush().await.unwrap();
    }
    assert_eq!(fixture.store.check(), Ok(()));
}

/// The number of a write once it has been seen twice.
async fn same_again(fixture: &Fixture) -> u64 {
    let seen = async {
        let mut last = None;
        loop {
            match fixture.store.writing() {
                Some(number) if last == Some(number) => return number,
                number => last = number,
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let seen = tokio::time::timeout(Duration::from_secs(10), seen);
    seen.await.unwrap()
}

#[tokio::test]
async fn a_write_that_goes_on_can_be_told_from_the_one_after_it() {
    let fixture = Fixture::new();
    let other = connect(&fixture);
    let mut numbers = Vec::new();
    for _ in 0..2 {
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let append = fixture.store.append(event("a", "a1"));
        numbers.push(same_again(&fixture).await);
        assert_eq!(fixture.store.check(), Ok(()), "it has not failed");
        other.execute_batch("ROLLBACK").unwrap();
        assert_eq!(append.await, Ok(()));
    }
    assert_ne!(numbers[0], numbers[1]);
    fixture.store.close().await;
    assert_eq!(fixture.store.writing(), None);
}

#[tokio::test]
async fn without_room_and_when_it_is_closed_nothing_can_be_written() {
    let fixture = Fixture::with(Options {
        reserve: u64::MAX,
        ..options()
    });
    assert_eq!(fixture.store.check(), Err(Unwritable::NoSpace));
    let refused = fixture.store.append(event("a", "a1")).await;
    assert_eq!(refused, Err(Refused::NoSpace));
    fixture.store.close().await;
    assert_eq!(fixture.store.check(), Err(Unwritable::Closed));
}
