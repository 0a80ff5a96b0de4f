//! The codec by itself, without sockets: what it takes and refuses of broken conversations, and that it makes
//! no difference in how many pieces they come.
//!
//! A case is always the same one. `just fuzz` runs a million of each; `WEIR_FUZZ_CASES` says how many.

use std::num::NonZeroU16;

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use rmqtt_codec::types::{Publish, QoS};

use super::{Random, mutate, packets};
use crate::address::{self, Address};
use crate::codec::{BadConnect, Codec, Connect, Limits, Message, Packet, connect};
use crate::credentials::Login;
use crate::tests::client::{field, packet};

const CASES: u64 = 10_000;
/// Largest remaining lengths, as the default configuration has them.
const CONNECT_LIMIT: usize = 2048 + 128;
const PACKET_LIMIT: usize = 2048 + 128;
/// What the decoder may set aside beyond twice what has come.
const SPARE: usize = 64;

fn cases() -> u64 {
    let cases = std::env::var("WEIR_FUZZ_CASES").ok();
    cases.map_or(CASES, |cases| cases.parse().unwrap())
}

/// Says which case a test was in when it fails.
struct Case(u64);

impl Drop for Case {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in case {}", self.0);
        }
    }
}

/// What became of a conversation, as far as the codec is asked.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    /// CONNECT, if there was one, then every packet; with what their `Debug` hides.
    steps: Vec<(String, Bytes)>,
    /// Why it ended.
    violation: Option<String>,
    /// What a refused CONNECT is answered with.
    refusal: BytesMut,
    /// What is left of one that did not end.
    rest: Bytes,
}

/// Feeds the codec as a connection does: what comes is put behind what is there.
struct Peer {
    inbox: BytesMut,
    codec: Option<Codec>,
    fed: usize,
    heard: Heard,
}

impl Peer {
    fn hear(conversation: &[u8], mut pieces: impl FnMut() -> usize) -> Heard {
        let mut peer = Self {
            inbox: BytesMut::new(),
            codec: None,
            fed: 0,
            heard: Heard::default(),
        };
        let mut rest = conversation;
        while !rest.is_empty() && peer.heard.violation.is_none() {
            let (piece, later) = rest.split_at(pieces().clamp(1, rest.len()));
            peer.inbox.extend_from_slice(piece);
            peer.fed += piece.len();
            rest = later;
            while peer.step() {}
        }
        if peer.heard.violation.is_none() {
            peer.heard.rest = peer.inbox.freeze();
        }
        peer.heard
    }

    /// Takes one packet, if there is one.
    fn step(&mut self) -> bool {
        let (before, whole) = (self.inbox.clone(), whole(&self.inbox));
        let taken = match &mut self.codec {
            None => self.connect(),
            Some(codec) => match codec.decode(&mut self.inbox) {
                Ok(None) => false,
                Ok(Some(packet)) => {
                    check(codec, &packet);
                    let payload = match &packet {
                        Packet::Publish(publish) => publish.payload.clone(),
                        _ => Bytes::new(),
                    };
                    self.heard.steps.push((format!("{packet:?}"), payload));
                    true
                }
                Err(violation) => {
                    self.heard.violation = Some(format!("{violation:?}"));
                    return false;
                }
            },
        };
        if self.heard.violation.is_none() {
            // It takes exactly a packet, and nothing before all of it is there.
            assert_eq!(taken, whole.is_some());
            let length = whole.unwrap_or_default();
            assert_eq!(self.inbox, before[length..]);
        }
        // An announced length sets nothing aside.
        assert!(self.inbox.capacity() <= 2 * self.fed + SPARE);
        taken
    }

