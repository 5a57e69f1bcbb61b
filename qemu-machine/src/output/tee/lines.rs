//! Splits a stream of pieces into whole lines.

/// Buffers a line until it is whole.
#[derive(Debug)]
pub(super) struct Lines {
    prefix: String,
    /// The prefix and the start of the line.
    buffer: Vec<u8>,
    /// Whether a part of the line was already written.
    is_rest: bool,
}

impl Lines {
    /// Starts each line with this prefix.
    pub(super) fn new(prefix: String) -> Self {
        Self {
            prefix,
            buffer: Vec::new(),
            is_rest: false,
        }
    }

    /// Passes each whole line to `each`, with its line feed. Stops at the first
    /// error.
    pub(super) fn push<E>(
        &mut self,
        bytes: &[u8],
        each: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            if self.buffer.is_empty() && !self.is_rest {
                self.buffer.extend_from_slice(self.prefix.as_bytes());
            }
            self.buffer.extend_from_slice(piece);
            let is_whole = piece.ends_with(b"\n");
            if is_whole || self.buffer.len() >= LINE_LIMIT {
                self.is_rest = !is_whole;
                let line = std::mem::take(&mut self.buffer);
                each(&line)?;
            }
        }
        Ok(())
    }

    /// Passes the start of the last line to `each`, and ends it.
    pub(super) fn end<E>(
        &mut self,
        each: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.buffer.is_empty() && !self.is_rest {
            return Ok(());
        }
        self.push(b"\n", each)
    }
}

/// A longer line is passed on in pieces.
const LINE_LIMIT: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(prefix: &str, pieces: &[&[u8]]) -> Vec<String> {
        let mut lines = Lines::new(prefix.to_owned());
        let mut written = Vec::new();
        let mut each = |line: &[u8]| {
            written.push(String::from_utf8_lossy(line).into_owned());
            Ok::<(), ()>(())
        };
        for piece in pieces {
            lines.push(piece, &mut each).unwrap();
        }
        lines.end(&mut each).unwrap();
        written
    }

    #[test]
    fn lines_are_whole_in_whatever_pieces_they_come() {
        let stream = b"one\r\n\ntwo\nlast";
        let expected = ["[a] one\r\n", "[a] \n", "[a] two\n", "[a] last\n"];
        for split in 0..=stream.len() {
            let (before, after) = stream.split_at(split);
            assert_eq!(lines("[a] ", &[before, after]), expected, "at {split}");
        }
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(lines("[a] ", &bytes), expected);
        assert_eq!(lines("", &[b"whole\n"]), ["whole\n"]);
        assert_eq!(lines("[a] ", &[]), [""; 0]);
    }

    #[test]
    fn a_line_without_end_is_not_kept() {
        let long = vec![b'x'; 3 * LINE_LIMIT];
        let pieces: Vec<&[u8]> = long.chunks(1000).collect();
        let written = lines("[a] ", &pieces);
        assert!(written.len() > 1 && written[0].starts_with("[a] x"));
        assert!(written[1..].iter().all(|piece| !piece.starts_with("[a]")));
        assert_eq!(written.concat().len(), "[a] \n".len() + long.len());
    }
}
