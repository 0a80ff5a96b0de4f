//! Bytes and frames.
//!
//! `primitive` reads and writes single values, `scan` checks untrusted values before anything recursive sees them,
//! `hot` has the three frames of the message path by hand, `cold` has all others through `serde_amqp`.

pub(crate) mod cold;
pub(crate) mod frame;
pub(crate) mod hot;
pub(crate) mod primitive;
pub(crate) mod scan;

/// Bytes that are not what they should be; the text says what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);
