//! The `weir` command.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser as _;
use weir::cli::{Cli, run};

/// musl's own allocator would cost a fifth more per message; on glibc it is a tenth.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[allow(
    clippy::print_stderr,
    reason = "the last word to whoever started the command"
)]
fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("weir: {error:#}");
            ExitCode::FAILURE
        }
    }
}