    fn connect(&mut self) -> bool {
        match connect(&mut self.inbox, CONNECT_LIMIT, PACKET_LIMIT) {
            Ok(None) => false,
            Ok(Some((mut codec, connect))) => {
                check_connect(&mut codec, &connect);
                let password = connect.password.clone().unwrap_or_default();
                self.heard.steps.push((format!("{connect:?}"), password));
                self.codec = Some(codec);
                true
            }
            Err(BadConnect::Silent(text)) => {
                self.heard.violation = Some(text.to_owned());
                false
            }
            Err(BadConnect::Told(mut codec, code, text)) => {
                codec.refuse(code, text, &mut self.heard.refusal);
                assert_eq!(self.heard.refusal.first(), Some(&0x20));
                self.heard.violation = Some(format!("{code:?} {text}"));
                false
            }
        }
    }
}

/// How long the first packet is, if it is there in full (MQTT 3.1.1 §2.2.3).
fn whole(inbox: &[u8]) -> Option<usize> {
    let digits = inbox.get(1..)?;
    let count = 1 + digits.iter().take(4).position(|digit| digit & 0x80 == 0)?;
    let value = |sum, digit: &u8| sum * 128 + usize::from(digit & 0x7f);
    let body = digits[..count].iter().rev().fold(0, value);
    let length = 1 + count + body;
    (length <= inbox.len()).then_some(length)
}

fn is_string(text: &str) -> bool {
    !text.contains('\0')
}

fn is_topic(topic: &str) -> bool {
    is_string(topic) && !topic.is_empty() && !topic.contains(['+', '#'])
}

/// What holds of every CONNECT that is looked at further.
fn check_connect(codec: &mut Codec, connect: &Connect) {
    assert!(is_string(&connect.client_id));
    let username = connect.username.as_deref();
    assert!(username.is_none_or(is_string));
    // Whatever it presents can be looked at.
    let is_complete = username.is_some() && connect.password.is_some();
    assert_eq!(Login::of(connect).is_ok(), is_complete);
    let limits = Limits {
        receive_maximum: NonZeroU16::MIN,
        assigned_client_id: None,
        keep_alive: None,
    };
    let mut out = BytesMut::new();
    // Unless the client takes only less than the answer has.
    if codec.accept(limits, &mut out) {
        assert_eq!((out[0], whole(&out)), (0x20, Some(out.len())));
    }
}

/// What holds of every packet that is accepted.
fn check(codec: &mut Codec, packet: &Packet) {
    match packet {
        Packet::Publish(publish) => {
            check_publish(publish);
            check_address(&publish.topic);
            write_again(codec, publish);
        }
        Packet::Subscribe(_, filters) => {
            assert!(!filters.is_empty());
            assert!(filters.iter().all(|(filter, _)| is_string(filter)));
        }
        Packet::Unsubscribe(_, filters) => {
            assert!(!filters.is_empty());
            assert!(filters.iter().all(|filter| is_string(filter)));
        }
        Packet::PublishAck(..)
        | Packet::PublishRelease(_)
        | Packet::Unasked
        | Packet::Ping
        | Packet::Disconnect => {}
    }
}

fn check_publish(publish: &Publish) {
    assert!(is_topic(&publish.topic));
    // A topic that was given a number may have come before.
    assert!(publish.topic.len().max(publish.payload.len()) <= PACKET_LIMIT);
    let is_once = publish.qos == QoS::AtMostOnce;
    assert_eq!(publish.packet_id.is_none(), is_once);
    assert!(!(is_once && publish.dup));
    let Some(properties) = &publish.properties else {
        return;
    };
    let alias = properties.topic_alias;
    assert!(alias.is_none_or(|alias| alias.get() <= 16));
    assert!(properties.subscription_ids.is_empty());
    assert!(properties.response_topic.as_deref().is_none_or(is_topic));
    assert!(properties.content_type.as_deref().is_none_or(is_string));
    let mut user = properties.user_properties.iter();
    assert!(user.all(|(name, value)| is_string(name) && is_string(value)));
}

