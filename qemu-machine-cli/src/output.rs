//! What is written where: standard output has what was asked for, standard error
//! all else.
//!
//! A closed pipe causes no panic. A failed write to standard output is a
//! [`Failure`]. A failed write to standard error is ignored, because nobody could
//! read about it.

use std::fmt;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;

use nix::errno::Errno;
use serde::Serialize;

use crate::closed_output;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::progress::{self, Stream};
use crate::unread;

/// Writes to standard output what was asked for.
pub(crate) fn write(bytes: &[u8]) -> Result<(), Failure> {
    if bytes.is_empty() {
        return Ok(());
    }
    let written = progress::aside(bytes, Stream::Output, || {
        // Without its lock: a tee that nobody reads may hold that.
        unread::write_all(stdout()?.as_fd(), bytes)
    });
    written.map_err(|error| unwritable(&error))
}

/// Standard output, if there is one.
pub(crate) fn stdout() -> io::Result<io::Stdout> {
    if closed_output::is_closed() {
        return Err(Errno::EBADF.into());
    }
    Ok(io::stdout())
}

/// Fails if there is no standard output, before something else writes to it.
pub(crate) fn check() -> Result<(), Failure> {
    stdout().map(drop).map_err(|error| unwritable(&error))
}

/// Writes the rest of a file to standard output.
pub(crate) fn copy(file: &mut impl io::Read, path: &std::path::Path) -> Result<(), Failure> {
    let mut piece = vec![0; 1 << 16];
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(count) => write(&piece[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Failure::file("read", path, &error)),
        }
    }
}

/// Writes a line to standard output.
pub(crate) fn line(text: impl fmt::Display) -> Result<(), Failure> {
    write(format!("{text}\n").as_bytes())
}

/// Prints the output of a verb: as JSON in one line, or for people.
pub(crate) fn print<T: Serialize + fmt::Display>(output: &T, as_json: bool) -> Result<(), Failure> {
    if as_json {
        return line(json(output));
    }
    let text = output.to_string();
    if text.is_empty() || text.ends_with('\n') {
        write(text.as_bytes())
    } else {
        line(text)
    }
}

/// An output as JSON.
pub(crate) fn json<T: Serialize>(output: &T) -> serde_json::Value {
    // This fails only for maps whose keys are not text, and we have none.
    serde_json::to_value(output).unwrap_or_default()
}

/// Whether standard output is a file.
pub(crate) fn goes_to_file() -> bool {
    std::fs::metadata("/proc/self/fd/1").is_ok_and(|it| it.is_file())
}

/// Writes the standard error of a program in the guest to ours.
pub(crate) fn write_error(bytes: &[u8]) {
    progress::aside(bytes, Stream::Error, || {
        let _ = unread::write_all(io::stderr().as_fd(), bytes);
    });
}

/// Prints a note on standard error.
pub(crate) fn note(text: impl fmt::Display) {
    let text = printable(&text.to_string());
    write_error(format!("qemu-machine: {text}\n").as_bytes());
}

/// Prints the reason of a failure on standard error.
pub(crate) fn error(text: impl fmt::Display) {
    let (begin, end) = if has_colour() {
        ("\x1b[1;31m", "\x1b[0m")
    } else {
        ("", "")
    };
    let text = printable(&text.to_string());
    write_error(format!("qemu-machine: {begin}error:{end} {text}\n").as_bytes());
}

/// The text without what a terminal would obey: a message quotes names, and what
/// QEMU and the guest said.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() && !['\n', '\t'].contains(&letter) {
            shown.extend(letter.escape_debug());
        } else {
            shown.push(letter);
        }
    }
    shown
}

/// Prints why the arguments cannot be used, or the help that they ask for.
pub(crate) fn usage(error: &clap::Error) -> Result<Outcome, Failure> {
    let text = error.render();
    if !error.use_stderr() {
        // clap knows whether there may be colour.
        check()?;
        error.print().map_err(|error| unwritable(&error))?;
        return Ok(Outcome::Succeeded);
    }
    let plain = text.to_string();
    match plain.strip_prefix("error: ") {
        Some(reason) => self::error(reason.trim_end()),
        // The help, because there are no arguments at all.
        None => write_error(plain.as_bytes()),
    }
    Ok(Outcome::Usage)
}

/// What a failed write to standard output means.
pub(crate) fn unwritable(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        // As if by SIGPIPE, which this program ignores.
        return Failure {
            outcome: Outcome::OUTPUT_CLOSED,
            message: None,
        };
    }
    let message = format!("cannot write to standard output: {error}");
    Failure::new(Outcome::Broken, message)
}

/// Whether a person sees standard error, and has not turned colour off
/// (`NO_COLOR`, by <https://no-color.org>).
fn has_colour() -> bool {
    let is_off = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_none_or(|value| value == "dumb");
    io::stderr().is_terminal() && !is_off && !is_dumb
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_nothing_that_a_terminal_obeys() {
        let text = "no '\x1b[2Jé\r'\n  output:\t\u{9b}31m\x07";
        assert_eq!(
            printable(text),
            "no '\\u{1b}[2Jé\\r'\n  output:\t\\u{9b}31m\\u{7}"
        );
    }
}
