//! What arrives is broken: nothing panics, nothing hangs, memory stays bounded and every token comes back exactly once.
//!
//! One entry per thing a peer sends: headers, frames, SASL, attach, message sections, whole sessions. Each begins with
//! something good and breaks it at random, always the same way for the same number of cases;
//! `WEIR_FUZZ_CASES=1000000 cargo test --release -p weir-amqp-engine fuzz` goes further than the usual run.

mod attach;
mod frames;
mod handshake;
mod message;
mod sessions;
mod victim;

use super::*;
pub(super) use sessions::record;

/// Octets that mean something to the codec: constructors, counts and lengths.
const TELLING: [u8; 16] = [
    0, 1, 0x24, 0x40, 0x41, 0x43, 0x45, 0x53, 0x7f, 0x80, 0xa1, 0xc0, 0xd0, 0xe0, 0xf0, 0xff,
];

/// Breaks octets here and there.
fn break_octets(octets: &mut Vec<u8>, rng: &mut Rng) {
    for _ in 0..1 + rng.below(4) {
        if octets.is_empty() {
            return octets.push(rng.next() as u8);
        }
        let at = rng.below(octets.len());
        match rng.below(8) {
            0 => octets[at] = rng.next() as u8,
            1 | 2 => octets[at] = TELLING[rng.below(TELLING.len())],
            3 => octets.truncate(at),
            4 => octets.insert(at, TELLING[rng.below(TELLING.len())]),
            5 => drop(octets.remove(at)),
            6 => {
                let other = rng.below(octets.len());
                let len = rng.below(octets.len() - other.max(at));
                octets.copy_within(other..other + len, at);
            }
            _ => octets[at] ^= 1 << rng.below(8),
        }
    }
}

/// A frame around a body; its size is right.
fn frame(kind: u8, channel: u8, body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(body.len() + 8).unwrap().to_be_bytes();
    [&size[..], &[2, kind, 0, channel], body].concat()
}

/// A described list: its fields as they are, and how many there are.
fn performative(code: u8, count: u8, fields: &[u8]) -> Vec<u8> {
    let size = u8::try_from(fields.len() + 1).unwrap();
    [&[0, 0x53, code, 0xc0, size, count], fields].concat()
}

/// A body of a good frame whose performative is broken, framed rightly: so that it gets past the frame's header.
fn broken_frame(good: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut body = good[8..].to_vec();
    break_octets(&mut body, rng);
    frame(good[5], good[7], &body)
}
