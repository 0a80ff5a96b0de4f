//! Single frames: their headers, and the performatives that are read by hand.

use super::{victim::Victim, *};
use crate::codec::{
    frame::{Front, peek},
    hot::{Disposition, Flow, Transfer, decode_outcome},
    primitive::Reader,
    scan,
};

const CASES: u64 = 10_000;

/// Frames of a running session, of every kind.
fn good() -> Vec<Vec<u8>> {
    let whole = performative(0x14, 6, b"\x43\x43\xa0\x01a\x43\x42\x42");
    let first = performative(0x14, 6, b"\x43\x43\xa0\x01a\x43\x42\x41");
    let later = performative(0x14, 6, b"\x43\x40\x40\x40\x42\x42");
    let accepted = performative(0x24, 0, b"");
    let error = performative(0x1d, 2, b"\xa3\x01a\xa1\x01b");
    let rejected = performative(0x25, 1, &error);
    let modified = performative(0x27, 2, b"\x41\x42");
    let settled = |first: u8, last: u8, state: &[u8]| {
        let fields = [&[0x41, 0x52, first, 0x52, last, 0x41], state].concat();
        performative(0x15, 5, &fields)
    };
    [
        [&whole, &b"message"[..]].concat(),
        [&first, &b"message"[..]].concat(),
        [&later, &b"message"[..]].concat(),
        performative(0x14, 10, b"\x43\x40\x40\x40\x42\x42\x40\x40\x40\x41"),
        // Flows: of the session, of a link, one that wants an answer.
        performative(0x13, 4, b"\x43\x52\x64\x43\x52\x64"),
        performative(
            0x13,
            9,
            b"\x43\x52\x64\x43\x52\x64\x52\x01\x43\x52\x0a\x40\x42",
        ),
        performative(
            0x13,
            10,
            b"\x43\x52\x64\x43\x52\x64\x52\x01\x43\x52\x0a\x40\x41\x41",
        ),
        settled(0, 3, &accepted),
        settled(1, 1, &rejected),
        settled(0, 9, &modified),
        performative(0x11, 4, b"\x40\x43\x52\x64\x52\x64"),
        performative(0x16, 2, b"\x43\x41"),
        performative(0x17, 1, &error),
        performative(0x18, 0, b""),
        // A heartbeat.
        Vec::new(),
    ]
    .iter()
    .map(|body| frame(0, 0, body))
    .collect()
}

#[test]
fn frames_to_begin_with_are_good() {
    for frame in good() {
        assert!(
            frame.len() == 8 || scan::check(&frame[8..]).is_ok(),
            "{frame:?}"
        );
    }
}

#[test]
fn frame_headers_say_what_is_there() {
    let good = good();
    for case in 0..cases(CASES) {
        let _case = Case(case);
        let mut rng = Rng::new(case);
        let mut octets = good[rng.below(good.len())].clone();
        octets.extend_from_slice(&good[rng.below(good.len())]);
        break_octets(&mut octets, &mut rng);
        let max = 8 + rng.below(60) as u32;
        match peek(&octets, max) {
            Front::Whole(header) => {
                assert!(header.size <= octets.len() && header.size <= max as usize);
                assert!(8 <= header.body && header.body <= header.size);
            }
            Front::Partial => assert!(octets.len() < max as usize),
            Front::TooLarge | Front::Broken => assert!(octets.len() >= 4),
        }
    }
}

#[test]
fn broken_performatives_are_read_or_refused() {
    let good = good();
    let mut read = 0;
    for case in 0..cases(CASES) {
        let _case = Case(case);
        let mut rng = Rng::new(case);
        let octets = broken_frame(&good[rng.below(good.len())], &mut rng);
        let body = &octets[8..];
        if let (Ok(skipped), Ok(checked)) = (scan::skip(body), scan::check(body)) {
            assert!(skipped == checked && checked <= body.len());
        }
        // Whatever the descriptor is, the fields are tried as each of the three.
        let mut reader = Reader::new(body);
        if reader.descriptor().is_err() {
            continue;
        }
        let Ok(fields) = reader.fields() else {
            continue;
        };
        read += u64::from(Transfer::decode(fields).is_ok());
        read += u64::from(Flow::decode(fields).is_ok());
        if let Ok(disposition) = Disposition::decode(fields) {
            read += 1;
            if let Some(state) = disposition.state {
                let _ = decode_outcome(state);
            }
        }
    }
    assert!(read > cases(CASES) / 20, "{read}");
}

#[test]
fn a_running_connection_survives_broken_frames() {
    let good = good();
    for client in [false, true] {
        let mut survived = 0;
        for case in 0..cases(CASES) / 4 {
            let _case = Case(case);
            let mut rng = Rng::new(case);
            let mut victim = Victim::running(client, &mut rng);
            for _ in 0..1 + rng.below(6) {
                let next = &good[rng.below(good.len())];
                let next = match rng.below(3) {
                    0 => next.clone(),
                    _ => broken_frame(next, &mut rng),
                };
                victim.feed(&next, &mut rng);
            }
            survived += u64::from(!victim.closed);
            victim.finish(&mut rng);
        }
        assert!(survived > 0);
    }
}
