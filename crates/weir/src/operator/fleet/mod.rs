//! A fleet: tenants, devices and credentials in one file.
//!
//! * `read.rs` turns a file into [`Entry`]s: YAML or JSON as a whole, lines of JSON as they come.
//! * `apply.rs` is the command: it reads, keeps a number of requests going, and stops at too many
//!   errors. `one.rs` applies one entry.
//! * `same.rs` decides whether an object is what the file says already, `secrets.rs` the same for
//!   credentials, whose secrets the API never shows.
//! * `report.rs` counts, tells and shows progress.
//! * `export.rs` is the other direction, and `write.rs` writes what it finds.

pub(crate) mod apply;
pub(crate) mod export;
mod one;
mod read;
mod report;
mod same;
mod secrets;
mod write;

use super::api::Members;

/// One thing that a file says.
#[derive(Debug, PartialEq)]
enum Entry {
    Tenant(TenantEntry),
    Device(DeviceEntry),
}

#[derive(Debug, PartialEq)]
struct TenantEntry {
    id: String,
    /// The tenant's members; none where the file has only its devices.
    members: Members,
}

#[derive(Debug, PartialEq)]
struct DeviceEntry {
    tenant: String,
    id: String,
    /// The device's members; none where the file has only its credentials.
    members: Members,
    /// Left alone where the file does not have them.
    credentials: Option<Vec<Members>>,
}

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Unchanged,
    Updated,
    Created,
}

/// The format, for `--help`.
const FORMAT: &str = "\
The file, as YAML or JSON:

  tenants:
    - id: acme                        then any member of the API's tenant object
      enabled: true
      devices:
        - id: sensor-1                then any member of the API's device object
          via: [gw-1]
          credentials:                the API's credentials
            - type: hashed-password
              auth-id: sensor-1
              secrets:
                - pwd-plain: a long random password

or, better for many devices, as lines of JSON, which are read as they come:

  {\"tenant\": \"acme\", \"enabled\": true}
  {\"tenant\": \"acme\", \"device\": \"sensor-1\", \"via\": [\"gw-1\"], \"credentials\": [...]}

What is in a file and not in the gateway is created. What is in both is made to be as in the file: \
members that the file leaves out get their defaults. But a tenant or a device of which the file has \
only the id, with or without devices or credentials, is left as it is; so are credentials where a \
device has none in the file (`credentials: []` removes them). Nothing else is ever removed.";
