//! What is typed for a command, and how its output is told from all else.
//!
//! Two markers of random words stand around the output. They are typed in two
//! halves, which `printf` joins, so an echo of what was typed never has them
//! whole, however a line editor wraps and redraws it.
//!
//! Only printable ASCII is typed, in lines short enough for every line editor
//! and for a terminal that gathers lines itself: all else is written in octal
//! for `printf %b`. So no byte of a command is a key: no tab completes, no `!`
//! recalls, no control character edits.
//!
//! Pure: no console, no clock.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use crate::console::Pattern;

/// A word that nobody else writes.
#[derive(Debug)]
pub(super) struct Marker {
    halves: [String; 2],
}

/// A command that no shell can be given: it has a NUL in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct HasNul;

impl Marker {
    pub(super) fn new() -> Self {
        // The standard library's hasher has keys of the system's randomness.
        let half = || format!("{:016x}", RandomState::new().build_hasher().finish());
        Self {
            halves: [format!("qm-{}", half()), format!("{}-", half())],
        }
    }

    /// The marker at the end of what has come, and then what `expression` is.
    ///
    /// # Panics
    /// It is no regular expression.
    pub(super) fn then(&self, expression: &str) -> Pattern {
        let [first, second] = &self.halves;
        Pattern::regex(&format!("{first}{second}{expression}")).expect("an expression of ours")
    }

    /// What follows the marker in a line.
    pub(super) fn rest<'a>(&self, line: &'a [u8]) -> Option<&'a [u8]> {
        let whole = self.whole();
        let at = line
            .windows(whole.len())
            .position(|it| it == whole.as_bytes())?;
        Some(&line[at + whole.len()..])
    }

    pub(super) fn whole(&self) -> String {
        self.halves.concat()
    }

    /// The arguments of `printf`, for a format that begins with `%s%s`.
    fn typed(&self) -> String {
        self.halves.join(" ")
    }
}

/// A line that has the shell write a marker and a line end.
pub(super) fn marker_line(marker: &Marker) -> String {
    format!(" printf '%s%s\\n' {}\n", marker.typed())
}

/// The same, with the user's name behind the marker where the shell can tell it.
pub(super) fn user_line(marker: &Marker) -> String {
    let typed = marker.typed();
    format!(" printf '%s%s%s\\n' {typed} \"$(id -un 2>/dev/null)\"\n")
}

