//! What all TCP listeners share: where they may listen, TLS, the accept loop, its bounds, the stop.
//!
//! * [`Listener::bind`] opens a plain port, a TLS port or both, as [`Bind`] says. It refuses a plain
//!   port on an address that others can reach, unless that is allowed explicitly, and names the port
//!   that is taken.
//! * [`Listener::serve`] accepts until it is told to stop and runs one task per connection. It never
//!   awaits a peer: the TLS handshake belongs to the connection's task, and has a time limit. A
//!   plain connection beyond the budget is handed over without a [permit](Connection::permit), for
//!   its protocol's own refusal; with TLS it is dropped, and so is a flood beyond that. [`Counts`] knows
//!   how many there were, and [`Listener::on_refusal`] who is to hear of them.
//! * [`Tls`] is a certificate with its key, read anew when the files change ([`Tls::watch`]).
//!   [`TlsPeer`] is what is known of a client from the handshake. Its certificate is proven to be
//!   in the client's hands and, unless the port's files name authorities, nothing else: who issued it
//!   is for the protocol's adapter to judge.
//! * [`Stream`] is a connection's byte stream, plain or not. Which [protocol](Stream::protocol) a client
//!   chose of those that a TLS port [offers](Tls::offering), it knows too.
//!
//! It knows no protocol, trusts no certificate authority that it was not told of, and installs nothing process-wide.

#![forbid(unsafe_code)]

mod bind;
mod counts;
mod serve;
mod stream;
mod tls;

pub use bind::{Bind, BindError, Listener};
pub use counts::{Arrived, Counts};
pub use serve::Connection;
pub use stream::Stream;
pub use tls::{ClientCertificates, Tls, TlsError, TlsFiles, TlsPeer, TlsPort};
