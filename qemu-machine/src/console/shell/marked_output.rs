//! A command's output as it comes, up to its markers.
//!
//! ```text
//! Stdout --marker between--> Stderr --last marker--> Status --line end--> done
//!        --last marker---------------------------------^
//! ```
//!
//! Pure: the result does not depend on the pieces in which bytes come. Never
//! passes on a byte that may begin a marker.

use memchr::memmem;
use qemu_qmp::agent::OutputPiece;

use super::line::TypedScript;

/// The output of one command, from its first byte to its status.
#[derive(Debug)]
pub(super) struct MarkedOutput {
    stage: Stage,
    between: Option<Vec<u8>>,
    last: Vec<u8>,
    /// The terminal puts a carriage return before each line feed.
    adds_returns: bool,
    /// Bytes that were not passed on yet.
    held: Vec<u8>,
    status: Option<i32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Stdout,
    Stderr,
    Status,
    Done,
}

impl MarkedOutput {
    /// Begins after the script's first marker.
    pub(super) fn new(script: &TypedScript, adds_returns: bool) -> Self {
        Self {
            stage: Stage::Stdout,
            between: script
                .between
                .as_ref()
                .map(|marker| marker.whole().into_bytes()),
            last: script.ended.whole().into_bytes(),
            adds_returns,
            held: Vec::new(),
            status: None,
        }
    }

    /// The command's status, when all of its output has come.
    pub(super) fn status(&self) -> Option<i32> {
        self.status
    }

    /// Reads the next bytes, and passes on the output in them. Returns how many of
    /// them belong to the command.
    pub(super) fn push(&mut self, bytes: &[u8], each: &mut impl FnMut(OutputPiece)) -> usize {
        if self.stage == Stage::Done {
            return 0;
        }
        self.held.extend_from_slice(bytes);
        loop {
            let marker = match (self.stage, &self.between) {
                (Stage::Stdout, Some(between)) => between,
                (Stage::Stdout, None) | (Stage::Stderr, _) => &self.last,
                (Stage::Status | Stage::Done, _) => return self.read_status(bytes.len()),
            };
            let found = memmem::find(&self.held, marker);
            let ready = found.unwrap_or_else(|| self.ready(marker));
            let behind = ready + found.map_or(0, |_| marker.len());
            let mut output = self.held[..ready].to_vec();
            self.held.drain(..behind);
            if self.adds_returns {
                output = super::line::undo_onlcr(&output);
            }
            if !output.is_empty() {
                each(match self.stage {
                    Stage::Stdout => OutputPiece::Stdout(output),
                    _ => OutputPiece::Stderr(output),
                });
            }
            if found.is_none() {
                return bytes.len();
            }
            self.stage = match (self.stage, &self.between) {
                (Stage::Stdout, Some(_)) => Stage::Stderr,
                _ => Stage::Status,
            };
        }
    }

    /// How many of the held bytes cannot begin the marker, nor a line end whose
    /// carriage return the terminal added.
    fn ready(&self, marker: &[u8]) -> usize {
        let longest = self.held.len().min(marker.len() - 1);
        let begun = (1..=longest)
            .rev()
            .find(|&count| self.held.ends_with(&marker[..count]))
            .unwrap_or(0);
        let ready = self.held.len() - begun;
        if begun == 0 && self.adds_returns && self.held.last() == Some(&b'\r') {
            ready - 1
        } else {
            ready
        }
    }

    /// Reads the status behind the last marker, of which `count` bytes came last.
    fn read_status(&mut self, count: usize) -> usize {
        let Some(end) = self.held.iter().position(|&byte| byte == b'\n') else {
            return count;
        };
        let number = str::from_utf8(&self.held[..end]).unwrap_or_default();
        // `$?` is always a small number.
        self.status = Some(number.trim().parse().unwrap_or(-1));
        self.stage = Stage::Done;
        let beyond = self.held.len() - (end + 1);
        self.held = Vec::new();
        count - beyond
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::shell::line::Extras;

    fn parsed(
        extras: &Extras,
        make: impl Fn(&str, &str) -> String,
        size: usize,
    ) -> (String, String, Option<i32>, usize) {
        let script = TypedScript::new(b"true", extras).unwrap();
        let between = script
            .between
            .as_ref()
            .map(super::super::line::Marker::whole);
        let stream = make(&between.unwrap_or_default(), &script.ended.whole());
        let mut output = MarkedOutput::new(&script, true);
        let (mut out, mut err, mut read) = (Vec::new(), Vec::new(), 0);
        for piece in stream.as_bytes().chunks(size) {
            read += output.push(piece, &mut |piece| match piece {
                OutputPiece::Stdout(bytes) => out.extend(bytes),
                OutputPiece::Stderr(bytes) => err.extend(bytes),
            });
        }
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let beyond = stream.len() - read;
        (text(out), text(err), output.status(), beyond)
    }

    #[test]
    fn the_output_is_the_same_in_pieces_of_any_size() {
        let together = Extras::default();
        let apart = Extras {
            is_apart: true,
            ..Extras::default()
        };
        for size in [1, 2, 3, 7, 20, 1000] {
            let found = parsed(
                &together,
                |_, last| format!("one\r\n\rqm-{}x\r\r\n{last}7\r\n~ # ", &last[..10]),
                size,
            );
            assert!(
                found.0.starts_with("one\n\rqm-qm-") && found.0.ends_with("x\r\n"),
                "{found:?}"
            );
            assert_eq!((&*found.1, found.2, found.3), ("", Some(7), 4));
            let found = parsed(
                &apart,
                |between, last| format!("out\r{between}err\r\n{last}0\n"),
                size,
            );
            assert_eq!(found, ("out\r".into(), "err\n".into(), Some(0), 0));
        }
    }

    #[test]
    fn text_without_a_line_end_is_passed_on_at_once() {
        let script = TypedScript::new(b"true", &Extras::default()).unwrap();
        let mut output = MarkedOutput::new(&script, true);
        let mut pieces = Vec::new();
        output.push(b"name: ", &mut |piece| pieces.push(piece));
        assert_eq!(pieces, [OutputPiece::Stdout(b"name: ".to_vec())]);
        assert_eq!(output.status(), None);
    }
}
