//! The operator's commands: clients of the management API of a running gateway.
//!
//! * [`tenant`], [`device`] and [`credentials`] have a struct of arguments per verb; what tenants and
//!   devices have in common is in `objects.rs`.
//! * [`log`] shows what the gateway logs, and changes it.
//! * [`fleet`] applies a file of tenants, devices and credentials, and writes one.
//! * `connect.rs` decides which gateway and as whom; `api.rs` is the client, `resource.rs` what it can
//!   be asked for.
//! * `input.rs` reads objects and passwords, `query.rs` has filters, order and pages, `show.rs` writes
//!   tables and JSON.
//!
//! The API decides what is right: nothing here repeats its rules, its error texts are shown as they
//! are, and what it answers is what `-o json` prints. Passwords come from standard input or files.

mod api;
mod connect;
pub(crate) mod credentials;
pub(crate) mod device;
pub(crate) mod fleet;
mod input;
pub(crate) mod log;
mod objects;
mod password;
mod query;
mod resource;
mod show;
pub(crate) mod tenant;

use std::io;
use std::process::ExitCode;

use anyhow::Context as _;

/// Runs a command to its end. A reader of the output that has seen enough (`… | head`) is no failure.
pub(crate) fn run(
    command: impl Future<Output = anyhow::Result<ExitCode>>,
) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let ended = runtime.block_on(command);
    // A thread that waits for standard input must not keep the process.
    runtime.shutdown_background();
    match ended {
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        ended => ended,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<io::Error>();
    cause.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
