//! Dialects: what Weir has counted, under the names of other systems, so that their dashboards work as
//! they are.
//!
//! * [`aws_iot`] has those of AWS IoT's message broker, as lines for CloudWatch.
//! * [`emqx`] has the names of EMQX and of its cloud.
//!
//! A dialect is a table and pure functions: from what [`weir_metrics`] has counted to text. It counts
//! nothing of its own and opens no port. Hono's names are not here: they are Weir's own, in
//! `weir_metrics`.

#![forbid(unsafe_code)]

pub mod aws_iot;
pub mod emqx;
