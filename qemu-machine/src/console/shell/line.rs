//! The lines to type for a command, with markers to find its output.
//!
//! Two random markers stand around the output. Each is typed in two halves with
//! empty quotes between them. So an echo of the input never contains a whole
//! marker, even if a line editor wraps and redraws it.
//!
//! Each character costs time, because the guest's line editor echoes it. So
//! markers are short, and a script is typed as it is, if that is possible.
//!
//! Only printable ASCII is typed. If a script has other bytes, they are escaped
//! for `printf %b`. So no byte of a command is a key: no tab completes, no `!`
//! recalls, no control character edits. The lines are short enough for every
//! line editor, and for a terminal that collects lines itself.
//!
//! Pure: no console, no clock.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use crate::console::Pattern;

/// A random word that nothing else prints.
#[derive(Debug)]
pub(super) struct Marker {
    halves: [String; 2],
}

/// A script that cannot be typed: it contains a NUL.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct HasNul;

/// A script as it is typed, with the markers around its output.
#[derive(Debug)]
pub(super) struct TypedScript {
    /// What is typed before, in parts. The shell answers each by its marker.
    pub(super) parts: Vec<(String, Marker)>,
    pub(super) lines: String,
    pub(super) begun: Marker,
    /// Between standard output and standard error, if they are apart.
    pub(super) between: Option<Marker>,
    pub(super) ended: Marker,
}

/// What a script has beside its text.
#[derive(Debug, Clone, Default)]
pub(super) struct Extras {
    /// Its standard input.
    pub(super) input: Vec<u8>,
    /// Whether its standard error is printed after its standard output.
    pub(super) is_apart: bool,
}

impl TypedScript {
    pub(super) fn new(script: &[u8], extras: &Extras) -> Result<Self, HasNul> {
        let (begun, ended) = (Marker::new(), Marker::new());
        let between = extras.is_apart.then(Marker::new);
        let files = Files {
            has_input: !extras.input.is_empty(),
            between: between.as_ref(),
        };
        Ok(Self {
            parts: if files.are_needed() {
                parts(&extras.input)
            } else {
                Vec::new()
            },
            lines: script_lines(script, &begun, &ended, &files)?,
            begun,
            between,
            ended,
        })
    }
}

/// Which temporary files of the guest a script uses. Their names begin with the
/// shell's variable `_qf`.
#[derive(Debug, Clone, Copy, Default)]
struct Files<'a> {
    has_input: bool,
    between: Option<&'a Marker>,
}

impl Files<'_> {
    fn are_needed(self) -> bool {
        self.has_input || self.between.is_some()
    }

    /// The redirections of the script.
    fn redirections(self) -> &'static str {
        match (self.has_input, self.between.is_some()) {
            (false, false) => "</dev/null",
            (false, true) => "</dev/null 2>\"$_qf\"",
            (true, false) => "<\"$_qf.in\"",
            (true, true) => "<\"$_qf.in\" 2>\"$_qf\"",
        }
    }

    /// The commands between the script and its last marker, which leave its
    /// status in `$?`.
    fn after(self) -> String {
        let Some(between) = self.between else {
            return if self.has_input {
                "_qs=$?;rm -f \"$_qf\" \"$_qf.in\";(exit $_qs);".to_owned()
            } else {
                String::new()
            };
        };
        let between = between.typed();
        format!("_qs=$?;printf %s {between};cat \"$_qf\";rm -f \"$_qf\" \"$_qf.in\";(exit $_qs);")
    }
}

/// The lines that make the temporary files, and write the input. A part is no
/// longer than what a terminal keeps while the shell is busy.
fn parts(input: &[u8]) -> Vec<(String, Marker)> {
    let name = Marker::new().whole();
    // The first part makes the file of standard error too: a file that others
    // cannot read.
    let mut lines = format!(
        " for _qd in \"${{TMPDIR:-/tmp}}\" /tmp /run /var/tmp /dev/shm \"$HOME\"; do _qf=$_qd/{name}; \
         (umask 077; : >\"$_qf\"; : >\"$_qf.in\") 2>/dev/null && break; done\n"
    );
    let mut parts = Vec::new();
    let mut end = |lines: &mut String| {
        let marker = Marker::new();
        lines.push_str(&marker_line(&marker));
        parts.push((std::mem::take(lines), marker));
    };
    for piece in encoded_pieces(input) {
        if lines.len() > PART_BYTES {
            end(&mut lines);
        }
        lines.extend([" printf %b '", &piece, "' >>\"$_qf.in\"\n"]);
    }
    end(&mut lines);
    parts
}

impl Marker {
    pub(super) fn new() -> Self {
        Self {
            halves: [
                format!("qm-{}", random_word()),
                format!("{}-", random_word()),
            ],
        }
    }

    /// A pattern for the marker, followed by `expression`.
    ///
    /// # Panics
    /// If `expression` is no regular expression.
    pub(super) fn then(&self, expression: &str) -> Pattern {
        let [first, second] = &self.halves;
        Pattern::regex(&format!("{first}{second}{expression}")).expect("an expression of ours")
    }

    /// The rest of a line after the marker; `None` without the marker.
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

    /// A word that the shell reads as the marker.
    fn typed(&self) -> String {
        self.halves.join("''")
    }
}

