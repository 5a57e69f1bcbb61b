//! Cuts a client's stream into JSON values, as QEMU does: a value ends with its
//! last bracket, with or without a line end after it.
//!
//! Pure. It only counts brackets outside of strings; the parser of a value finds
//! what else is wrong. Never keeps more than the limit.

/// A stream that comes in pieces.
#[derive(Debug)]
pub(super) struct JsonStream {
    partial: Vec<u8>,
    place: Place,
    limit_bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Between,
    /// After a value that was too large.
    Over,
    /// In a word that no bracket encloses, such as a number.
    Word,
    Brackets {
        depth: usize,
    },
    Text {
        depth: usize,
        escaped: bool,
    },
}

/// What the stream has next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// A value, or what stands in its place.
    Value(Vec<u8>),
    /// The byte 0xFF, which makes the reader forget the value that has not ended.
    Sentinel,
    /// A value is longer than the limit, or too deep. Nothing follows.
    TooLarge,
}

impl JsonStream {
    pub(super) fn new(limit_bytes: usize) -> Self {
        Self {
            partial: Vec::new(),
            place: Place::Between,
            limit_bytes,
        }
    }

    /// Receives bytes, and returns the pieces that end in them.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> Vec<Piece> {
        let mut pieces = Vec::new();
        for &byte in bytes {
            self.byte(byte, &mut pieces);
        }
        pieces
    }

    fn byte(&mut self, byte: u8, pieces: &mut Vec<Piece>) {
        if self.place == Place::Over {
            return;
        }
        if byte == SENTINEL {
            self.partial = Vec::new();
            self.place = Place::Between;
            pieces.push(Piece::Sentinel);
            return;
        }
        let place = match (self.place, byte) {
            (Place::Between, _) if byte.is_ascii_whitespace() => return,
            (Place::Word, _) if byte.is_ascii_whitespace() => {
                self.end(pieces);
                return;
            }
            // A word has ended, and something else begins.
            (Place::Word, b'{' | b'[') => {
                self.end(pieces);
                Place::Brackets { depth: 1 }
            }
            (Place::Between, b'{' | b'[') => Place::Brackets { depth: 1 },
            (Place::Between | Place::Word, b'"') => Place::Text {
                depth: 0,
                escaped: false,
            },
            (Place::Between | Place::Word, _) => Place::Word,
            (Place::Brackets { depth }, b'{' | b'[') => Place::Brackets { depth: depth + 1 },
            (Place::Brackets { depth }, b'}' | b']') => Place::Brackets { depth: depth - 1 },
            (Place::Brackets { depth }, b'"') => Place::Text {
                depth,
                escaped: false,
            },
            (Place::Brackets { .. } | Place::Over, _) => self.place,
            (Place::Text { depth, escaped }, _) => match byte {
                // A text cannot contain a line end: its quotation mark is missing.
                b'\n' => {
                    self.end(pieces);
                    return;
                }
                b'"' if !escaped => outside(depth),
                _ => Place::Text {
                    depth,
                    escaped: byte == b'\\' && !escaped,
                },
            },
        };
        self.place = place;
        // A line end within a value becomes a blank, so that the value can be
        // forwarded as one line.
        let is_line_end = matches!(byte, b'\n' | b'\r');
        self.partial.push(if is_line_end { b' ' } else { byte });
        match place {
            Place::Brackets { depth: 0 } => self.end(pieces),
            Place::Brackets { depth } if depth > DEPTH => self.refuse(pieces),
            _ if self.partial.len() > self.limit_bytes => self.refuse(pieces),
            _ => {}
        }
    }

    fn refuse(&mut self, pieces: &mut Vec<Piece>) {
        self.partial = Vec::new();
        self.place = Place::Over;
        pieces.push(Piece::TooLarge);
    }

    fn end(&mut self, pieces: &mut Vec<Piece>) {
        self.place = Place::Between;
        pieces.push(Piece::Value(std::mem::take(&mut self.partial)));
    }
}

/// The place after a text.
fn outside(depth: usize) -> Place {
    match depth {
        0 => Place::Word,
        depth => Place::Brackets { depth },
    }
}

/// The guest agent's dialect has it; it is in no UTF-8.
pub(super) const SENTINEL: u8 = 0xff;

/// The depth that QEMU accepts.
const DEPTH: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &[u8]) -> Vec<String> {
        let value = |piece| match piece {
            Piece::Value(bytes) => String::from_utf8(bytes).unwrap(),
            Piece::Sentinel => "sentinel".to_owned(),
            Piece::TooLarge => "too large".to_owned(),
        };
        let whole: Vec<String> = JsonStream::new(100)
            .receive(text)
            .into_iter()
            .map(value)
            .collect();
        // In pieces of any size it is the same.
        for size in 1..text.len() {
            let mut stream = JsonStream::new(100);
            let pieces = text.chunks(size).flat_map(|it| stream.receive(it));
            assert_eq!(pieces.map(value).collect::<Vec<_>>(), whole, "by {size}");
        }
        whole
    }

    #[test]
    fn a_value_ends_with_its_last_bracket_wherever_its_lines_end() {
        let text = b"{\"a\":\n{\"b\":[1,\r\n2]}} {\"c\":\"}\\\"{\\\\\"}[3]\n";
        let expected = ["{\"a\": {\"b\":[1,  2]}}", "{\"c\":\"}\\\"{\\\\\"}", "[3]"];
        assert_eq!(values(text), expected);
    }

    #[test]
    fn what_is_no_object_is_passed_on_to_be_refused() {
        assert_eq!(
            values(b"foo\n 12 \"a b\" {}"),
            ["foo", "12", "\"a b\"", "{}"]
        );
        assert_eq!(values(b"}\n{}"), ["}", "{}"]);
        assert_eq!(values(b"x{}"), ["x", "{}"]);
        // The mark that ends a text is missing: only that line is lost.
        assert_eq!(values(b"{\"a\n{}\n"), ["{\"a", "{}"]);
        // A wrong bracket ends a value too.
        assert_eq!(values(b"{\"a\":\n]\n{}"), ["{\"a\": ]", "{}"]);
    }

    #[test]
    fn a_sentinel_drops_what_has_not_ended() {
        assert_eq!(values(b"{\"a\":\xff{}"), ["sentinel", "{}"]);
        assert_eq!(
            values(b"{\"a\":\"\xff\xff[]"),
            ["sentinel", "sentinel", "[]"]
        );
    }

    #[test]
    fn what_never_ends_is_refused_at_the_limit() {
        assert_eq!(values(&[b'x'; 200]), ["too large"]);
        let deep = vec![b'['; DEPTH + 10];
        let pieces = JsonStream::new(1 << 20).receive(&deep);
        assert_eq!(pieces, [Piece::TooLarge]);
    }
}
