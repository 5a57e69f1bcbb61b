//! Lines that the Linux kernel prints on its console, in the middle of other
//! output.
//!
//! `printk` puts the time before each line (`CONFIG_PRINTK_TIME`), in brackets:
//! the seconds since boot, in at least five columns, and a fraction. A level
//! (`<6>`) may come before that, a caller (`[    T1]`) after it. The line goes to
//! the serial port at once, before the bytes in the terminal's queue. So it may
//! begin anywhere.

use std::ops::ControlFlow;

/// The stream's position in a kernel's line.
#[derive(Debug, Default)]
pub(super) struct KernelLines {
    place: Place,
    /// Bytes that may begin a kernel's line, until the next ones decide; at most
    /// some 30 bytes.
    pending: Vec<u8>,
}

#[derive(Debug, Clone, Copy, Default)]
enum Place {
    #[default]
    Text,
    /// After `<` and this number of digits of a level.
    Level { digits: u8 },
    /// After `<6>`.
    LevelEnd,
    /// After `[` and this part of the seconds.
    Seconds { spaces: u8, digits: u8 },
    /// After the point of the seconds.
    Fraction { digits: u8 },
    /// After the bracket: inside a kernel's line, until its end.
    Line,
}

impl Place {
    /// The position after one more byte; `None` if that shows that these bytes
    /// begin no kernel's line.
    fn next(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Text, b'<') => Self::Level { digits: 0 },
            (Self::Text | Self::LevelEnd, b'[') => Self::Seconds {
                spaces: 0,
                digits: 0,
            },
            (
                Self::Level {
                    digits: digits @ ..3,
                },
                b'0'..=b'9',
            ) => Self::Level { digits: digits + 1 },
            (Self::Level { digits: 1.. }, b'>') => Self::LevelEnd,
            (
                Self::Seconds {
                    spaces: spaces @ ..4,
                    digits: 0,
                },
                b' ',
            ) => Self::Seconds {
                spaces: spaces + 1,
                digits: 0,
            },
            (
                Self::Seconds {
                    spaces,
                    digits: digits @ ..10,
                },
                b'0'..=b'9',
            ) => Self::Seconds {
                spaces,
                digits: digits + 1,
            },
            // The kernel puts spaces before fewer than five digits, so `[0.42]`
            // comes from a program.
            (
                Self::Seconds {
                    spaces: 1..,
                    digits: 1..,
                }
                | Self::Seconds { digits: 5.., .. },
                b'.',
            ) => Self::Fraction { digits: 0 },
            (
                Self::Fraction {
                    digits: digits @ ..9,
                },
                b'0'..=b'9',
            ) => Self::Fraction { digits: digits + 1 },
            (Self::Fraction { digits: 1.. }, b']') => Self::Line,
            _ => return None,
        })
    }
}

impl KernelLines {
    /// Passes on the bytes outside kernel's lines, as soon as that is certain.
    pub(super) fn push<B>(
        &mut self,
        piece: &[u8],
        at: u64,
        mut each: impl FnMut(&[u8], u64) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let mut index = 0;
        while let Some(&byte) = piece.get(index) {
            let rest = &piece[index..];
            match (self.place, self.place.next(byte)) {
                (Place::Line, _) => {
                    let end = memchr::memchr(b'\n', rest);
                    if end.is_some() {
                        self.place = Place::Text;
                    }
                    index += end.map_or(rest.len(), |end| end + 1);
                }
                (Place::Text, None) => {
                    let text = memchr::memchr2(b'<', b'[', rest);
                    let count = text.unwrap_or(rest.len());
                    each(&rest[..count], at + index as u64)?;
                    index += count;
                }
                (_, Some(next)) => {
                    self.place = next;
                    self.pending.push(byte);
                    if let Place::Line = next {
                        self.pending.clear();
                    }
                    index += 1;
                }
                // The byte may begin another line.
                (_, None) => self.finish(at + index as u64, &mut each)?,
            }
        }
        ControlFlow::Continue(())
    }

    /// Passes on the bytes that were held back, up to this position of the stream:
    /// they begin no kernel's line.
    pub(super) fn finish<B>(
        &mut self,
        end: u64,
        mut each: impl FnMut(&[u8], u64) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        if self.pending.is_empty() {
            return ControlFlow::Continue(());
        }
        self.place = Place::Text;
        let flow = each(&self.pending, end - self.pending.len() as u64);
        self.pending.clear();
        flow
    }
}
