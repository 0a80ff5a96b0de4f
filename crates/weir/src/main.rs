//! The `weir` command.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser as _;
use weir::cli::{Cli, run, words};

/// Messages are many small blocks that live for a millisecond, which is what this allocator is for.
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
            eprintln!("weir: {}", words(&error));
            ExitCode::FAILURE
        }
    }
}
