//! Escape sequences, as ECMA-48 and xterm's `ctlseqs` have them: control
//! sequences (colours, cursor), strings (titles, links), and the short ones.

use std::ops::ControlFlow;

/// Where in an escape sequence a stream is.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::console) enum Escapes {
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// After ESC and what says which set of sequences it is of.
    Intermediate,
    /// After `ESC [`: parameters, until a final byte.
    Control,
    /// After `ESC ]` and the like: any text, until its terminator.
    String,
    /// After an ESC in a string, which ends it.
    StringEscape,
}

impl Escapes {
    /// Hands on what is in no escape sequence. Nothing is ever held back: ESC
    /// itself tells that it begins one.
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

    /// How many of the next bytes are text, as far as that can be told at once.
    pub(in crate::console) fn text(self, rest: &[u8]) -> usize {
        let Self::Text = self else {
            return 0;
        };
        // The shifts between character sets go with the sequences that choose
        // these: `sgr0` of many terminals ends with one.
        memchr::memchr3(ESCAPE, SHIFT_OUT, SHIFT_IN, rest).unwrap_or(rest.len())
    }

    /// Whether this byte is the last of a sequence, and no string's.
    pub(in crate::console) fn ends_by(self, byte: u8) -> bool {
        match self {
            Self::Text | Self::String => false,
            Self::StringEscape => matches!(byte, b'0'..=b'~') && byte != b'\\',
            Self::Escape | Self::Intermediate | Self::Control => matches!(byte, b'0'..=b'~'),
        }
    }

    /// Where the stream is after one more byte, and whether that byte stands
    /// for itself.
    pub(in crate::console) fn next(self, byte: u8) -> (Self, bool) {
        match (self, byte) {
            (_, SHIFT_OUT | SHIFT_IN) => (self, false),
            (Self::String, ESCAPE) => (Self::StringEscape, false),
            (_, ESCAPE) => (Self::Escape, false),
            (Self::Text, _) => (Self::Text, true),
            (Self::String, BELL) | (Self::StringEscape, b'\\') | (_, CANCEL | SUBSTITUTE) => {
                (Self::Text, false)
            }
            // A string that was cut short costs no more than its line.
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
            // A deletion means nothing, and other control characters are obeyed
            // in the midst of a sequence.
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