/// Four random characters.
fn random_word() -> String {
    // The keys of the standard library's hasher are random.
    let mut rest = RandomState::new().build_hasher().finish();
    let mut character = || {
        let digit = u32::try_from(rest % 36).expect("below 36");
        rest /= 36;
        char::from_digit(digit, 36).expect("below 36")
    };
    [(); 4].map(|()| character()).iter().collect()
}

/// A line that makes the shell write a marker and a line end.
pub(super) fn marker_line(marker: &Marker) -> String {
    format!(" echo {}\n", marker.typed())
}

/// The same, with a number after the marker.
pub(super) fn numbered_line(marker: &Marker, number: u32) -> String {
    format!(" echo {}{number}\n", marker.typed())
}

/// The same, with the user's name after the marker if the guest has `id`.
pub(super) fn user_line(marker: &Marker) -> String {
    let typed = marker.typed();
    format!(" echo {typed}\"$(id -un 2>/dev/null)\"\n")
}

/// The lines that make the shell write one marker and a line end, run a script,
/// and write the other marker, the script's status and a line end.
fn script_lines(
    script: &[u8],
    begun: &Marker,
    ended: &Marker,
    files: &Files<'_>,
) -> Result<String, HasNul> {
    if script.contains(&0) {
        return Err(HasNul);
    }
    let is_plain = script.iter().all(|byte| is_plain(*byte));
    let mut pieces = if is_plain {
        plain_pieces(script)
    } else {
        encoded_pieces(script)
    };
    let last = pieces.pop().unwrap_or_default();
    let mut lines = String::new();
    // A shell can be set to keep lines with a leading blank out of its history.
    for (number, piece) in pieces.iter().enumerate() {
        let before = if number == 0 { "" } else { "$_qm" };
        lines.extend([" _qm=", before, "'", piece, "'\n"]);
    }
    let before = if pieces.is_empty() { "" } else { r#""$_qm""# };
    let text = if is_plain {
        format!("{before}'{last}'")
    } else {
        format!("\"$(printf %b {before}'{last}')\"")
    };
    // With `command`, a syntax error ends the script and not the line.
    let run = format!("command eval {text} {}", files.redirections());
    let [begun, ended] = [begun, ended].map(Marker::typed);
    let after = files.after();
    Ok(lines + &format!(" echo {begun};{run};{after}echo {ended}$?\n"))
}

/// Undoes a terminal's change to a program's output: the carriage return that
/// it puts before each line feed (`stty onlcr`).
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

/// Whether a byte stands for itself in single quotes, and is no key. A shell or
/// its history still reads `!` and `^` there.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && !matches!(byte, b'\'' | b'!' | b'^')
}

/// The same bytes, in pieces.
fn plain_pieces(bytes: &[u8]) -> Vec<String> {
    let pieces = bytes.chunks(PIECE_BYTES);
    pieces
        .map(|piece| String::from_utf8_lossy(piece).into_owned())
        .collect()
}

/// Bytes for `printf %b`, to be put in single quotes, in pieces.
fn encoded_pieces(bytes: &[u8]) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for &byte in bytes {
        let written = match byte {
            b'\\' => r"\\".to_owned(),
            b'\n' => r"\n".to_owned(),
            _ if is_plain(byte) => char::from(byte).to_string(),
            _ => octal(byte),
        };
        let mut piece = pieces.pop().unwrap_or_default();
        if piece.len() + written.len() > PIECE_BYTES {
            pieces.push(std::mem::take(&mut piece));
        }
        piece.push_str(&written);
        pieces.push(piece);
    }
    pieces
}

fn octal(byte: u8) -> String {
    format!(r"\0{byte:03o}")
}

/// A whole line then has some 600 bytes. Busybox's line editor takes 1024 by
/// default, a terminal 4095 (`termios(3)`, "Canonical mode").
const PIECE_BYTES: usize = 400;

/// With one more line and a marker, a part has less than 4095 bytes.
const PART_BYTES: usize = 3000;

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
        let lines = script_lines(b"true", &one, &two, &Files::default()).unwrap();
        for marker in [one, two] {
            assert!(!lines.contains(&marker.halves.concat()), "{lines}");
        }
    }

    #[test]
    fn only_short_lines_of_printable_ascii_are_typed() {
        let script: Vec<u8> = (1..=255).cycle().take(5000).collect();
        let lines =
            script_lines(&script, &Marker::new(), &Marker::new(), &Files::default()).unwrap();
        for line in lines.lines() {
            assert!(line.len() < 700, "{line}");
            let keys = |byte: u8| byte.is_ascii_graphic() && byte != b'!' || byte == b' ';
            assert!(line.bytes().all(keys), "{line}");
        }
        let with_nul = TypedScript::new(b"a\0b", &Extras::default());
        assert_eq!(with_nul.unwrap_err(), HasNul);
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
            let lines = script_lines(script.as_bytes(), &begun, &ended, &Files::default()).unwrap();
            for shell in ["sh", "bash"] {
                let ran = Command::new(shell).args(["-c", &lines]).output();
                let output_text = String::from_utf8(ran.unwrap().stdout).unwrap();
                assert_eq!(
                    output_text,
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
