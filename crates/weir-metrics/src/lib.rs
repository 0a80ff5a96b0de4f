//! The metrics facade: every series Weir exposes, named once, typed, resolved before the hot path.
//!
//! * [`Name`] is the closed list of metric families: exposed name, help text, kind, unit and label
//!   names in one table. A series that is not in it cannot be recorded.
//! * [`Metrics`] owns the series. It is cloned freely; clones share them.
//! * [`TenantMeters`] are the handles of one tenant at one component ([`Component`]). They are
//!   resolved once per connection; recording through them looks no label up and takes no lock.
//! * [`render`] writes what has been recorded in the Prometheus text format 0.0.4.
//!
//! Label values are closed enums ([`Status`], [`MessageType`], [`Qos`], [`Ttd`],
//! [`AttemptOutcome`]) except for the tenant. Device ids, client ids and topics never become labels.
//!
//! The crate reads no clock: whoever records passes the time in.

#![forbid(unsafe_code)]

mod cell;
mod label;
mod meters;
mod name;
mod store;
mod text;

pub use cell::{Counter, Gauge, Summary};
pub use label::{
    AttemptOutcome, Component, ComponentType, Direction, MessageType, Qos, Status, Ttd,
};
pub use meters::{ConnectedMeter, TenantMeters, UploadMeter};
pub use name::{Kind, Name};
pub use store::Metrics;
pub use text::render;
