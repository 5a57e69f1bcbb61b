//! Escape sequences of ECMA-48 and xterm's `ctlseqs`: control sequences (colours,
//! cursor), strings (titles, links), and short ones.

use std::ops::ControlFlow;

/// The stream's position in an escape sequence.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::console) enum Escapes {
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// After ESC and an intermediate byte, which selects a set of sequences.
    Intermediate,
    /// After `ESC [`: parameters, until a final byte.
    Control,
    /// After `ESC ]` and the like: any text, until its terminator.
    String,
    /// After an ESC in a string, which ends it.
    StringEscape,
}

impl Escapes {
    /// Passes on the bytes outside escape sequences. It never holds bytes back:
    /// ESC always begins a sequence.
    pub(super) fn push<B>(
        &mut self,
        run: &[u8],
        at: u64,
        each: &mut impl FnMut(&[u8], u64) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let mut index = 0;
        while let Some(&byte) = run.get(index) {
            let start = index;
            let mut is_text = true;
            index += self.text(&run[start..]);
            if index == start {
                (*self, is_text) = self.next(byte);
                index += 1;
            }
            if is_text {
                each(&run[start..index], at + start as u64)?;
            }
        }
        ControlFlow::Continue(())
    }

    /// How many of the next bytes are certainly text.
    pub(in crate::console) fn text(self, rest: &[u8]) -> usize {
        let Self::Text = self else {
            return 0;
        };
        // The shifts between character sets belong to the sequences that select
        // the sets: `sgr0` of many terminals ends with a shift.
        memchr::memchr3(ESCAPE, SHIFT_OUT, SHIFT_IN, rest).unwrap_or(rest.len())
    }

    /// Whether this byte ends a sequence that is no string.
    pub(in crate::console) fn ends_by(self, byte: u8) -> bool {
        match self {
            Self::Text | Self::String => false,
            Self::StringEscape => matches!(byte, b'0'..=b'~') && byte != b'\\',
            Self::Escape | Self::Intermediate | Self::Control => matches!(byte, b'0'..=b'~'),
        }
    }

    /// The position after one more byte, and whether that byte is text.
    pub(in crate::console) fn next(self, byte: u8) -> (Self, bool) {
        match (self, byte) {
            (_, SHIFT_OUT | SHIFT_IN) => (self, false),
            (Self::String, ESCAPE) => (Self::StringEscape, false),
            (_, ESCAPE) => (Self::Escape, false),
            (Self::Text, _) => (Self::Text, true),
            (Self::String, BELL) | (Self::StringEscape, b'\\') | (_, CANCEL | SUBSTITUTE) => {
                (Self::Text, false)
            }
            // A string without an end hides only the rest of its line.
            (Self::String, b'\r' | b'\n') => (Self::Text, true),
            (Self::String, _)
            | (Self::Escape | Self::StringEscape, b']' | b'P' | b'X' | b'^' | b'_') => {
                (Self::String, false)
            }
            (Self::Escape | Self::StringEscape, b'[') | (Self::Control, b' '..=b'?') => {
                (Self::Control, false)
            }
            (_, b' '..=b'/') => (Self::Intermediate, false),
            // The final byte.
            (_, b'0'..=b'~') => (Self::Text, false),
            // A deletion means nothing. A terminal obeys other control characters
            // inside a sequence.
            (_, DELETE) => (self, false),
            (_, ..b' ') => (self, true),
            (_, 0x80..) => (Self::Text, true),
        }
    }
}

const BELL: u8 = 0x07;
const SHIFT_OUT: u8 = 0x0e;
const SHIFT_IN: u8 = 0x0f;
const CANCEL: u8 = 0x18;
const SUBSTITUTE: u8 = 0x1a;
const ESCAPE: u8 = 0x1b;
const DELETE: u8 = 0x7f;
