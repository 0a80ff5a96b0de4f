//! The gateway put together: the only crate that knows adapters and northbounds alike.
//!
//! Read [`app`] first: it builds the parts in the order they need each other and runs them. Around
//! it:
//!
//! * [`cli`]: the commands and their help.
//! * `operator`: those that keep tenants, devices and credentials in a running gateway.
//! * `application`: those that receive from devices and command them, as a back end would.
//! * `person`: what both share.
//! * `groups`: the tasks that it is made of, and what becomes of the gateway when one ends.
//! * [`config`]: one TOML file, every key also an environment variable, mistakes told with their line.
//! * [`secrets`]: the accounts made at the first start.
//! * [`health`]: liveness, readiness and the metrics' pages; `services` knows whether what the gateway needs
//!   is there, `patience` bounds the time in which a page is read.
//! * [`aws_iot`]: the metrics under AWS IoT's names, written as lines for CloudWatch.
//! * [`emqx`]: the same metrics under EMQX's names, on a listener of its own.
//! * [`jvm`]: what stands in for the metrics of Hono's Java virtual machine, if it is wanted.
//! * `process`, `figures`: what the process and the parts have to tell at each scrape.
//! * `usage`: what tenants have used of their limits, kept over restarts.
//! * [`demo`]: the whole path shown with one command.
//! * `outcomes`: what devices are told of each reason, written to the documentation by its test.

#![forbid(unsafe_code)]

pub mod app;
mod application;
pub mod aws_iot;
mod certificates;
pub mod cli;
pub mod config;
pub mod demo;
pub mod emqx;
mod figures;
mod groups;
pub mod health;
pub mod jvm;
mod limits;
mod logging;
mod operator;
#[cfg(test)]
mod outcomes;
mod patience;
mod person;
mod process;
pub mod secrets;
mod services;
mod usage;
