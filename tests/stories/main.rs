//! End-to-end stories: the real binary on free ports, public clients on both sides.
//!
//! * [`kit`] starts the gateway, hands out tenants and devices, and has the applications that accept,
//!   reject, release, stall or die on demand.
//! * [`path`]: a message goes from a device to an application, with everything in it.
//! * [`settlement`]: what an application says of a message, and what the device hears of it.
//! * [`events`]: what waits for its application, over kills and stops, and what becomes of it.
//! * [`downlink`]: commands to devices, and their responses.
//! * [`mqtt5`]: what devices of MQTT 5 can say and are told beyond MQTT 3.1.1.
//! * [`errors`]: what devices hear of messages that were refused, by subscription.
//! * [`matrix`]: the failure matrix of the device contract, a row a case.
//! * [`faults`]: consumers that die, processes that are killed or stopped.
//! * [`hostile`]: what no well-behaved client sends.
//! * [`halfway`]: connections that begin and do not go on.
//! * [`oversized`]: what is larger than it may be.
//! * [`floods`]: too many connections, guessers, and a tenant that sends without end.
//! * [`slow`]: devices that read nothing.
//! * [`limits`]: what a tenant's devices may use, and what they hear when it is too much.
//! * [`reconnect`]: all devices come at once, again and again.
//! * [`aws_iot`]: the metrics under AWS IoT's names, line by line in a file.
//! * [`emqx`]: the metrics under EMQX's names, and who may read them.
//! * [`operation`]: configuration, accounts, logs, the demonstration.
//! * [`commands`]: what operators do to tenants, devices and credentials from a shell, and what it does
//!   there in an application's place.
//! * [`registry`]: what a change in the registry does at once, and who is told of it.
//! * [`metrics`]: what the parts of the gateway record and tell, on the pages that Prometheus reads.
//! * [`provisioning`]: devices that are registered by themselves, and the applications that hear of it.
//! * [`certificates`]: devices that say who they are by a certificate.
//! * [`tls`]: the same path with TLS on every connection, and certificates that are replaced.
//! * [`traces`]: what a collector of OpenTelemetry is told, and what travels on with messages.
//! * [`unauthenticated`]: devices that nobody asks who they are, and who is told of those that connect.
//! * [`websocket`]: what else the HTTP adapter's ports speak, MQTT over WebSockets and HTTP/2.
//!
//! No story sleeps to wait for a state: each waits for the state itself, with one generous deadline
//! for the whole story ([`kit::story`]).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(
    clippy::print_stdout,
    reason = "the gateway's log belongs to a failed story"
)]

mod aws_iot;
mod certificates;
mod commands;
mod downlink;
mod emqx;
mod errors;
mod events;
mod faults;
mod floods;
mod halfway;
mod hostile;
mod kit;
mod limits;
mod matrix;
mod metrics;
mod mqtt5;
mod operation;
mod oversized;
mod path;
mod provisioning;
mod reconnect;
mod registry;
mod settlement;
mod slow;
mod tls;
mod traces;
mod unauthenticated;
mod websocket;
