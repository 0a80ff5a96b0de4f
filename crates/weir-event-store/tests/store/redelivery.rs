use weir_event_store::{Cause, Options};

use crate::{Fixture, at, event, ids, now, options, payloads};

#[tokio::test]
async fn a_released_event_comes_again_first_with_its_number_of_attempts() {
    let mut fixture = Fixture::new();
    fixture.append("a", &["a1", "a2"]).await;
    for (attempts, count_attempt) in [(0, true), (1, false), (1, true), (2, true)] {
        let taken = fixture.take(1).await;
        assert_eq!(payloads(&taken), ["a1"]);
        assert_eq!(taken[0].attempts, attempts);
        fixture.store.release(&ids(&taken), count_attempt, now());
    }
    fixture.reopen().await;
    let taken = fixture.take(10).await;
    assert_eq!(payloads(&taken), ["a1", "a2"]);
    let attempts: Vec<_> = taken.iter().map(|taken| taken.attempts).collect();
    assert_eq!(attempts, [3, 0], "survives");
}

#[tokio::test]
async fn after_the_last_attempt_an_event_is_a_dead_letter() {
    let options = Options {
        max_attempts: 2,
        ..options()
    };
    let mut fixture = Fixture::with(options);
    fixture.append("a", &["a1", "a2"]).await;
    for _ in 0..2 {
        let taken = fixture.take(1).await;
        assert_eq!(payloads(&taken), ["a1"]);
        fixture.store.release(&ids(&taken), true, now());
    }
    let taken = fixture.take(10).await;
    assert_eq!(payloads(&taken), ["a2"], "the next follows");
    let figures = fixture.figures().await;
    assert_eq!(figures.events.count, 1);
    assert_eq!(figures.dead_letters.count, 1);
    assert_eq!(figures.dead_lettered, 1);
    fixture.reopen().await;
    // Dead letters are tried for ever.
    for attempts in 0..4 {
        let letters = fixture.take_dead(10).await;
        assert_eq!(payloads(&letters), ["a1"]);
        assert_eq!(letters[0].cause, Some(Cause::Attempts));
        assert_eq!(letters[0].attempts, attempts);
        assert_eq!(letters[0].stored_at, at(1_000));
        assert_eq!(&*letters[0].device, "a");
        fixture.store.release(&ids(&letters), true, now());
    }
    fixture.reopen().await;
    let letters = fixture.take_dead(10).await;
    let letter = &letters[0];
    assert_eq!((letter.cause, letter.attempts), (Some(Cause::Attempts), 4));
}

#[tokio::test]
async fn what_a_consumer_does_not_want_is_a_dead_letter_at_once_until_nobody_wants_that() {
    let mut fixture = Fixture::new();
    fixture.append("a", &["a1"]).await;
    fixture.append("b", &["b1"]).await;
    let taken = fixture.take(10).await;
    fixture.store.reject(&ids(&taken[..1]), Cause::Rejected);
    fixture
        .store
        .reject(&ids(&taken[1..]), Cause::Undeliverable);
    // Twice is once.
    fixture.store.reject(&ids(&taken), Cause::Rejected);
    fixture.store.accept(&ids(&taken));
    fixture.store.release(&ids(&taken), true, now());
    fixture.reopen().await;
    assert_eq!(fixture.take(10).await.len(), 0);
    let letters = fixture.take_dead(10).await;
    assert_eq!(payloads(&letters), ["a1", "b1"]);
    let causes: Vec<_> = letters.iter().map(|letter| letter.cause).collect();
    assert_eq!(causes, [Some(Cause::Rejected), Some(Cause::Undeliverable)]);
    fixture.store.accept(&ids(&letters[..1]));
    fixture.store.reject(&ids(&letters[1..]), Cause::Rejected);
    let figures = fixture.figures().await;
    assert_eq!(
        (figures.dead_letters.count, figures.dead_letters.bytes),
        (0, 0)
    );
    fixture.reopen().await;
    assert_eq!(fixture.take_dead(10).await.len(), 0);
}

