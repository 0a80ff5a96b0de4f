use super::*;

const X: TakerNo = TakerNo(1);
const Y: TakerNo = TakerNo(2);

fn queue(keys: &[u32]) -> Waiting {
    let mut waiting = Waiting::default();
    for (id, &key) in (1..).zip(keys) {
        let (len, stored, expires) = (10, 0, 0);
        waiting.push(Entry {
            id,
            key,
            len,
            stored,
            expires,
        });
    }
    waiting
}

fn pick(waiting: &mut Waiting, taker: TakerNo, max: usize) -> Vec<i64> {
    let choice = waiting.pick(taker, (max, usize::MAX), 0);
    choice.picked.iter().map(|entry| entry.id).collect()
}

fn is_empty(waiting: &Waiting) -> bool {
    waiting.oldest().is_none()
        && waiting.lines.is_empty()
        && waiting.hands.is_empty()
        && waiting.ready.is_empty()
        && waiting.timers.is_empty()
        && waiting.look_at.is_empty()
}

#[test]
fn a_device_is_one_takers_until_all_that_is_out_is_settled() {
    let mut waiting = queue(&[1, 1, 2, 1, 1]);
    assert_eq!(pick(&mut waiting, X, 2), [1, 2]);
    assert_eq!(pick(&mut waiting, Y, 10), [3], "of the other device only");
    assert_eq!(
        waiting.settle(1, X).map(|(_, is_free)| is_free),
        Some(false)
    );
    assert_eq!(pick(&mut waiting, Y, 10), [0_i64; 0]);
    assert_eq!(pick(&mut waiting, X, 1), [4], "what Y has passed over");
    assert_eq!(
        waiting.settle(2, X).map(|(_, is_free)| is_free),
        Some(false)
    );
    assert_eq!(waiting.settle(4, X).map(|(_, is_free)| is_free), Some(true));
    assert_eq!(pick(&mut waiting, Y, 10), [5]);
    assert_eq!(pick(&mut waiting, X, 10), [0_i64; 0]);
    assert!(waiting.settle(5, X).is_none(), "it is out with the other");
    assert!(waiting.settle(5, Y).is_some() && waiting.settle(3, Y).is_some());
    assert!(waiting.settle(5, Y).is_none(), "settled twice");
    assert!(is_empty(&waiting));
}

#[test]
fn released_events_go_before_all_that_wait_in_their_order() {
    let mut waiting = queue(&[1, 1, 1, 1, 1, 1]);
    assert_eq!(pick(&mut waiting, X, 4), [1, 2, 3, 4]);
    for id in [3, 1, 2] {
        assert!(waiting.release(id, X));
    }
    assert_eq!(pick(&mut waiting, Y, 10), [0_i64; 0], "4 is out");
    assert_eq!(waiting.oldest().map(|e| e.id), Some(1));
    assert_eq!(pick(&mut waiting, X, 2), [1, 2]);
    for id in [4, 2, 1] {
        assert!(waiting.release(id, X));
    }
    assert!(!waiting.release(1, X), "released twice");
    assert_eq!(pick(&mut waiting, Y, 10), [1, 2, 3, 4, 5, 6]);
    assert_eq!(waiting.out_with(Y), [1, 2, 3, 4, 5, 6]);
    assert!(waiting.out_with(X).is_empty());
}

/// The ids of what has expired, sorted, and whether something moved up.
fn expire(waiting: &mut Waiting, now: u32) -> (Vec<i64>, bool) {
    let expiry = waiting.expire(now, 100);
    let mut ids: Vec<_> = expiry.entries.iter().map(|entry| entry.id).collect();
    ids.sort_unstable();
    (ids, expiry.has_next)
}

#[test]
fn events_expire_in_all_states_but_out_and_let_the_next_of_their_device_move_up() {
    let mut waiting = Waiting::default();
    // The first three of device 1 are going to be out, with 4 bound and 5 in line; 6 is ready, 7 is
    // out, and nobody looks at 8.
    for (id, key, expires) in [
        (1, 1, 10),
        (2, 1, 10),
        (3, 1, 0),
        (4, 1, 10),
        (5, 1, 10),
        (6, 2, 10),
        (7, 3, 20),
        (8, 4, 10),
        (9, 1, 0),
    ] {
        let (len, stored) = (10, 0);
        waiting.push(Entry {
            id,
            key,
            len,
            stored,
            expires,
        });
    }
    assert_eq!(pick(&mut waiting, X, 3), [1, 2, 3]);
    assert_eq!(pick(&mut waiting, Y, 2), [6, 7]);
    assert!(waiting.release(6, Y));
    assert_eq!(expire(&mut waiting, 9), (vec![], false));
    // 5 moves up and expires after that; 9 is not in line yet.
    assert_eq!(expire(&mut waiting, 10), (vec![4, 5, 6, 8], true));
    for id in [3, 2, 1] {
        assert!(waiting.release(id, X));
    }
    // 1 is ready, 2 is in line again.
    assert_eq!(expire(&mut waiting, 15), (vec![1, 2], true));
    assert_eq!(pick(&mut waiting, Y, 10), [3, 9]);
    assert!(waiting.release(7, Y));
    assert_eq!(expire(&mut waiting, 20), (vec![7], false));
    for id in [3, 9] {
        assert!(waiting.settle(id, Y).is_some());
    }
    assert!(is_empty(&waiting));
}

#[test]
fn what_only_one_taker_may_have_is_told_from_what_is_left_to_look_at() {
    let many = vec![1; LOOK_AT + 10];
    let mut waiting = queue(&many);
    assert_eq!(pick(&mut waiting, X, 1), [1]);
    for more in [true, false] {
        let choice = waiting.pick(Y, (10, usize::MAX), 0);
        assert!(choice.picked.is_empty());
        assert_eq!(choice.more, more);
    }
    assert_eq!(pick(&mut waiting, X, 3), [2, 3, 4]);
}

#[test]
fn bytes_bound_what_is_handed_out_but_never_to_nothing() {
    let mut waiting = queue(&[1, 2, 3]);
    assert_eq!(waiting.pick(X, (10, 5), 0).picked.len(), 1);
    assert_eq!(waiting.pick(X, (10, 20), 0).picked.len(), 2);
}
