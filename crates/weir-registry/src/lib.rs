//! Tenants, devices and credentials in an SQL database, and in memory in front of it.
//!
//! * [`SqlRegistry`] is both sides: what the pipeline reads (`weir_core::Registry`, see `lookup.rs`)
//!   and what operators change (`tenant.rs`, `device.rs`, `credentials.rs`).
//! * `search/` finds tenants and devices by their members. The database does it, each in its own SQL.
//! * A look-up that was answered before is answered from memory, until something it depends on
//!   changes. `cache/mod.rs` has the rule by which nobody sees an old value after a change was answered.
//! * A change is one transaction (`change.rs`), runs to its end even if nobody waits for it any more,
//!   and is on the disk when it is answered. It may name the [`Version`] it expects to replace.
//! * [`SqlRegistry::ping`] asks whether the database answers (`probe.rs`).
//! * SQL is written once for all databases: `$1` parameters, no booleans, times in milliseconds,
//!   objects as JSON text. The schema is in `migrations/` and brought up to date when opened.
//!
//! It refuses to hand out a secret to operators, or to look at an object's syntax: who changes
//! something has parsed it (`weir-management`).

#![forbid(unsafe_code)]

mod cache;
mod change;
mod credentials;
mod device;
mod dialect;
mod error;
mod log;
mod lookup;
mod probe;
mod provision;
mod search;
mod store;
mod stored;
mod tenant;
mod version;

pub use cache::CacheFigures;
pub use credentials::{
    CredentialView, NewCredential, NewSecret, PasswordHash, SecretData, SecretHead, SecretView,
    SetCredentialsError,
};
pub use device::CreateDeviceError;
pub use error::{ChangeError, ReadError, Unavailable};
pub use search::{
    Direction, Filter, FilterError, Op, Page, Pointer, PointerError, Search, SearchError, Sort,
};
pub use store::{OpenError, Options, SqlRegistry};
pub use tenant::{Clash, CreateTenantError, UpdateTenantError};
pub use version::Version;
