//! What every protocol and every back end share: identity, the uplink pipeline, the traits between
//! them. No sockets, no storage.
//!
//! A device's message is one value that moves through typed states, so that a step left out does
//! not compile:
//!
//! ```text
//! Received ──authenticate──▶ Authenticated ──admit──▶ Admitted ──publish──▶ Published ──await──▶ Outcome
//! ```
//!
//! * [`Pipeline`] is what an adapter holds: it authenticates ([`Pipeline::authenticate`]) and opens
//!   a [`Session`] for a connection or a request, which holds what is resolved once.
//!   [`Anonymous`] is a connection that was not asked who it is.
//! * [`uplink`] has the states. An adapter parses its protocol into a [`Received`] and turns an
//!   [`Outcome`] into its protocol's answer; everything between is here, once for all protocols.
//! * [`command`] has the way back: what applications send to devices, and who takes it there.
//! * [`Reason`] is the closed list of why a message or a connection is refused.
//! * [`Registry`] (tenants, devices, credentials) and [`Northbound`] (where messages go) are the
//!   traits that other crates implement. Core depends on neither.
//! * [`Tracer`] decides what is told of to whoever collects traces; a trace travels as a [`TraceContext`].
//! * [`Usage`] counts what tenants use, and refuses what is more than their limits allow.
//! * [`PasswordVerifier`] and [`Accounts`] check secrets, off the async threads and remembered
//!   briefly; [`ConnectionBudget`] bounds what a process holds open.
//!
//! What this crate refuses to do: open a socket, know a protocol's wire format, or let a message end
//! without an outcome.

#![forbid(unsafe_code)]

mod account;
mod anonymous;
mod authentication;
mod budget;
mod cached;
mod change;
pub mod command;
mod connection_events;
mod connections;
mod credentials;
mod device;
mod id;
mod log_limit;
mod northbound;
mod password;
mod pipeline;
mod protocol;
mod provisioning;
mod reason;
mod refusals;
mod registry;
mod session;
mod spans;
mod tenant;
mod tenant_limits;
mod timestamp;
mod trace;
mod trust_anchor;
pub mod uplink;
mod usage;
#[cfg(test)]
mod world;

pub use account::{Accounts, Role};
pub use anonymous::Anonymous;
pub use authentication::{AuthenticationError, ClientContext, Presented, Principal, Token};
pub use budget::{ConnectionBudget, ConnectionPermit};
pub use cached::Cached;
pub use change::{ChangeKind, ChangeListener, ChangeSubject, RegistryChange};
pub use connection_events::ConnectionEvents;
pub use credentials::{CredentialType, Credentials, PublicKey, Secrets, SharedKey};
pub use device::{Assertion, Authority, CommandEndpoint, Device, DeviceStatus};
pub use id::{AuthId, DeviceId, MAX_ID, MAX_NAME, TenantId};
pub use log_limit::{LogLimit, shorten};
pub use northbound::{
    Completion, Defaults, Delivery, Disposition, Downstream, Northbound, Outlet, Settled,
};
pub use password::{HashFunction, PasswordFigures, PasswordSecret, PasswordVerifier, Validity};
pub use pipeline::{Pipeline, PipelineOptions};
pub use protocol::{Channel, ContentRule, Protocol};
pub use reason::{CredentialFault, RateOf, Reason, RejectCondition, Rule};
pub use registry::{AssertionError, LookupError, NewDevice, ProvisionError, Registry};
pub use session::Session;
pub use spans::{Parent, Span, SpanKind, SpanSink, SpanValue, Tracer};
pub use tenant::{AdapterSettings, RegisteredTenant, SamplingMode, Tenant, Tracing};
pub use tenant_limits::{
    ConnectionDuration, DataVolume, MessageRate, MessageRates, Period, PeriodMode,
    RegistrationLimits, ResourceLimits,
};
pub use timestamp::{NotATimestamp, Timestamp};
pub use trace::{TraceContext, Traceparent};
pub use trust_anchor::TrustAnchor;
pub use uplink::{Endpoint, Outcome, Received, Refusal, ResponseHead, Target};
pub use usage::{PeriodSum, TenantSums, Usage, UsageSnapshot};
pub use weir_metrics::Qos;
