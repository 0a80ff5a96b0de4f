//! The commands that do what a back-end application does: clients of a gateway's AMQP 1.0 endpoint.
//!
//! * [`consume`] shows what devices send; `sources.rs` reads several addresses at a time, `reader.rs`
//!   notices that nobody looks any more.
//! * [`command`] is a command to a device; `order.rs` sends it and waits for the answer, `verdict.rs`
//!   says what became of it. The demonstration sends its commands with it too.
//! * `connect.rs` decides which gateway and as whom, and puts refusals in words.
//! * `show.rs` writes a message as a line for people, `json.rs` as an object for programs,
//!   `payload.rs` has the body of either.

pub(crate) mod command;
mod connect;
pub(crate) mod consume;
mod json;
mod order;
mod payload;
mod reader;
mod show;
mod sources;
#[cfg(test)]
mod tests;
mod verdict;

use clap::ValueEnum;

pub(crate) use connect::Gateway;
pub(crate) use order::Order;

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
