//! What a terminal is spared of a stream: what shows nothing and costs much.
//!
//! `vt100` keeps a string (a title, a link) of any length until it ends, and
//! inserts as many cells or lines as it is told, however few there are. Of a
//! flood of either, a guest's console would fill the memory or stall the engine.

use crate::console::noise::Escapes;

/// Takes strings out of a stream, and makes large counts small ones.
#[derive(Debug)]
pub(super) struct Tame {
    place: Escapes,
    /// What has come of a sequence.
    held: Vec<u8>,
    most: u16,
}

impl Tame {
    /// For a terminal that has `most` rows or columns.
    pub(super) fn new(most: u16) -> Self {
        Self {
            place: Escapes::default(),
            held: Vec::new(),
            most,
        }
    }

    /// Hands on what the terminal shall get, sequences whole.
    pub(super) fn push(&mut self, bytes: &[u8], mut terminal: impl FnMut(&[u8])) {
        let mut rest = bytes;
        while let Some((&byte, after)) = rest.split_first() {
            let text = self.place.text(rest);
            if text > 0 {
                terminal(&rest[..text]);
                rest = &rest[text..];
                continue;
            }
            rest = after;
            let (next, is_text) = self.place.next(byte);
            match next {
                // A terminal obeys it at once, in the midst of a sequence.
                _ if is_text => terminal(&[byte]),
                Escapes::Escape | Escapes::StringEscape => {
                    self.held.clear();
                    self.held.push(byte);
                }
                Escapes::Text if self.place.ends_by(byte) => {
                    self.held.push(byte);
                    terminal(&self.bounded());
                }
                Escapes::Text | Escapes::String => {}
                Escapes::Intermediate | Escapes::Control => {
                    if matches!(byte, b' '..=b'~') && self.held.len() < LONGEST {
                        self.held.push(byte);
                    }
                }
            }
            self.place = next;
        }
    }

    /// The sequence that has come, with no larger count than makes sense.
    fn bounded(&self) -> Vec<u8> {
        if let [b'\x1b', b'[', count @ .., last @ (b'@' | b'L' | b'T')] = self.held.as_slice() {
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
        self.held.clone()
    }
}

/// Longer than any sequence that a terminal knows.
const LONGEST: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    /// What the terminal gets of a stream, whole and byte by byte.
    fn tamed(stream: &[u8]) -> Vec<u8> {
        let [whole, by_bytes] = [stream.len(), 1].map(|size| {
            let mut tame = Tame::new(80);
            let mut got = Vec::new();
            for piece in stream.chunks(size) {
                tame.push(piece, |bytes| got.extend_from_slice(bytes));
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
            assert_eq!(tamed(stream.as_bytes()), stream.as_bytes());
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
            assert_eq!(tamed(stream.as_bytes()), expected.as_bytes(), "{stream:?}");
        }
    }

    #[test]
    fn nothing_is_kept_of_what_never_ends() {
        for endless in ["\x1b]0;", "\x1bP", "\x1b[1"] {
            let mut tame = Tame::new(80);
            let nothing = |bytes: &[u8]| panic!("it got {bytes:?}");
            tame.push(endless.as_bytes(), nothing);
            for _ in 0..1000 {
                tame.push(&[b'1'; 1000], nothing);
            }
            assert!(tame.held.len() <= LONGEST, "{}", tame.held.len());
        }
    }
}
