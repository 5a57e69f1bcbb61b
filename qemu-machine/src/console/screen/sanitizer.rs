//! Keeps from a terminal the output that shows nothing and costs much.
//!
//! `vt100` keeps a string (a title, a link) of any length until it ends. It also
//! inserts any requested number of cells or lines, even on a small screen. A
//! flood of either would fill the memory or stall the engine.
//!
//! Its parser, `vte`, loses the output after a character that comes in two
//! pieces. So it gets every character whole.

use crate::console::noise::Escapes;

/// Removes strings from a stream, limits large counts, and joins the pieces of
/// characters.
#[derive(Debug)]
pub(super) struct Sanitizer {
    place: Escapes,
    /// The beginning of a sequence.
    pending: Vec<u8>,
    /// The beginning of a character.
    character: Vec<u8>,
    most: u16,
}

impl Sanitizer {
    /// For a terminal with at most `most` rows or columns.
    pub(super) fn new(most: u16) -> Self {
        Self {
            place: Escapes::default(),
            pending: Vec::new(),
            character: Vec::new(),
            most,
        }
    }

    /// Passes the remaining output to the terminal, in whole sequences.
    pub(super) fn push(&mut self, bytes: &[u8], mut terminal: impl FnMut(&[u8])) {
        let mut rest = bytes;
        while let Some((&byte, after)) = rest.split_first() {
            let text = self.place.text(rest);
            if text > 0 {
                self.text(&rest[..text], &mut terminal);
                rest = &rest[text..];
                continue;
            }
            rest = after;
            let (next, is_text) = self.place.next(byte);
            match next {
                // A terminal obeys it at once, even inside a sequence.
                _ if is_text => self.text(&[byte], &mut terminal),
                Escapes::Escape | Escapes::StringEscape => {
                    if !std::mem::take(&mut self.character).is_empty() {
                        // The character stays incomplete.
                        terminal("\u{fffd}".as_bytes());
                    }
                    self.pending.clear();
                    self.pending.push(byte);
                }
                Escapes::Text if self.place.ends_by(byte) => {
                    self.pending.push(byte);
                    terminal(&self.bounded());
                }
                Escapes::Text | Escapes::String => {}
                Escapes::Intermediate | Escapes::Control => {
                    if matches!(byte, b' '..=b'~') && self.pending.len() < LONGEST {
                        self.pending.push(byte);
                    }
                }
            }
            self.place = next;
        }
    }

    /// Passes on the complete characters of a text.
    fn text(&mut self, bytes: &[u8], terminal: &mut impl FnMut(&[u8])) {
        let joined;
        let mut text = bytes;
        if !self.character.is_empty() {
            joined = [&self.character, bytes].concat();
            text = &joined;
        }
        let (whole, begun) = text.split_at(text.len() - incomplete(text));
        self.character = begun.to_vec();
        if !whole.is_empty() {
            terminal(whole);
        }
    }

    /// The sequence, with its count limited to the size of the terminal.
    fn bounded(&self) -> Vec<u8> {
        if let [b'\x1b', b'[', count @ .., last @ (b'@' | b'L' | b'T')] = self.pending.as_slice() {
            let digits = count.iter().take_while(|byte| byte.is_ascii_digit());
            let count = digits.fold(0_u16, |count, &digit| {
                count
                    .saturating_mul(10)
                    .saturating_add((digit - b'0').into())
            });
            if count > self.most {
                return format!("\x1b[{}{}", self.most, char::from(*last)).into_bytes();
            }
        }
        self.pending.clone()
    }
}

/// How many bytes at the end are the beginning of a UTF-8 character.
fn incomplete(text: &[u8]) -> usize {
    let begins_one = |count: &usize| {
        let end = std::str::from_utf8(&text[text.len() - count..]);
        end.is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
    };
    (1..=text.len().min(3)).find(begins_one).unwrap_or(0)
}

/// Longer than any sequence that a terminal knows.
const LONGEST: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    /// The output for a stream, fed whole and byte by byte.
    fn sanitized(stream: &[u8]) -> Vec<u8> {
        let [whole, by_bytes] = [stream.len(), 1].map(|size| {
            let mut sanitizer = Sanitizer::new(80);
            let mut got = Vec::new();
            for piece in stream.chunks(size) {
                sanitizer.push(piece, |bytes| got.extend_from_slice(bytes));
            }
            got
        });
        assert_eq!(whole, by_bytes);
        whole
    }

    #[test]
    fn a_terminal_gets_all_but_strings_and_large_counts() {
        for stream in [
            "a\x1b[1;31mb\x1b[0m\x1b[?1049h\x1b7\x1b(B\x1b#8\x1bc\r\n\u{e9}",
            "\x1b[80@\x1b[@\x1b[12L\x1b[0T\x1b[999;999H\x1b[65535C",
        ] {
            assert_eq!(sanitized(stream.as_bytes()), stream.as_bytes());
        }
        for (stream, expected) in [
            (
                "a\x1b]0;title\x07b\x1bPq\x1b\\c\x1b]8;;x\x1b[1md",
                "abc\x1b[1md",
            ),
            (
                "\x1b[81@\x1b[65535L\x1b[99999999T",
                "\x1b[80@\x1b[80L\x1b[80T",
            ),
            ("\x1b[655\x0f35@\x1b[655\x7f35@", "\x1b[80@\x1b[80@"),
            ("\x1b[6\r5535@", "\r\x1b[80@"),
            ("\x1b[1\x18x\x1b\x1b[2my", "x\x1b[2my"),
        ] {
            assert_eq!(
                sanitized(stream.as_bytes()),
                expected.as_bytes(),
                "{stream:?}"
            );
        }
    }

    #[test]
    fn a_terminal_gets_every_character_whole() {
        let stream = "a\u{e9}b\u{e9}\u{4e2d}\u{1f600}".as_bytes();
        for cut in 0..=stream.len() {
            let mut sanitizer = Sanitizer::new(80);
            let mut got = String::new();
            for piece in [&stream[..cut], &stream[cut..]] {
                sanitizer.push(piece, |text| got.push_str(str::from_utf8(text).unwrap()));
            }
            assert_eq!(got.as_bytes(), stream, "{cut}");
        }
        assert_eq!(sanitized(b"\xe4\xb8\x1b[1m"), "\u{fffd}\x1b[1m".as_bytes());
        assert_eq!(sanitized(b"\xe4\xb8a\xff\xf0\x9f"), b"\xe4\xb8a\xff");
    }

    #[test]
    fn nothing_is_kept_of_what_never_ends() {
        for endless in ["\x1b]0;", "\x1bP", "\x1b[1"] {
            let mut sanitizer = Sanitizer::new(80);
            let nothing = |bytes: &[u8]| panic!("it got {bytes:?}");
            sanitizer.push(endless.as_bytes(), nothing);
            for _ in 0..1000 {
                sanitizer.push(&[b'1'; 1000], nothing);
            }
            assert!(
                sanitizer.pending.len() <= LONGEST,
                "{}",
                sanitizer.pending.len()
            );
        }
    }
}
