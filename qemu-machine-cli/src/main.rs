//! The command `qemu-machine`: what the library can do, from a shell.
//!
//! Each verb is a file in `verb`. A verb returns its [`Outcome`](exit::Outcome),
//! and only `exit` maps that to a status. Logic that a user of the library would
//! want belongs into the library.

// They panic if nobody reads.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod address;
mod advice;
mod arguments;
mod attention;
mod base64;
mod blocking;
mod closed_output;
mod config;
mod duration;
mod escapes;
mod exit;
mod failure;
mod guest_command;
mod help;
mod offered;
mod output;
mod progress;
mod unread;
mod verb;

use std::ffi::OsString;
use std::process::ExitCode;

use arguments::Refused;
use exit::Outcome;
use failure::Failure;
use verb::Verb;

fn main() -> ExitCode {
    let mut words: Vec<OsString> = std::env::args_os().collect();
    let is_owner = arguments::take_owner(&mut words);
    let words = help::as_option(words);
    let outcome = run(&words, is_owner).unwrap_or_else(|failure| {
        if let Some(message) = &failure.message {
            output::error(message);
        }
        failure.outcome
    });
    progress::stop();
    ExitCode::from(outcome.status())
}

fn run(words: &[OsString], is_owner: bool) -> Result<Outcome, Failure> {
    if let Some(names) = verb::asked_names(words) {
        return names;
    }
    if let Some(schema) = verb::asked_schema(words) {
        output::write(schema.as_bytes())?;
        return Ok(Outcome::Succeeded);
    }
    if let Some(help) = help::asked(words, arguments::command) {
        output::write(help.to_string().as_bytes())?;
        return Ok(Outcome::Succeeded);
    }
    match arguments::read(words) {
        Ok(arguments) => match arguments.verb {
            Verb::Run(run) if is_owner => run.own(),
            Verb::Clone(clone) if is_owner => clone.own(),
            Verb::Pool(pool) if is_owner => pool.own(),
            verb => verb.run(),
        },
        Err(Refused::Usage(error)) => output::usage(&error),
        Err(Refused::Failure(failure)) => Err(failure),
    }
}
