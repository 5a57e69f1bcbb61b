//! A console's log: every byte, optionally with the time before each line.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::output::LogFile;

#[derive(Debug)]
pub(crate) struct ConsoleLog {
    file: LogFile,
    stamps: Option<(Instant, Stamps)>,
}

impl ConsoleLog {
    /// Creates or truncates the file, or one beside it, as
    /// [`LogFile::create`] does. With `stamped_since`, the time that has passed
    /// since then stands before each line.
    pub(crate) fn create(path: &Path, stamped_since: Option<Instant>) -> io::Result<Self> {
        Ok(Self {
            file: LogFile::create(path)?,
            stamps: stamped_since.map(|since| (since, Stamps::default())),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Writes bytes that were read now.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        match &mut self.stamps {
            None => self.file.write(bytes),
            Some((since, stamps)) => self.file.write(&stamps.stamp(bytes, since.elapsed())),
        }
    }

    /// Why the log is incomplete; `None` if it is complete.
    pub(crate) fn write_error(&self) -> Option<String> {
        self.file.write_error()
    }
}

/// Puts the time before each line of a stream that comes in pieces.
#[derive(Debug, Default)]
struct Stamps {
    within_line: bool,
}

impl Stamps {
    fn stamp(&mut self, piece: &[u8], time: Duration) -> Vec<u8> {
        let stamp = format!("[{:5}.{:06}] ", time.as_secs(), time.subsec_micros());
        let mut stamped = Vec::with_capacity(piece.len() + stamp.len());
        for part in piece.split_inclusive(|&byte| byte == b'\n') {
            if !self.within_line {
                stamped.extend_from_slice(stamp.as_bytes());
            }
            stamped.extend_from_slice(part);
            self.within_line = !part.ends_with(b"\n");
        }
        stamped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_has_one_time_in_whatever_pieces_it_comes() {
        let text = "one\r\n\r\nthree\rpart \x1b[1m\n> ";
        let second = Duration::from_micros(1_234_567);
        let whole = "[    1.234567] one\r\n[    1.234567] \r\n\
                     [    1.234567] three\rpart \x1b[1m\n[    1.234567] > ";
        for size in 1..=text.len() {
            let mut stamps = Stamps::default();
            let pieces = text.as_bytes().chunks(size);
            let stamped: Vec<u8> = pieces.flat_map(|it| stamps.stamp(it, second)).collect();
            assert_eq!(String::from_utf8(stamped).unwrap(), whole, "by {size}");
        }
    }

    #[test]
    fn a_line_has_the_time_of_its_first_byte() {
        let mut stamps = Stamps::default();
        let mut at = |piece: &str, seconds| {
            let stamped = stamps.stamp(piece.as_bytes(), Duration::from_secs(seconds));
            String::from_utf8(stamped).unwrap()
        };
        assert_eq!(at("a", 1), "[    1.000000] a");
        assert_eq!(at("b\r", 2), "b\r");
        assert_eq!(at("\n", 3), "\n");
        assert_eq!(at("c\nd", 123_456), "[123456.000000] c\n[123456.000000] d");
    }
}
