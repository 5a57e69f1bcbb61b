//! The noise that a search skips: escape sequences, and the kernel's lines in
//! the middle of other output.
//!
//! A filter stands between the stream and a search. It passes runs of bytes on,
//! each with its position in the stream. So a match in the remaining bytes still
//! has an end in the stream itself.
//!
//! Pure: the result does not depend on the pieces in which bytes come.

mod escapes;
mod kernel_lines;

use std::ops::ControlFlow;

pub(super) use escapes::Escapes;
use kernel_lines::KernelLines;

use crate::spec::Noise;

/// A stream without its noise.
#[derive(Debug)]
pub(super) struct Filter {
    kernel_lines: Option<KernelLines>,
    escapes: Option<Escapes>,
    /// How much of the stream was read.
    position: u64,
}

impl Filter {
    /// Reads a stream from this position on.
    pub(super) fn new(noise: Noise, from: u64) -> Self {
        Self {
            kernel_lines: noise.kernel_lines.then(KernelLines::default),
            escapes: noise.escapes.then(Escapes::default),
            position: from,
        }
    }

    /// Reads the next piece. Passes on the bytes that are no noise, in runs of the
    /// stream, each with its position.
    pub(super) fn push<B>(
        &mut self,
        piece: &[u8],
        mut each: impl FnMut(&[u8], u64) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let at = self.position;
        self.position += piece.len() as u64;
        // A kernel's line may come inside an escape sequence, but not the other
        // way round: the kernel's lines overtake the terminal's queue.
        let Some(kernel_lines) = &mut self.kernel_lines else {
            return past_escapes(&mut self.escapes, piece, at, &mut each);
        };
        let escapes = &mut self.escapes;
        kernel_lines.push(piece, at, |run, at| {
            past_escapes(escapes, run, at, &mut each)
        })
    }

    /// Ends the stream: bytes that were held back begin no kernel's line.
    pub(super) fn finish<B>(
        &mut self,
        mut each: impl FnMut(&[u8], u64) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let escapes = &mut self.escapes;
        match &mut self.kernel_lines {
            Some(kernel_lines) => kernel_lines.finish(self.position, |run, at| {
                past_escapes(escapes, run, at, &mut each)
            }),
            None => ControlFlow::Continue(()),
        }
    }
}

