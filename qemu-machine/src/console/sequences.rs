//! Splits a stream of bytes into text and whole escape sequences (ECMA-48, and
//! xterm's `ctlseqs`). The stream may come in any pieces.

/// A part of the stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// Characters, with control characters.
    Text(&'a [u8]),
    /// A whole escape sequence.
    Sequence(&'a [u8]),
    /// An interrupted escape sequence, or a part of a sequence that is too long
    /// to be kept.
    Fragment(&'a [u8]),
}

/// Holds back the beginning of a sequence until it is whole.
#[derive(Debug, Default)]
pub(super) struct Sequences {
    state: State,
    pending: Vec<u8>,
    /// A part of the sequence was passed on before.
    is_fragment: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// After ESC and an intermediate byte.
    Intermediate,
    /// After `ESC [`.
    Control,
    /// After `ESC ]`, which BEL ends too.
    Command,
    /// After `ESC P` and the like.
    String,
    /// After an ESC within a string.
    StringEscape,
}

impl Sequences {
    /// Reads a piece, and passes on the parts that are whole.
    pub(super) fn push(&mut self, bytes: &[u8], each: &mut impl FnMut(Part<'_>)) {
        let mut rest = bytes;
        while let Some(&byte) = rest.first() {
            if self.state == State::Text {
                let count = memchr::memchr(ESCAPE, rest).unwrap_or(rest.len());
                if count > 0 {
                    each(Part::Text(&rest[..count]));
                    rest = &rest[count..];
                    continue;
                }
            }
            rest = &rest[1..];
            self.step(byte, each);
            if self.pending.len() >= PENDING_LIMIT {
                self.is_fragment = true;
                each(Part::Fragment(&self.pending));
                self.pending.clear();
            }
        }
    }

    /// Whether the stream is inside a sequence.
    pub(super) fn is_within(&self) -> bool {
        self.state != State::Text
    }

    /// Takes the beginning of an incomplete sequence, and starts again as text.
    pub(super) fn take_pending(&mut self) -> Vec<u8> {
        std::mem::take(self).pending
    }

    #[allow(clippy::match_same_arms)] // One for each kind of sequence.
    fn step(&mut self, byte: u8, each: &mut impl FnMut(Part<'_>)) {
        use State::{Command, Control, Escape, Intermediate, String, StringEscape, Text};
        match (self.state, byte) {
            (StringEscape, b'\\') => self.finish(byte, true, each),
            // Another ESC ends a string, and interrupts any other sequence.
            (StringEscape, _) => {
                self.pending.pop();
                self.pass_on(true, each);
                self.begin();
                self.step(byte, each);
            }
            (Text, ESCAPE) => self.begin(),
            // Alone, the byte belongs to no sequence.
            (Text, _) => each(Part::Text(&[byte])),
            (Command | String, ESCAPE) => self.keep(byte, StringEscape),
            (_, ESCAPE) => {
                self.pass_on(false, each);
                self.begin();
            }
            (_, CANCEL | SUBSTITUTE) => self.finish(byte, false, each),
            (Command, BELL) => self.finish(byte, true, each),
            (Command | String, _) => self.keep(byte, self.state),
            // A control character acts as if it came before the sequence.
            (state, 0..=0x1f | 0x7f) => self.keep(byte, state),
            (_, 0x80..) => self.finish(byte, false, each),
            (Escape, b'[') => self.keep(byte, Control),
            (Escape, b']') => self.keep(byte, Command),
            (Escape, b'P' | b'X' | b'^' | b'_') => self.keep(byte, String),
            (Escape | Intermediate, 0x20..=0x2f) => self.keep(byte, Intermediate),
            (Control, 0x20..=0x3f) => self.keep(byte, Control),
            (Escape | Intermediate | Control, _) => self.finish(byte, true, each),
        }
    }

    fn begin(&mut self) {
        self.keep(ESCAPE, State::Escape);
    }

    fn keep(&mut self, byte: u8, state: State) {
        self.pending.push(byte);
        self.state = state;
    }

    fn finish(&mut self, byte: u8, whole: bool, each: &mut impl FnMut(Part<'_>)) {
        self.pending.push(byte);
        self.pass_on(whole, each);
    }

    fn pass_on(&mut self, whole: bool, each: &mut impl FnMut(Part<'_>)) {
        let whole = whole && !self.is_fragment;
        each(if whole {
            Part::Sequence(&self.pending)
        } else {
            Part::Fragment(&self.pending)
        });
        self.pending.clear();
        self.is_fragment = false;
        self.state = State::Text;
    }
}

/// The parts of a control sequence (`ESC [ … `).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ControlSequence {
    /// `?`, `>`, `=` or `<`, if the sequence begins with one.
    pub(super) marker: Option<u8>,
    /// The bytes before the intermediate bytes.
    pub(super) parameters: String,
    pub(super) intermediates: String,
    pub(super) last: u8,
}

impl ControlSequence {
    /// Parses a sequence; `None` if it is of another kind.
    pub(super) fn of(sequence: &[u8]) -> Option<Self> {
        let body = sequence.strip_prefix(b"\x1b[")?;
        let body = body.iter().copied();
        let mut body: Vec<u8> = body.filter(|byte| (0x20..0x7f).contains(byte)).collect();
        let last = body.pop()?;
        let marker = body.first().copied();
        let marker = marker.filter(|byte| (b'<'..=b'?').contains(byte));
        let body = &body[usize::from(marker.is_some())..];
        let is_intermediate = |byte: &u8| *byte < 0x30;
        let end = body.iter().position(is_intermediate).unwrap_or(body.len());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Some(Self {
            marker,
            parameters: text(&body[..end]),
            intermediates: text(&body[end..]),
            last,
        })
    }

    /// The parameters as numbers; 0 for a missing or invalid number.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u16> {
        self.parameters.split(';').map(|it| it.parse().unwrap_or(0))
    }

    pub(super) fn first_number(&self) -> u16 {
        self.numbers().next().unwrap_or(0)
    }
}

const ESCAPE: u8 = 0x1b;
const BELL: u8 = 0x07;
const CANCEL: u8 = 0x18;
const SUBSTITUTE: u8 = 0x1a;

/// The longest sequence that is passed on as one part.
const PENDING_LIMIT: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(pieces: &[&[u8]]) -> Vec<(char, String)> {
        let mut sequences = Sequences::default();
        let mut parts: Vec<(char, String)> = Vec::new();
        for piece in pieces {
            sequences.push(piece, &mut |part| {
                let (kind, bytes) = match part {
                    Part::Text(bytes) => ('t', bytes),
                    Part::Sequence(bytes) => ('s', bytes),
                    Part::Fragment(bytes) => ('f', bytes),
                };
                let text = bytes.escape_ascii().to_string();
                match parts.last_mut() {
                    Some((last, before)) if *last == kind && kind == 't' => before.push_str(&text),
                    _ => parts.push((kind, text)),
                }
            });
        }
        parts
    }

    #[test]
    fn a_stream_is_cut_alike_wherever_it_is_split() {
        let stream = b"a\x1b[1;31mb\x1b]0;title\x07c\x1b(0d\x1bP$qm\x1b\\e\x1b[12\x1b[5nf\
            \x1b[\x18g\x1b]0;x\x1b[0mh\x1b=i\x1b[6\nnj\x1b_Gx\x07y\x1b\\k";
        let whole = parts(&[stream]);
        let found_parts: Vec<String> = whole
            .iter()
            .map(|(kind, it)| format!("{kind}{it}"))
            .collect();
        assert_eq!(
            found_parts.join(" "),
            "ta s\\x1b[1;31m tb s\\x1b]0;title\\x07 tc s\\x1b(0 td s\\x1bP$qm\\x1b\\\\ te \
             f\\x1b[12 s\\x1b[5n tf f\\x1b[\\x18 tg s\\x1b]0;x s\\x1b[0m th s\\x1b= ti \
             s\\x1b[6\\nn tj s\\x1b_Gx\\x07y\\x1b\\\\ tk"
        );
        for split in 0..=stream.len() {
            let (before, after) = stream.split_at(split);
            assert_eq!(parts(&[before, after]), whole, "at {split}");
        }
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(parts(&bytes), whole);
    }

    #[test]
    fn what_never_ends_is_handed_on_and_not_kept() {
        let long = [
            b"\x1b]0;".as_slice(),
            &[b'x'; 3 * PENDING_LIMIT],
            b"\x07text",
        ]
        .concat();
        let parts = parts(&[&long]);
        let total: usize = parts.iter().map(|(_, text)| text.len()).sum();
        assert!(total >= long.len());
        assert!(parts.iter().all(|(kind, _)| *kind != 's'));
        assert_eq!(parts.last().unwrap(), &('t', "text".to_owned()));
    }

    #[test]
    fn a_control_sequence_is_taken_apart() {
        let of = |sequence: &str| ControlSequence::of(sequence.as_bytes());
        let mode = of("\x1b[?25;7$p").unwrap();
        assert_eq!(
            (mode.marker, mode.intermediates.as_str(), mode.last),
            (Some(b'?'), "$", b'p')
        );
        assert_eq!(mode.numbers().collect::<Vec<_>>(), [25, 7]);
        assert_eq!(of("\x1b[m").unwrap().first_number(), 0);
        assert_eq!(of("\x1bc"), None);
    }
}
