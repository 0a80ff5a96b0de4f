//! Commands: what applications send to devices (northbound contract §1.8).
//!
//! A [`Link`] leads from an application to `command/{tenant}`. It checks what arrives (`parse.rs`) and
//! hands it to core, which finds out who takes it to its device; what became of it is the delivery's
//! outcome, so nothing is accepted before the device's side has it.

mod link;
mod parse;

pub(crate) use link::{Budget, Link};