fn past_escapes<B>(
    escapes: &mut Option<Escapes>,
    run: &[u8],
    at: u64,
    each: &mut impl FnMut(&[u8], u64) -> ControlFlow<B>,
) -> ControlFlow<B> {
    match escapes {
        Some(escapes) => escapes.push(run, at, each),
        None => each(run, at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Noise = Noise {
        escapes: true,
        kernel_lines: true,
    };
    const ESCAPES: Noise = Noise {
        escapes: true,
        kernel_lines: false,
    };
    const KERNEL_LINES: Noise = Noise {
        escapes: false,
        kernel_lines: true,
    };

    /// The remaining text of a stream in these pieces, before its end and with
    /// it.
    fn filtered(noise: Noise, stream: &[u8], pieces: &[&[u8]]) -> (String, String) {
        let mut text = Vec::new();
        let mut filter = Filter::new(noise, 100);
        let mut keep = |run: &[u8], at: u64| {
            let start = usize::try_from(at).unwrap() - 100;
            assert_eq!(&stream[start..start + run.len()], run, "not where it is");
            text.extend_from_slice(run);
            ControlFlow::<()>::Continue(())
        };
        for piece in pieces {
            assert!(filter.push(piece, &mut keep).is_continue());
        }
        assert!(filter.finish(&mut keep).is_continue());
        let all = text.clone();
        let mut text = Vec::new();
        let mut filter = Filter::new(noise, 0);
        for piece in pieces {
            let _ = filter.push(piece, |run, _| {
                text.extend_from_slice(run);
                ControlFlow::<()>::Continue(())
            });
        }
        let [before, all] = [text, all].map(|text| String::from_utf8_lossy(&text).into_owned());
        (before, all)
    }

    /// Whole, byte by byte, and cut in three at every two places.
    fn check(noise: Noise, stream: &str, before_the_end: &str, expected: &str) {
        let stream = stream.as_bytes();
        let expected = (before_the_end.to_owned(), expected.to_owned());
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        let name = stream.escape_ascii();
        assert_eq!(filtered(noise, stream, &bytes), expected, "{name} by bytes");
        for second in 0..=stream.len() {
            for first in 0..=second {
                let pieces = [&stream[..first], &stream[first..second], &stream[second..]];
                assert_eq!(
                    filtered(noise, stream, &pieces),
                    expected,
                    "{name} cut at {first} and {second}"
                );
            }
        }
    }

    #[test]
    fn escape_sequences_are_looked_past_wherever_they_are_cut() {
        for (stream, expected) in [
            ("\x1b[1;31mlo\x1b[0mgin: \x1b[6n", "login: "),
            ("\x1b]0;a title\x07a\x1b]8;;http://x/\x1b\\b", "ab"),
            ("\x1b(B\x1b[m\x0fa\x1b7b\x1bcc\x1b#8d", "abcd"),
            (
                "\x1bPq#0~~\x1b\\a\x1b_x\x1b\\b\x1b^y\x1b\\c\x1bXz\x1b\\d",
                "abcd",
            ),
            ("\x1b[?2004h\x1b[>4;2m\x1b[ q$ ", "$ "),
            // A terminal obeys these bytes inside a sequence.
            ("a\x1b[3\r\n1mb", "a\r\nb"),
            // An interrupted sequence, and another in the middle of a sequence.
            ("a\x1b[3\x18b\x1b[3\x1b[1mc\x1b]0;x\x1b[1md", "abcd"),
            // A string without an end hides the rest of its line.
            ("\x1b]0;no end\r\nlogin: ", "\r\nlogin: "),
            ("\x1b\u{e9}[1m", "\u{e9}[1m"),
            ("a\x1b[31", "a"),
            ("[31m \x07\t\x08", "[31m \x07\t\x08"),
        ] {
            check(ESCAPES, stream, expected, expected);
        }
    }

    #[test]
    fn kernel_lines_are_looked_past_wherever_they_are_cut() {
        for (stream, expected) in [
            ("log[    1.234567] foo: bar\r\nin: ", "login: "),
            ("[   12.345678] a\r\n[12345.678901] b\n~ # ", "~ # "),
            ("lo<6>[    1.2] a\r\ng<30>[ 12.345] b\r\nin", "login"),
            ("lo[    1.234567][    T1] a [    2.0] b]\r\ngin", "login"),
            ("\r[    1.234567] a\r\n\n> ", "\r\n> "),
            ("[[    1.234567] a\r\nok] ", "[ok] "),
            ("<<6>[    1.234567] a\r\n6> ", "<6> "),
            ("<6<6>[    1.234567] a\r\nb", "<6b"),
            ("[  [    1.234567] a\r\nb", "[  b"),
            ("a[    1.234567] the end is open", "a"),
        ] {
            check(KERNEL_LINES, stream, expected, expected);
        }
    }

    #[test]
    fn what_only_looks_like_a_kernel_line_is_handed_on_as_soon_as_it_can_be_told() {
        for (stream, before_the_end) in [
            ("[ok] $ ", "[ok] $ "),
            ("[  OK  ] Started", "[  OK  ] Started"),
            ("[0.42] user@host$ ", "[0.42] user@host$ "),
            ("[1] + Done", "[1] + Done"),
            ("[    1.23 ] x", "[    1.23 ] x"),
            ("[    1] x", "[    1] x"),
            ("[    .5] x", "[    .5] x"),
            ("[     1.5] x", "[     1.5] x"),
            ("<html>[x]", "<html>[x]"),
            ("<6> <1234>[    1.5]", "<6> <1234>"),
            ("[1234567890123.5] x", "[1234567890123.5] x"),
            // Undecided before more bytes or the end come.
            ("> [", "> "),
            ("a <6>[   12", "a "),
            ("<", ""),
        ] {
            let ended = if stream == "<6> <1234>[    1.5]" {
                before_the_end
            } else {
                stream
            };
            check(KERNEL_LINES, stream, before_the_end, ended);
        }
    }

    #[test]
    fn a_kernel_line_may_come_in_the_middle_of_an_escape_sequence() {
        check(
            ALL,
            "\x1b[1mlo\x1b[[    1.234567] a\r\n0mg\x1b[6[    2.5] b\r\nnin: ",
            "login: ",
            "login: ",
        );
        let noise = "a\x1b[1mb[    1.5] c\r\nd";
        check(Noise::default(), noise, noise, noise);
    }

    #[test]
    fn nothing_is_kept_of_what_is_looked_past_and_little_of_what_may_be() {
        let mut filter = Filter::new(ALL, 0);
        let nothing = |_: &[u8], _| ControlFlow::Break(());
        for start in ["[    1.5] ", "\x1b]0;"] {
            assert!(filter.push(start.as_bytes(), nothing).is_continue());
            for _ in 0..100 {
                assert!(filter.push(&[b'x'; 4096], nothing).is_continue());
            }
            let _ = filter.push(b"\n", |_, _| ControlFlow::<()>::Continue(()));
        }
        let mut spaces = Filter::new(ALL, 0);
        assert!(spaces.push(b"[     ", nothing).is_break());
    }
}
