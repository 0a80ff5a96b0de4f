//! The commands that do what a back-end application does: clients of a gateway's AMQP 1.0 endpoint.
//!
//! * [`consume`] shows what devices send; `sources.rs` reads several addresses at a time.
//! * [`command`] sends a command to a device and waits for the answer; `verdict.rs` says what became of
//!   it.
//! * `connect.rs` decides which gateway and as whom, and puts refusals in words.
//! * `show.rs` writes a message as a line for people, `json.rs` as an object for programs,
//!   `payload.rs` has the body of either.

pub(crate) mod command;
mod connect;
pub(crate) mod consume;
mod json;
mod payload;
mod show;
mod sources;
#[cfg(test)]
mod tests;
mod verdict;

use clap::ValueEnum;

/// What the output looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for programs.
    Json,
}

/// A tenant's or device's id among the arguments: one segment of an address.
fn id(text: &str) -> Result<String, String> {
    match text.is_empty() || text.contains('/') {
        true => Err("is not an id".to_owned()),
        false => Ok(text.to_owned()),
    }
}
