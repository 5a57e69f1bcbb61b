//! Splits received bytes into lines.
//!
//! QEMU ends every message with CRLF, and a message contains no line end
//! (`docs/interop/qmp-spec`, "General Definitions"; the monitor's `pretty` option
//! is not for programs). A line that is complete in the received bytes is passed
//! on without a copy.
//!
//! Never keeps more than the limit and one received chunk.

use memchr::memchr;

/// The start of a line whose end has not come yet.
#[derive(Debug)]
pub(super) struct Frames {
    partial: Vec<u8>,
    limit_bytes: usize,
}

/// A line is longer than the limit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LineTooLong;

impl Frames {
    pub(super) fn new(limit_bytes: usize) -> Self {
        Self {
            partial: Vec::new(),
            limit_bytes,
        }
    }

    /// Calls `each` with every line that ends in `bytes`, without its line end,
    /// until one call fails. Blank lines are skipped.
    pub(super) fn split<E: From<LineTooLong>>(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(end) = memchr(b'\n', bytes) {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            bytes = rest;
            if self.partial.len() + line.len() > self.limit_bytes {
                return Err(LineTooLong.into());
            }
            if self.partial.is_empty() {
                deliver(line, &mut each)?;
            } else {
                self.partial.extend_from_slice(line);
                let whole = std::mem::take(&mut self.partial);
                deliver(&whole, &mut each)?;
            }
        }
        if self.partial.len() + bytes.len() > self.limit_bytes {
            return Err(LineTooLong.into());
        }
        self.partial.extend_from_slice(bytes);
        Ok(())
    }
}

fn deliver<E>(line: &[u8], each: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
    let line = line.trim_ascii();
    if line.is_empty() { Ok(()) } else { each(line) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(frames: &mut Frames, bytes: &[u8]) -> Result<Vec<String>, LineTooLong> {
        let mut lines = Vec::new();
        frames.split(bytes, |line| {
            lines.push(String::from_utf8_lossy(line).into_owned());
            Ok(())
        })?;
        Ok(lines)
    }

    #[test]
    fn a_line_in_pieces_is_put_together() {
        let mut frames = Frames::new(100);
        assert_eq!(lines(&mut frames, b"ab"), Ok(vec![]));
        assert_eq!(lines(&mut frames, b"c\r"), Ok(vec![]));
        assert_eq!(
            lines(&mut frames, b"\nde\nf"),
            Ok(vec!["abc".into(), "de".into()])
        );
        assert_eq!(lines(&mut frames, b"\r\n\r\n"), Ok(vec!["f".into()]));
    }

    #[test]
    fn a_line_past_the_limit_is_refused_before_it_ends() {
        let mut frames = Frames::new(4);
        assert_eq!(lines(&mut frames, b"abcd\n"), Ok(vec!["abcd".into()]));
        assert_eq!(lines(&mut frames, b"abc"), Ok(vec![]));
        assert_eq!(lines(&mut frames, b"de"), Err(LineTooLong));
    }
}
