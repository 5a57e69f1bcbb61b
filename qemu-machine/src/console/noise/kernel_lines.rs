//! Lines that the Linux kernel prints on its console, in the midst of what
//! others write there.
//!
//! `printk` puts the time before each line (`CONFIG_PRINTK_TIME`): the seconds
//! since boot, in five columns or more, and a fraction, in brackets. A level
//! (`<6>`) may come before that, a caller (`[    T1]`) after it. The line goes
//! to the serial port at once, past what waits in the terminal's queue, so it
//! may begin anywhere.

use std::ops::ControlFlow;

/// Where in a kernel's line a stream is.
#[derive(Debug, Default)]
pub(super) struct KernelLines {
    place: Place,
    /// What has come of a line's beginning, until it can be told whether it is
    /// one; some 30 bytes at most.
    held: Vec<u8>,
}

#[derive(Debug, Clone, Copy, Default)]
enum Place {
    #[default]
    Text,
    /// After `<` and so many digits of a level.
    Level { digits: u8 },
    /// After `<6>`.
    LevelEnd,
    /// After `[` and so much of the seconds.
    Seconds { spaces: u8, digits: u8 },
    /// After their point.
    Fraction { digits: u8 },
    /// After the bracket: in a kernel's line, until its end.
    Line,
}

impl Place {
    /// Where the stream is after one more byte; `None` if that shows that no
    /// kernel's line has begun here.
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
            // Fewer than five digits have spaces before them: `[0.42]` is a
            // program's.
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
    /// Hands on what is in no kernel's line, as soon as that can be told.
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
                    self.held.push(byte);
                    if let Place::Line = next {
                        self.held.clear();
                    }
                    index += 1;
                }
                // The byte may begin another.
                (_, None) => self.finish(at + index as u64, &mut each)?,
            }
        }
        ControlFlow::Continue(())
    }

    /// What was held back, up to this place of the stream, begins no line.
    pub(super) fn finish<B>(
        &mut self,
        end: u64,
        mut each: impl FnMut(&[u8], u64) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        if self.held.is_empty() {
            return ControlFlow::Continue(());
        }
        self.place = Place::Text;
        let flow = each(&self.held, end - self.held.len() as u64);
        self.held.clear();
        flow
    }
}
