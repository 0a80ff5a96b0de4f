//! The metrics facade: every series Weir exposes, named once, typed, resolved before the hot path.
//!
//! * [`Name`] is the closed list of metric families: exposed name, help text, kind, labels and view in
//!   one table. A series that is not in it cannot be recorded; `docs/metrics.md` is written from it.
//! * [`Metrics`] owns the series. It is cloned freely; clones share them.
//! * [`TenantMeters`] are the handles of one tenant at one component ([`Component`]). They are
//!   resolved once per connection; recording through them looks no label up and takes no lock.
//!   `tenants.rs` bounds how many there are.
//! * A [`Source`] has figures that nobody records, such as the length of a queue, and is asked for
//!   them at each scrape.
//! * [`MqttTraffic`] counts what MQTT connections read and write, without labels.
//! * A [`Tally`] is what all of these have counted, as plain numbers: dialects of other systems are
//!   made of it, and of [`Figures`].
//! * A [`Snapshot`] is what one [`View`] shows at one moment. It is written as a page in a [`Format`];
//!   `snapshot.rs` walks from family to family, `page.rs` knows the formats.
//!
//! Label values are closed enums ([`Status`], [`MessageType`], [`Qos`], [`Ttd`],
//! [`AttemptOutcome`]) except for the tenant. Device ids, client ids and topics never become labels.
//!
//! The crate reads no clock: whoever records passes the time in.

#![forbid(unsafe_code)]

mod cell;
mod format;
mod histogram;
mod label;
mod meters;
mod name;
mod page;
mod snapshot;
mod source;
mod store;
mod tally;
mod tenants;
mod traffic;
mod window;

use std::time::{Instant, UNIX_EPOCH};

/// Whether anything is recorded. With the feature `no-op`, which is there to measure what recording costs
/// and for nothing else, everything is 0 for ever.
const RECORDS: bool = cfg!(not(feature = "no-op"));

pub use cell::{Counter, Gauge};
pub use format::Format;
pub use histogram::TraceId;
pub use label::{
    AmqpType, AttemptOutcome, AuthenticationOutcome, ClientType, Component, ComponentType,
    DeliveryOutcome, Direction, MessageType, Qos, Status, Ttd, cipher_suite,
};
pub use meters::{ConnectedMeter, LatencyMeter, TenantMeters, UploadMeter};
pub use name::{Kind, Name, Scope, Unit};
pub use snapshot::{Snapshot, View};
pub use source::{Figures, Source};
pub use store::{Metrics, Options};
pub use tally::{Messages, Most, Row, Tally};
pub use traffic::{MqttCount, MqttCounts, MqttTraffic};

/// Writes all series of all views in the Prometheus text format 0.0.4.
pub fn render(metrics: &Metrics, now: Instant) -> String {
    let [mut text, native] = [View::Hono, View::Native].map(|view| {
        // Examples have times, and this format has no examples.
        metrics.snapshot(view, now).write(Format::Text, UNIX_EPOCH)
    });
    text.push_str(&native);
    text
}