/// What a topic names is a segment of it, and no escape brings in what the topic may not have.
fn check_address(topic: &ByteString) {
    let _ = address::response(topic, None);
    let Ok(address) = Address::parse(topic) else {
        return;
    };
    for name in [&address.target.tenant, &address.target.device] {
        let is_segment = |name: &str| topic.split('/').any(|segment| segment == name);
        let name = name.as_deref();
        assert!(name.is_none_or(|name| !name.is_empty() && is_segment(name)));
    }
    let told = address.bag.content_type.as_deref().into_iter();
    let traced = address.bag.trace.iter();
    let states = traced.filter_map(weir_core::TraceContext::tracestate);
    assert!(told.chain(states).all(is_string));
}

/// A message as it was read can be written, and read as the same.
fn write_again(codec: &mut Codec, publish: &Publish) {
    let (topic, payload) = (&publish.topic, &publish.payload);
    let packet_id = publish.packet_id;
    let mut out = BytesMut::new();
    let message = Message {
        topic,
        payload,
        ..Message::default()
    };
    if !codec.publish(message, packet_id, &mut out) {
        return;
    }
    let Ok(Some(Packet::Publish(again))) = codec.decode(&mut out) else {
        panic!("{publish:?} is not read again");
    };
    assert!(out.is_empty());
    assert_eq!((&again.topic, &again.payload), (topic, payload));
    assert_eq!(again.packet_id, packet_id);
}

/// Hears a conversation in one piece, byte by byte and in some other way; all have to be the same.
fn hear(conversation: &[u8], random: &mut Random) -> Heard {
    let whole = Peer::hear(conversation, || conversation.len());
    let cut = 2 + random.below(40);
    for pieces in [1, cut] {
        let mut random = Random(random.next());
        let length = || 1 + random.below(pieces);
        let heard = Peer::hear(conversation, length);
        assert_eq!(heard, whole, "{conversation:02x?}");
    }
    whole
}

/// Properties that a CONNECT and a will may have, each by itself (MQTT 5 §3.1.2.11, §3.1.3.2).
const OF_CONNECT: [&[u8]; 9] = [
    &[0x11, 0, 0, 0, 1],
    &[0x15, 0, 1, b'm'],
    &[0x16, 0, 1, b'd'],
    &[0x17, 1],
    &[0x19, 0],
    &[0x21, 0, 9],
    &[0x22, 0, 0],
    &[0x26, 0, 1, b'a', 0, 1, b'b'],
    &[0x27, 0, 0, 1, 0],
];
const OF_WILL: [&[u8]; 7] = [
    &[0x01, 1],
    &[0x02, 0, 0, 0, 9],
    &[0x03, 0, 1, b'x'],
    &[0x08, 0, 1, b't'],
    &[0x09, 0, 1, 7],
    &[0x18, 0, 0, 0, 1],
    &[0x26, 0, 1, b'a', 0, 1, b'b'],
];

/// Some of them, with their length in front.
fn properties(all: &[&[u8]], random: &mut Random) -> Vec<u8> {
    let some: Vec<&[u8]> = all
        .iter()
        .filter(|_| random.below(4) == 0)
        .copied()
        .collect();
    let some = some.concat();
    [&[u8::try_from(some.len()).unwrap()], &some[..]].concat()
}

/// A CONNECT that is right, with and without everything that one may have.
fn good_connect(level: u8, random: &mut Random) -> Vec<u8> {
    let (will, username, password) = (
        random.below(3) == 0,
        random.below(4) > 0,
        random.below(4) > 0,
    );
    // A password needs a user name in version 3.1.1 [MQTT-3.1.2-22].
    let password = password && (username || level == 5);
    let will_flags = if will { 0x2c } else { 0 };
    let flags = 2 | will_flags | u8::from(username) << 7 | u8::from(password) << 6;
    let name = if level == 3 { "MQIsdp" } else { "MQTT" };
    let mut body = [&field(name)[..], &[level, flags, 0, 60]].concat();
    if level == 5 {
        body.extend(properties(&OF_CONNECT, random));
    }
    body.extend(field(["client", "tenants/acme/devices/s"][random.below(2)]));
    if will {
        if level == 5 {
            body.extend(properties(&OF_WILL, random));
        }
        body.extend([field("last"), field("word")].concat());
    }
    if username {
        body.extend(field("sensor1@acme"));
    }
    if password {
        // The head of a token: `{"alg":"ES256","typ":"JWT"}`.
        let token = "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9.e30.AA";
        body.extend(field(["secret", token][random.below(2)]));
    }
    packet(0x10, &body)
}

