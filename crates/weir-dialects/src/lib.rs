//! Dialects: what Weir has counted, under the names of other systems, so that their dashboards work as
//! they are.
//!
//! * [`emqx`] has the names of EMQX and of its cloud.
//!
//! A dialect is a table and pure functions: from what [`weir_metrics`] has counted to a page of text. It
//! counts nothing of its own and opens no port. Hono's names are not here: they are Weir's own, in
//! `weir_metrics`.

#![forbid(unsafe_code)]

pub mod emqx;
