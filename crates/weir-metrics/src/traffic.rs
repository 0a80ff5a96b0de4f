//! What MQTT connections count: packets by type and direction, bytes, and events of clients.
//!
//! There are no labels, so that counting is one addition, to a part of memory that the threads which
//! carry messages mostly have for themselves.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use crate::RECORDS;
use crate::cell::Level;

macro_rules! counts {
    ($($variant:ident $meaning:literal;)*) => {
        /// Something that MQTT connections count.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum MqttCount {
            $(#[doc = concat!($meaning, ".")] $variant,)*
        }

        impl MqttCount {
            /// All of them, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];
        }
    };
}

counts! {
    BytesReceived "Bytes that were read";
    BytesSent "Bytes that were written";
    Connect "CONNECT packets";
    ConnackSent "CONNACK packets";
    ConnackError "CONNACK packets that refuse";
    ConnackAuthError "CONNACK packets that refuse who somebody says he is";
    PublishQos0Received "PUBLISH packets with QoS 0 from devices";
    PublishQos1Received "PUBLISH packets with QoS 1 from devices";
    PublishQos2Received "PUBLISH packets with QoS 2 from devices; they are all refused";
    PublishError "PUBLISH packets that were refused for what is wrong with them";
    PublishAuthError "PUBLISH packets that were refused because their device may not send them";
    PublishQos0Sent "PUBLISH packets with QoS 0 to devices";
    PublishQos1Sent "PUBLISH packets with QoS 1 to devices";
    PubackReceived "PUBACK packets from devices";
    PubackSent "PUBACK packets to devices";
    PubackMissed "PUBACK packets for what was not sent, or not any more";
    PubrelReceived "PUBREL packets from devices, for messages that were not sent here";
    Unasked "Other packets of QoS 2 from devices, for which nothing was sent";
    PubcompSent "PUBCOMP packets to devices";
    Subscribe "SUBSCRIBE packets";
    SubscribeError "SUBSCRIBE packets with a filter that was refused";
    SubackSent "SUBACK packets";
    FilterGranted "Filters that were granted";
    FilterRefused "Filters that were refused";
    Unsubscribe "UNSUBSCRIBE packets";
    UnsubscribeError "UNSUBSCRIBE packets with a filter that there was no subscription for";
    UnsubackSent "UNSUBACK packets";
    Ping "PINGREQ packets";
    PingrespSent "PINGRESP packets";
    Disconnect "DISCONNECT packets from devices";
    DisconnectSent "DISCONNECT packets to devices";
    Authenticated "Devices that have proved who they are";
    AuthenticationFailed "Devices that have not";
    Anonymous "Clients that were not asked who they are";
    Connected "Clients that were let in";
    EndedNormal "Connections that their client ended with DISCONNECT";
    EndedClosed "Connections that were closed without a word, or whose client read nothing";
    EndedSilent "Connections whose client was silent for too long";
    EndedViolation "Connections that ended because of a breach of the protocol";
    EndedRefused "Connections that ended because a message or a request was refused";
    EndedUnregistered "Connections whose device was no longer registered";
    EndedShutdown "Connections that ended because the gateway stops";
    SubscriptionBegun "Subscriptions that began";
    SubscriptionEnded "Subscriptions that ended";
    SubscriberBegun "Connections that got their first subscription";
    SubscriberEnded "Connections that lost their last";
}

const COUNTS: usize = MqttCount::ALL.len();
const PARTS: usize = 8;

/// The counters. Nobody who adds waits, and hardly anybody shares a cache line.
#[derive(Debug)]
pub struct MqttTraffic {
    parts: [Part; PARTS],
    /// What begins and ends, which is rare.
    pub(crate) subscriptions: Level,
    pub(crate) subscribers: Level,
}

#[derive(Debug)]
#[repr(align(128))]
struct Part([AtomicU64; COUNTS]);

thread_local! {
    static PART: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The part that this thread adds to.
fn part() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    PART.with(|part| {
        part.get().unwrap_or_else(|| {
            let own = NEXT.fetch_add(1, Relaxed) % PARTS;
            part.set(Some(own));
            own
        })
    })
}

impl MqttTraffic {
    pub(crate) fn new() -> Self {
        Self {
            parts: [const { Part([const { AtomicU64::new(0) }; COUNTS]) }; PARTS],
            subscriptions: Level::default(),
            subscribers: Level::default(),
        }
    }

    /// Counts one.
    pub fn count(&self, what: MqttCount) {
        self.add(what, 1);
    }

    /// Counts so many at once.
    pub fn add(&self, what: MqttCount, number: u64) {
        if !RECORDS {
            return;
        }
        self.parts[part()].0[what as usize].fetch_add(number, Relaxed);
        let number = number.cast_signed();
        match what {
            MqttCount::SubscriptionBegun => self.subscriptions.change(number),
            MqttCount::SubscriptionEnded => self.subscriptions.change(-number),
            MqttCount::SubscriberBegun => self.subscribers.change(number),
            MqttCount::SubscriberEnded => self.subscribers.change(-number),
            _ => {}
        }
    }

    pub(crate) fn read(&self) -> [u64; COUNTS] {
        let mut sums = [0; COUNTS];
        for part in &self.parts {
            for (sum, count) in sums.iter_mut().zip(&part.0) {
                *sum += count.load(Relaxed);
            }
        }
        sums
    }
}

/// What has been counted until some moment.
#[derive(Clone, Debug)]
pub struct MqttCounts(pub(crate) [u64; COUNTS]);

impl MqttCounts {
    /// How many there were of this.
    pub fn of(&self, what: MqttCount) -> u64 {
        self.0[what as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_threads_add_is_counted() {
        let traffic = MqttTraffic::new();
        std::thread::scope(|scope| {
            for _ in 0..PARTS * 2 {
                scope.spawn(|| {
                    traffic.count(MqttCount::Ping);
                    traffic.add(MqttCount::BytesSent, 10);
                });
            }
        });
        let counts = MqttCounts(traffic.read());
        assert_eq!(counts.of(MqttCount::Ping), 16);
        assert_eq!(counts.of(MqttCount::BytesSent), 160);
        assert_eq!(counts.of(MqttCount::BytesReceived), 0);
    }
}
