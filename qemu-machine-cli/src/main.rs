//! The command `qemu-machine`: what the library can do, from a shell.
//!
//! Each verb is a file in `verb`. A verb returns its [`Outcome`](exit::Outcome),
//! and `exit` alone knows which status that is. Nothing here is useful to a
//! program that has the library: such things belong there.

#![forbid(unsafe_code)]
// They panic where nobody reads.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod address;
mod arguments;
mod attention;
mod duration;
mod escapes;
mod exit;
mod failure;
mod output;
mod verb;

use std::process::ExitCode;

fn main() -> ExitCode {
    let ended = match arguments::Arguments::read() {
        Ok(arguments) => arguments.run(),
        Err(error) => output::usage(&error),
    };
    let outcome = ended.unwrap_or_else(|failure| {
        if let Some(message) = &failure.message {
            output::error(message);
        }
        failure.outcome
    });
    ExitCode::from(outcome.status())
}
