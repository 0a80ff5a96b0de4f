//! What each of AWS IoT's message broker metrics is here.

use weir_metrics::{MqttCount as M, MqttCounts};

use super::Protocol;

/// One of AWS IoT's names.
pub(super) struct Row {
    pub(super) name: &'static str,
    mqtt: Source,
    /// Of what HTTP does not have there is no metric.
    http: Option<Source>,
    /// What is counted; where nothing is, why.
    pub(super) meaning: &'static str,
}

#[derive(Clone, Copy)]
pub(super) enum Source {
    Of(fn(&Counted<'_>) -> u64),
    /// There is no such thing here, or it is not told apart.
    Zero,
}

/// What the metrics of one protocol are made of.
pub(super) struct Counted<'a> {
    /// Those of MQTT.
    pub(super) packets: &'a MqttCounts,
    /// Messages that came and went by the protocol.
    pub(super) sums: Sums,
}

/// Messages of all tenants.
#[derive(Debug, Default)]
pub(super) struct Sums {
    /// From devices: the back end took them.
    pub(super) forwarded: u64,
    /// It did not, or could not be asked.
    pub(super) undeliverable: u64,
    /// They were refused.
    pub(super) unprocessable: u64,
    /// Commands that devices took.
    pub(super) commands: u64,
    /// Commands that were refused.
    pub(super) refused_commands: u64,
}

impl Source {
    pub(super) fn value(self, counted: &Counted<'_>) -> u64 {
        match self {
            Self::Of(value) => value(counted),
            Self::Zero => 0,
        }
    }
}

impl Row {
    /// Where the number comes from, if there is such a metric of this protocol.
    pub(super) fn source(&self, protocol: Protocol) -> Option<Source> {
        match protocol {
            Protocol::Mqtt => Some(self.mqtt),
            Protocol::Http => self.http,
        }
    }
}

impl Counted<'_> {
    /// How many of `all` are not among `these`. The two are not read at the same moment.
    fn without(&self, all: M, these: M) -> u64 {
        self.packets.of(all).saturating_sub(self.packets.of(these))
    }
}

type Of = fn(&Counted<'_>) -> u64;

const fn row(name: &'static str, mqtt: Source, http: Option<Source>, meaning: &'static str) -> Row {
    Row {
        name,
        mqtt,
        http,
        meaning,
    }
}

const fn mqtt(name: &'static str, of: Of, meaning: &'static str) -> Row {
    row(name, Source::Of(of), None, meaning)
}

const fn mqtt_never(name: &'static str, why: &'static str) -> Row {
    row(name, Source::Zero, None, why)
}

const fn both(name: &'static str, of: Of, meaning: &'static str) -> Row {
    row(name, Source::Of(of), Some(Source::Of(of)), meaning)
}

const fn never(name: &'static str, why: &'static str) -> Row {
    row(name, Source::Zero, Some(Source::Zero), why)
}

const CONNECT_NOT_SPLIT: &str = "Contained in `Connect.ClientError`, which is not split";

/// All 24, in AWS IoT's order.
pub(super) const ROWS: [Row; 24] = [
    mqtt(
        "Connect.AuthError",
        |it| it.packets.of(M::ConnackAuthError),
        "CONNACK packets with reason code 0x86 or 0x87, or what version 3.1.1 has for these",
    ),
    mqtt(
        "Connect.ClientError",
        |it| it.without(M::ConnackError, M::ConnackAuthError),
        "CONNACK packets that refuse for any other reason: a packet that is wrong, a limit that is reached, a service that is not there",
    ),
    mqtt_never(
        "Connect.ClientIDThrottle",
        "There is no limit by client id: two clients with one do not disturb each other",
    ),
    mqtt_never("Connect.ServerError", CONNECT_NOT_SPLIT),
    mqtt(
        "Connect.Success",
        |it| it.packets.of(M::Connected),
        "Clients that were let in",
    ),
    mqtt_never("Connect.Throttle", CONNECT_NOT_SPLIT),
    mqtt(
        "Ping.Success",
        |it| it.packets.of(M::Ping),
        "PINGREQ packets",
    ),
    row(
        "PublishIn.AuthError",
        Source::Of(|it| it.packets.of(M::PublishAuthError)),
        Some(Source::Zero),
        "PUBLISH packets that were refused because their device may not send them; over HTTP contained in `PublishIn.ClientError`, as far as it was known whose message it is",
    ),
    row(
        "PublishIn.ClientError",
        Source::Of(|it| it.packets.of(M::PublishError)),
        Some(Source::Of(|it| it.sums.unprocessable)),
        "Messages that were refused because something is wrong with them, or a limit is reached (Hono's `unprocessable`)",
    ),
    both(
        "PublishIn.ServerError",
        |it| it.sums.undeliverable,
        "Messages that the back end did not take: no consumer, or it did not want them (Hono's `undeliverable`)",
    ),
    both(
        "PublishIn.Success",
        |it| it.sums.forwarded,
        "Messages that the back end took, responses to commands among them (Hono's `forwarded`)",
    ),
    never(
        "PublishIn.Throttle",
        "Contained in `PublishIn.ClientError`, which is not split",
    ),
    never(
        "PublishOut.AuthError",
        "An application that may not command a device has no link to do so",
    ),
    both(
        "PublishOut.ClientError",
        |it| it.sums.refused_commands,
        "Commands that were refused because something is wrong with them (Hono's `unprocessable`)",
    ),
    both(
        "PublishOut.Success",
        |it| it.sums.commands,
        "Commands that devices took (Hono's `forwarded`)",
    ),
    mqtt_never(
        "Subscribe.AuthError",
        "Contained in `Subscribe.ClientError`, which is not split",
    ),
    mqtt(
        "Subscribe.ClientError",
        |it| it.packets.of(M::SubscribeError),
        "SUBSCRIBE packets with a filter that was refused",
    ),
    mqtt_never(
        "Subscribe.ServerError",
        "Contained in `Subscribe.ClientError`, which is not split",
    ),
    mqtt(
        "Subscribe.Success",
        |it| it.without(M::SubackSent, M::SubscribeError),
        "SUBSCRIBE packets of which all filters were granted",
    ),
    mqtt_never("Subscribe.Throttle", NO_RATE),
    mqtt(
        "Unsubscribe.ClientError",
        |it| it.packets.of(M::UnsubscribeError),
        "UNSUBSCRIBE packets with a filter that there was no subscription for",
    ),
    mqtt_never(
        "Unsubscribe.ServerError",
        "Nothing that can fail is asked for the end of a subscription",
    ),
    mqtt(
        "Unsubscribe.Success",
        |it| it.without(M::UnsubackSent, M::UnsubscribeError),
        "UNSUBSCRIBE packets of which all subscriptions ended",
    ),
    mqtt_never("Unsubscribe.Throttle", NO_RATE),
];

const NO_RATE: &str = "Such requests have no rate that is limited";
