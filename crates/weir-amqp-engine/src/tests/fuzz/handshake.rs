//! Protocol headers and SASL frames.

use super::{
    victim::{Victim, sasl},
    *,
};

const CASES: u64 = 8000;

const AMQP: &[u8] = b"AMQP\x00\x01\x00\x00";
const SASL: &[u8] = b"AMQP\x03\x01\x00\x00";

/// Everything in pieces, then the end. Whether the peer got as far as a running connection.
fn play(client: bool, octets: &[u8], rng: &mut Rng) -> bool {
    let mut victim = Victim::new(client);
    let mut rest = octets;
    while !rest.is_empty() {
        let len = (1 + rng.below(20)).min(rest.len());
        victim.feed(&rest[..len], rng);
        rest = &rest[len..];
    }
    let opened = victim.opened;
    victim.finish(rng);
    opened
}

#[test]
fn broken_headers_end_the_connection() {
    for client in [false, true] {
        for case in 0..cases(CASES) {
            let _case = Case(case);
            let mut rng = Rng::new(case);
            let mut octets = [SASL, AMQP][rng.below(2)].to_vec();
            break_octets(&mut octets, &mut rng);
            let whole = octets.starts_with(SASL);
            octets.extend_from_slice(AMQP);
            let mut victim = Victim::new(client);
            victim.feed(&octets, &mut rng);
            // Only the right header leads on, and a wrong one is noticed as soon as it is wrong.
            assert!(whole || victim.closed || octets.len() < 8);
            victim.finish(&mut rng);
        }
    }
}

/// What a server and a client hear until open, frame by frame.
pub(super) fn good(client: bool) -> Vec<Vec<u8>> {
    let open = frame(0, 0, b"\x00\x53\x10\xc0\x04\x01\xa1\x01a");
    let mut init =
        b"\x00\x53\x41\xc0\x00\x03\xa3\x05PLAIN\xa0\x0c\x00user\x00secret\xa1\x01h".to_vec();
    init[4] = u8::try_from(init.len() - 5).unwrap();
    let ClientSasl::Plain { username, password } = sasl() else {
        panic!("not PLAIN")
    };
    assert_eq!((username.as_str(), password.as_str()), ("user", "secret"));
    let mut mechanisms = b"\x00\x53\x40\xc0\x00\x01\xe0\x00\x02\xa3\x05PLAIN\x08EXTERNAL".to_vec();
    mechanisms[4] = u8::try_from(mechanisms.len() - 5).unwrap();
    mechanisms[7] = u8::try_from(mechanisms.len() - 8).unwrap();
    let outcome = b"\x00\x53\x44\xc0\x03\x01\x50\x00".to_vec();
    let layer = match client {
        true => vec![frame(1, 0, &mechanisms), frame(1, 0, &outcome)],
        false => vec![frame(1, 0, &init)],
    };
    [vec![SASL.to_vec()], layer, vec![AMQP.to_vec(), open]].concat()
}

#[test]
fn broken_sasl_frames_end_the_connection_or_do_not_matter() {
    for client in [false, true] {
        let good = good(client);
        let mut rng = Rng::new(0);
        assert!(play(client, &good.concat(), &mut rng));
        let mut opened = 0;
        for case in 0..cases(CASES) {
            let _case = Case(case);
            let mut rng = Rng::new(case);
            let mut frames = good.clone();
            let at = 1 + rng.below(frames.len() - 3);
            match rng.below(8) {
                0 => frames.insert(at, good[1 + rng.below(good.len() - 1)].clone()),
                1 => drop(frames.remove(at)),
                2 => break_octets(&mut frames[at], &mut rng),
                _ => frames[at] = broken_frame(&good[at], &mut rng),
            }
            opened += u64::from(play(client, &frames.concat(), &mut rng));
        }
        assert!(opened < cases(CASES) / 2, "{opened}");
    }
}
