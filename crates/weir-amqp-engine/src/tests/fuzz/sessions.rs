//! Whole sessions, recorded and then broken.

use super::{
    victim::{Victim, limits, sasl},
    *,
};
use crate::codec::frame::{self, Front};

const CASES: u64 = 8000;

/// A session with something of everything. Returns what client and server heard.
pub(in crate::tests) fn record() -> (Vec<u8>, Vec<u8>) {
    let mut pair = Pair::new(limits(), sasl(), limits());
    pair.drive();
    let session = pair.begin();
    let (receiver, sender) = pair.telemetry(session, "t", 20);
    let (commander, commanded) = pair.commands(session, "c");
    let outcomes = [
        Outcome::Accepted,
        Outcome::Rejected {
            condition: Some("amqp:not-found".to_owned()),
            description: Some("no".to_owned()),
        },
        Outcome::Modified {
            delivery_failed: true,
            undeliverable_here: true,
        },
        Outcome::Released,
    ];
    for token in 0..8 {
        let len = if token == 5 { 3000 } else { 30 };
        send(&mut pair.server, pair.now, sender, token, &vec![7; len]).unwrap();
        send(&mut pair.client, pair.now, commander, token, &vec![8; len]).unwrap();
        pair.drive();
    }
    for (index, (link, delivery, _)) in pair.client.messages().into_iter().enumerate() {
        pair.client
            .conn
            .settle(link, delivery, &outcomes[index % 4]);
    }
    for (index, (link, delivery, _)) in pair.server.messages().into_iter().enumerate() {
        pair.server
            .conn
            .settle(link, delivery, &outcomes[index % 4]);
    }
    pair.drive();
    pair.client.conn.drain(receiver);
    pair.server.conn.grant_credit(commanded, 20);
    pair.drive();
    pair.server.conn.drained(sender);
    pair.drive();
    pair.client.conn.grant_credit(receiver, 10);
    pair.pass(Duration::from_secs(6));
    pair.client.conn.detach(receiver, None);
    pair.drive();
    pair.client.conn.end(session, None);
    pair.drive();
    pair.client.conn.close(pair.now, None);
    pair.drive();
    assert!(pair.client.conn.is_closed() && pair.server.conn.is_closed());
    (pair.client.heard, pair.server.heard)
}

/// Where headers and frames start.
fn starts(heard: &[u8]) -> Vec<usize> {
    let mut starts = vec![];
    let mut at = 0;
    while at < heard.len() {
        starts.push(at);
        at += match frame::peek(&heard[at..], u32::MAX) {
            _ if heard[at..].starts_with(b"AMQP") => 8,
            Front::Whole(header) => header.size,
            front => panic!("recorded {front:?}"),
        };
    }
    starts
}

fn mutate(heard: &[u8], starts: &[usize], rng: &mut Rng) -> Vec<u8> {
    let mut frames: Vec<Vec<u8>> = (0..starts.len())
        .map(|i| heard[starts[i]..starts.get(i + 1).copied().unwrap_or(heard.len())].to_vec())
        .collect();
    // Half of the cases leave a beginning as it was, or few would get past SASL.
    let floor = if rng.below(2) == 0 {
        0
    } else {
        rng.below(frames.len())
    };
    for _ in 0..1 + rng.below(4) {
        let at = floor.min(frames.len() - 1);
        let at = at + rng.below(frames.len() - at);
        let other = rng.below(frames.len());
        match rng.below(10) {
            0 => frames.swap(at, other),
            1 => frames.insert(at, frames[other].clone()),
            2 if frames.len() > 1 => drop(frames.remove(at)),
            3 => {
                let cut = rng.below(frames[at].len());
                frames[at].truncate(cut.max(1));
            }
            // Cut inside, with a size that is right again.
            4 if frames[at].len() > 12 => {
                let cut = 8 + rng.below(frames[at].len() - 8);
                frames[at].truncate(cut);
                let size = u32::try_from(cut).unwrap().to_be_bytes();
                frames[at][..4].copy_from_slice(&size);
            }
            5 => {
                let byte = rng.below(frames[at].len());
                let values = [
                    0, 0x40, 0x41, 0x43, 0x45, 0x7f, 0x80, 0xc0, 0xd0, 0xf0, 0xff,
                ];
                frames[at][byte] = values[rng.below(values.len())];
            }
            _ => {
                let byte = rng.below(frames[at].len());
                frames[at][byte] ^= 1 << rng.below(8);
            }
        }
    }
    frames.concat()
}

fn attack(client: bool, seed: u64) -> usize {
    let (client_heard, server_heard) = record();
    let heard = if client { client_heard } else { server_heard };
    let starts = starts(&heard);
    let mut sent = 0;
    for case in 0..cases(CASES) {
        let _case = Case(case);
        let mut rng = Rng::new(seed + case);
        let broken = mutate(&heard, &starts, &mut rng);
        let mut victim = Victim::new(client);
        let mut rest = &broken[..];
        // A client's owner must have begun its session before the recorded answer comes.
        let size = [2, 20, 200, if client { 200 } else { 100_000 }][rng.below(4)];
        while !rest.is_empty() {
            let len = (1 + rng.below(size)).min(rest.len());
            victim.feed(&rest[..len], &mut rng);
            rest = &rest[len..];
        }
        victim.finish(&mut rng);
        sent += victim.next_token as usize;
    }
    sent
}

#[test]
fn a_server_survives_broken_sessions() {
    assert!(attack(false, 1) as u64 > cases(CASES));
}

#[test]
fn a_client_survives_broken_sessions() {
    attack(true, 1_000_000);
}