#[tokio::test]
async fn an_event_expires_while_it_waits_and_not_while_it_is_out() {
    let mut fixture = Fixture::new();
    let until = |device: &str, payload: &'static str, seconds| {
        let mut event = event(device, payload);
        event.expires = Some(seconds);
        fixture.store.append(event)
    };
    until("a", "a1", at(1_010)).await.unwrap();
    let late = at(1_010) + std::time::Duration::from_millis(1);
    until("b", "b1", late).await.unwrap();
    until("c", "c1", at(1_020)).await.unwrap();
    until("c", "c2", at(1_010)).await.unwrap();
    fixture.append("c", &["c3"]).await;
    assert_eq!(fixture.store.expire(at(1_009)).count, 0);
    let taken = fixture.take(1).await;
    assert_eq!(payloads(&taken), ["a1"]);
    assert_eq!(taken[0].expires, Some(at(1_010)));
    let expired = fixture.store.expire(at(1_010));
    assert_eq!((expired.count, expired.more), (1, false), "c2");
    fixture.store.release(&ids(&taken), true, now());
    assert_eq!(fixture.store.expire(at(1_010)).count, 1, "a1");
    assert_eq!(fixture.store.expire(at(1_011)).count, 1, "b1, not early");
    assert_eq!(fixture.figures().await.expired, 3);
    fixture.reopen().await;
    assert_eq!(payloads(&fixture.take(10).await), ["c1", "c3"]);
    // After the restart it is known still.
    fixture.reopen().await;
    assert_eq!(fixture.store.expire(at(1_020)).count, 1, "c1");
    assert_eq!(payloads(&fixture.take(10).await), ["c3"]);
    assert_eq!(fixture.figures().await.events.count, 1);
}

#[tokio::test]
async fn nobody_gets_what_has_expired_though_nothing_else_has_looked_at_the_clock() {
    let mut fixture = Fixture::new();
    let mut other = fixture.taker();
    let until = |device: &str, payload: &'static str, seconds| {
        let mut event = event(device, payload);
        event.expires = Some(at(seconds));
        fixture.store.append(event)
    };
    until("a", "a1", 1_010).await.unwrap();
    until("a", "a2", 1_010).await.unwrap();
    until("b", "b1", 1_020).await.unwrap();
    until("b", "b2", 1_020).await.unwrap();
    until("b", "b3", 1_015).await.unwrap();
    until("b", "b4", 1_030).await.unwrap();
    until("c", "c1", 1_020).await.unwrap();
    // Those that nobody has looked at.
    let taken = fixture.taker.take(2, at(1_010)).await.unwrap();
    assert_eq!(payloads(&taken), ["b1", "b2"]);
    assert_eq!(fixture.figures().await.expired, 2, "a1, a2");
    // What is in line and what moves up.
    let passed = other.take(10, at(1_014)).await.unwrap();
    assert_eq!(payloads(&passed), ["c1"]);
    let next = fixture.taker.take(10, at(1_015)).await.unwrap();
    assert_eq!(payloads(&next), ["b4"]);
    assert_eq!(fixture.figures().await.expired, 3, "b3");
    // What was out.
    fixture.store.release(&ids(&taken[..1]), true, at(1_019));
    fixture.store.release(&ids(&taken[1..]), true, at(1_020));
    assert_eq!(fixture.figures().await.expired, 4, "b2");
    drop(other);
    assert!(fixture.taker.take(10, at(1_020)).await.unwrap().is_empty());
    let figures = fixture.figures().await;
    assert_eq!(figures.expired, 6, "b1 and c1");
    assert_eq!((figures.events.count, figures.events.bytes), (1, 2));
    assert_eq!(fixture.store.expire(at(1_029)).count, 0);
    fixture.reopen().await;
    assert_eq!(payloads(&fixture.take(10).await), ["b4"]);
}

#[tokio::test]
async fn what_has_expired_does_not_become_a_dead_letter_for_its_attempts() {
    let options = Options {
        max_attempts: 1,
        ..options()
    };
    let mut fixture = Fixture::with(options);
    for expires in [1_010, 1_011] {
        let mut event = event("a", expires.to_string());
        event.expires = Some(at(expires));
        fixture.store.append(event).await.unwrap();
    }
    let taken = fixture.take(10).await;
    fixture.store.release(&ids(&taken), true, at(1_010));
    let figures = fixture.figures().await;
    assert_eq!((figures.expired, figures.events.count), (1, 0));
    assert_eq!(payloads(&fixture.take_dead(10).await), ["1011"]);
}