/// The lines that have the shell write one marker and a line end, run a
/// script, and write the other marker, the script's status and a line end.
pub(super) fn script_lines(
    script: &[u8],
    begun: &Marker,
    ended: &Marker,
) -> Result<String, HasNul> {
    let mut pieces = pieces(script)?;
    let last = pieces.pop().unwrap_or_default();
    let mut lines = String::new();
    // A blank before a line keeps it out of the history where that is wanted.
    for (number, piece) in pieces.iter().enumerate() {
        let before = if number == 0 { "" } else { "$_qm" };
        lines.extend([" _qm=", before, "'", piece, "'\n"]);
    }
    let before = if pieces.is_empty() { "" } else { r#""$_qm""# };
    // By `command`, a fault of syntax ends the script and not the line.
    let run = format!("command eval \"$(printf %b {before}'{last}')\" </dev/null");
    let [begun, ended] = [begun, ended].map(Marker::typed);
    Ok(lines + &format!(" printf '%s%s\\n' {begun};{run};printf '%s%s%d\\n' {ended} $?\n"))
}

/// What a terminal made of a program's output, undone: it put a carriage
/// return before each line feed (`stty onlcr`).
pub(super) fn undo_onlcr(bytes: &[u8]) -> Vec<u8> {
    let mut undone = Vec::with_capacity(bytes.len());
    for (index, &byte) in bytes.iter().enumerate() {
        let is_added = byte == b'\r' && bytes.get(index + 1) == Some(&b'\n');
        if !is_added {
            undone.push(byte);
        }
    }
    undone
}

/// A script for `printf %b`, within single quotes, in pieces.
fn pieces(script: &[u8]) -> Result<Vec<String>, HasNul> {
    let mut pieces = vec![String::new()];
    for &byte in script {
        let written = match byte {
            0 => return Err(HasNul),
            b'\\' => r"\\".to_owned(),
            // A shell sees these within single quotes, or its history does.
            b'\'' | b'!' | b'^' => octal(byte),
            b' '..=b'~' => char::from(byte).to_string(),
            _ => octal(byte),
        };
        let mut piece = pieces.pop().unwrap_or_default();
        if piece.len() + written.len() > PIECE_BYTES {
            pieces.push(std::mem::take(&mut piece));
        }
        piece.push_str(&written);
        pieces.push(piece);
    }
    Ok(pieces)
}

fn octal(byte: u8) -> String {
    format!(r"\0{byte:03o}")
}

/// So that a line with all around it has some 600 bytes: busybox's line editor
/// takes 1024 by default, a terminal 4095 (`termios(3)`, "Canonical mode").
const PIECE_BYTES: usize = 400;

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn marker(first: &str, second: &str) -> Marker {
        Marker {
            halves: [first.to_owned(), second.to_owned()],
        }
    }

    #[test]
    fn what_is_typed_has_no_marker_whole_and_no_two_are_alike() {
        let (one, two) = (Marker::new(), Marker::new());
        assert_ne!(one.halves, two.halves);
        let lines = script_lines(b"true", &one, &two).unwrap();
        for marker in [one, two] {
            assert!(!lines.contains(&marker.halves.concat()), "{lines}");
        }
    }

    #[test]
    fn only_short_lines_of_printable_ascii_are_typed() {
        let script: Vec<u8> = (1..=255).cycle().take(5000).collect();
        let lines = script_lines(&script, &Marker::new(), &Marker::new()).unwrap();
        for line in lines.lines() {
            assert!(line.len() < 700, "{line}");
            let keys = |byte: u8| byte.is_ascii_graphic() && byte != b'!' || byte == b' ';
            assert!(line.bytes().all(keys), "{line}");
        }
        let with_nul = script_lines(b"a\0b", &Marker::new(), &Marker::new());
        assert_eq!(with_nul, Err(HasNul));
    }

    #[test]
    fn a_shell_runs_what_was_meant_and_tells_its_status() {
        let long = "x".repeat(3000);
        for (script, output, status) in [
            (
                "printf '%s\\n' 'it'\\''s' \"a\\\\b\" %s '!x' ^y",
                "it's\na\\b\n%s\n!x\n^y\n",
                0,
            ),
            (
                "cat <<'END'\none\n\ttwo $HOME\nEND\nfalse",
                "one\n\ttwo $HOME\n",
                1,
            ),
            (
                "cat; printf 'no end'; exit_status() { return 7; }; exit_status",
                "no end",
                7,
            ),
            ("", "", 0),
            (&format!("echo {long} | wc -c"), "3001\n", 0),
            ("printf 'é\u{1f600}'", "é\u{1f600}", 0),
        ] {
            let (begun, ended) = (marker("a", "b"), marker("c", "d"));
            let lines = script_lines(script.as_bytes(), &begun, &ended).unwrap();
            for shell in ["sh", "bash"] {
                let ran = Command::new(shell).args(["-c", &lines]).output();
                let told = String::from_utf8(ran.unwrap().stdout).unwrap();
                assert_eq!(
                    told,
                    format!("ab\n{output}cd{status}\n"),
                    "{shell}: {script}"
                );
            }
        }
    }

    #[test]
    fn what_a_terminal_added_is_taken_away_and_no_more() {
        for output in ["", "a\nb", "\r\n\r\r\n", "a\rb\r", "\n"] {
            let shown = output.replace('\n', "\r\n");
            assert_eq!(undo_onlcr(shown.as_bytes()), output.as_bytes());
        }
    }
}