/// Breaks a packet behind its head and gives it the right length, so that it gets past the head.
fn break_body(whole: &[u8], random: &mut Random) -> Vec<u8> {
    let head = 1
        + whole[1..]
            .iter()
            .take_while(|digit| **digit & 0x80 != 0)
            .count()
        + 1;
    let mut body = whole[head..].to_vec();
    mutate(&mut body, random);
    packet(whole[0], &body)
}

fn version(random: &mut Random) -> u8 {
    [3, 4, 5, 5][random.below(4)]
}

#[test]
fn a_broken_connect_is_read_or_refused_however_it_comes() {
    let (mut read, mut refused, mut told) = (0, 0, 0);
    for case in 0..cases() {
        let _case = Case(case);
        let mut random = Random(case);
        let level = version(&mut random);
        let good = good_connect(level, &mut random);
        let mut conversation = match random.below(3) {
            0 => good.clone(),
            _ => break_body(&good, &mut random),
        };
        conversation.extend(packet(0xc0, b""));
        if random.below(3) == 0 {
            mutate(&mut conversation, &mut random);
        }
        let heard = hear(&conversation, &mut random);
        read += u64::from(!heard.steps.is_empty());
        refused += u64::from(heard.violation.is_some());
        told += u64::from(!heard.refusal.is_empty());
    }
    let few = cases() / 20;
    assert!(read.min(refused).min(told) > few, "{read} {refused} {told}");
}

#[test]
fn broken_packets_are_read_or_refused_however_they_come() {
    let (mut read, mut refused) = (0, 0);
    let good = [3, 4, 5].map(packets);
    for case in 0..cases() {
        let _case = Case(case);
        let mut random = Random(case);
        let level = version(&mut random);
        let good = &good[usize::from(level) - 3];
        let mut session = Vec::new();
        for _ in 0..1 + random.below(5) {
            let next = &good[random.below(good.len())];
            match random.below(3) {
                0 => session.extend_from_slice(next),
                _ => session.extend(break_body(next, &mut random)),
            }
        }
        if random.below(3) == 0 {
            mutate(&mut session, &mut random);
        }
        let connect = crate::tests::client::Connect {
            version: level.max(4),
            ..crate::tests::client::Connect::default()
        };
        let conversation = [connect.bytes(), session].concat();
        let heard = hear(&conversation, &mut random);
        read += heard.steps.len() as u64 - 1;
        refused += u64::from(heard.violation.is_some());
    }
    assert!(read.min(refused) > cases() / 4, "{read} {refused}");
}

#[test]
fn the_conversations_to_begin_with_are_good() {
    let mut random = Random(0);
    for level in [3, 4, 5] {
        for _ in 0..200 {
            let good = good_connect(level, &mut random);
            let heard = Peer::hear(&good, || good.len());
            // Enhanced authentication is the one thing that is right and not supported.
            let known = heard.violation.is_none() || !heard.refusal.is_empty();
            assert!(known, "{heard:?}");
        }
        let connect = crate::tests::client::Connect {
            version: level.max(4),
            ..crate::tests::client::Connect::default()
        };
        // But for AUTH, which is never right.
        for packet in packets(level).iter().filter(|packet| packet[0] != 0xf0) {
            let conversation = [&connect.bytes()[..], packet].concat();
            let heard = Peer::hear(&conversation, || conversation.len());
            assert_eq!(heard.steps.len(), 2, "{heard:?} {conversation:02x?}");
        }
    }
}
