//! What both AMQP sides share: the task that drives one engine over one socket.
//!
//! * [`drive()`] runs a [`Connection`](weir_amqp_engine::Connection) over a [`Transport`] until it is
//!   over: it reads, feeds the engine, hands its events to a [`Peer`], lets the peer send, writes.
//! * [`Peer`] is what sits on a connection and decides: it answers events and gives the engine what
//!   there is to send.
//! * [`Client`] is a peer that connects to a server, with any number of links that send and receive;
//!   the command line and the demonstration use it.
//!
//! The write is one branch beside read, timer and stop, never awaited on its own: a peer that reads
//! nothing must not freeze its own time-out. One that goes on sending while it takes nothing is left
//! after the idle time-out as if its transport had broken.

#![forbid(unsafe_code)]

mod client;
mod drive;
mod stall;

pub use client::{
    Client, ClientOptions, ClientTls, ConnectError, Credit, Ended, Received, Receiver, SendError,
    Sender, TlsError,
};
pub use drive::{Peer, Transport, drive};
