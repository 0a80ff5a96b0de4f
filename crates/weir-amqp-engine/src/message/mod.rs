//! The message format [3.2]: a writer that puts sections straight into the output, and a decoder for what arrives.

mod decode;
mod writer;

pub use decode::{Body, DecodeError, Header, Map, Message, MessageProperties};
pub use writer::{MapWriter, MessageWriter, OutgoingHeader, Properties};
