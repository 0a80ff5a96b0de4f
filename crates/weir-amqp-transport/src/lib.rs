//! What both AMQP sides share: the task that drives one engine over one socket.
//!
//! * [`drive()`] runs a [`Connection`](weir_amqp_engine::Connection) over a [`Transport`] until it is
//!   over: it reads, feeds the engine, hands its events to a [`Peer`], lets the peer send, writes.
//! * [`Peer`] is what sits on a connection and decides: it answers events and gives the engine what
//!   there is to send.
//! * [`Consumer`] is a client that receives from one address; the demonstration, the benchmark and
//!   the command line use it.
//!
//! The write is one branch beside read, timer and stop, never awaited on its own: a peer that reads
//! nothing must not freeze its own time-out.

#![forbid(unsafe_code)]

mod consumer;
mod drive;

pub use consumer::{ConnectError, Consumer, ConsumerOptions, Received};
pub use drive::{Peer, Transport, drive};
