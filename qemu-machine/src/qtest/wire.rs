//! The qtest protocol without a socket: bytes in, replies and interrupts out
//! (QEMU's `docs/devel/testing/qtest`).
//!
//! A command is a line, and so is its reply. Interrupts come between replies.
//! Replies have no id and come in the order of their commands. So each waiter
//! stays in a queue until its reply has come, even if its caller gave up. The
//! reply to a cancelled command never reaches the next command.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;

use qemu_qmp::error::ErrorKind;
use qemu_qmp_engine::error_text::Quoted;

/// One connection and its waiters.
#[derive(Debug)]
pub(super) struct Connection<W> {
    /// The beginning of a line whose end has not come yet.
    partial: Vec<u8>,
    limit_bytes: usize,
    waiters: VecDeque<W>,
    /// Whether each interrupt line is raised, by its number, up to the highest
    /// number that QEMU has reported.
    raised: Vec<bool>,
    outputs: VecDeque<Output<W>>,
}

/// An output for received bytes.
#[derive(Debug, PartialEq)]
pub(super) enum Output<W> {
    Reply { waiter: W, reply: Reply },
    Irq(Irq),
}

/// A reply: `OK`, `OK VALUE`, or QEMU's refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) line: String,
}

/// A change of an interrupt line.
///
/// Its `Display` is QEMU's own text: `IRQ raise 4`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Irq {
    /// The line's number among those of the intercepted device.
    pub line: u16,
    /// Whether it is raised now.
    pub raised: bool,
}

/// QEMU broke the protocol of a qtest channel.
///
/// It ends the channel: the waiters of later replies would be unknown.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum QtestProtocolError {
    /// A line is longer than the limit.
    LineTooLong {
        /// The limit.
        limit_bytes: usize,
    },
    /// A line is neither a reply nor an interrupt.
    Malformed {
        /// The beginning of the line. Bytes that are not text are escaped.
        line: String,
    },
    /// A reply came although no command was waiting for one.
    UnexpectedReply {
        /// The beginning of the reply.
        line: String,
    },
}

impl QtestProtocolError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Protocol
    }
}

impl fmt::Display for QtestProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LineTooLong { limit_bytes } => write!(
                f,
                "QEMU sent a line of more than {limit_bytes} bytes on the qtest channel"
            ),
            Self::Malformed { line } => write!(
                f,
                "QEMU sent a line on the qtest channel that is neither a reply nor an \
                 interrupt: {}",
                Quoted(line)
            ),
            Self::UnexpectedReply { line } => write!(
                f,
                "QEMU sent a reply on the qtest channel without a command: {}",
                Quoted(line)
            ),
        }
    }
}

impl Error for QtestProtocolError {}

impl<W> Connection<W> {
    pub(super) fn new(limit_bytes: usize) -> Self {
        Self {
            partial: Vec::new(),
            limit_bytes,
            waiters: VecDeque::new(),
            raised: Vec::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Adds the waiter for the reply to the line that is sent next.
    pub(super) fn submit(&mut self, waiter: W) {
        self.waiters.push_back(waiter);
    }

    /// Takes received bytes. [`poll_output`](Self::poll_output) also returns
    /// everything that came before an error.
    pub(super) fn receive(&mut self, mut bytes: &[u8]) -> Result<(), QtestProtocolError> {
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            self.extend(&bytes[..end])?;
            bytes = &bytes[end + 1..];
            let line = std::mem::take(&mut self.partial);
            self.take(line)?;
        }
        self.extend(bytes)
    }

    pub(super) fn poll_output(&mut self) -> Option<Output<W>> {
        self.outputs.pop_front()
    }

    /// Whether the last change of this line raised it.
    pub(super) fn is_raised(&self, line: u16) -> bool {
        self.raised.get(usize::from(line)) == Some(&true)
    }

    /// Removes and returns the waiters whose reply has not come.
    pub(super) fn take_waiters(&mut self) -> VecDeque<W> {
        std::mem::take(&mut self.waiters)
    }

    fn extend(&mut self, bytes: &[u8]) -> Result<(), QtestProtocolError> {
        if self.partial.len() + bytes.len() > self.limit_bytes {
            return Err(QtestProtocolError::LineTooLong {
                limit_bytes: self.limit_bytes,
            });
        }
        self.partial.extend_from_slice(bytes);
        Ok(())
    }

    fn take(&mut self, line: Vec<u8>) -> Result<(), QtestProtocolError> {
        let malformed = |line: &[u8]| QtestProtocolError::Malformed {
            line: beginning(line),
        };
        let line = String::from_utf8(line).map_err(|error| malformed(error.as_bytes()))?;
        if let Some(irq) = Irq::parse(&line) {
            let line = usize::from(irq.line);
            if line >= self.raised.len() {
                self.raised.resize(line + 1, false);
            }
            self.raised[line] = irq.raised;
            self.outputs.push_back(Output::Irq(irq));
            return Ok(());
        }
        let reply = Reply { line };
        if reply.outcome().is_none() {
            return Err(malformed(reply.line.as_bytes()));
        }
        let Some(waiter) = self.waiters.pop_front() else {
            return Err(QtestProtocolError::UnexpectedReply {
                line: beginning(reply.line.as_bytes()),
            });
        };
        self.outputs.push_back(Output::Reply { waiter, reply });
        Ok(())
    }
}

impl Reply {
    /// The text after `OK`, or QEMU's message of a refusal; `None` if the line
    /// is not a reply.
    pub(super) fn outcome(&self) -> Option<Result<&str, &str>> {
        let (word, rest) = self.line.split_once(' ').unwrap_or((&self.line, ""));
        match word {
            "OK" => Some(Ok(rest)),
            "FAIL" | "ERR" => Some(Err(rest)),
            _ => None,
        }
    }
}

impl Irq {
    fn parse(line: &str) -> Option<Self> {
        let (raised, number) = match line.strip_prefix("IRQ ")?.split_once(' ')? {
            ("raise", number) => (true, number),
            ("lower", number) => (false, number),
            _ => return None,
        };
        // `parse` would also accept a sign.
        let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
        let line = is_number.then(|| number.parse().ok())??;
        Some(Self { line, raised })
    }
}

impl fmt::Display for Irq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.raised { "raise" } else { "lower" };
        write!(f, "IRQ {verb} {}", self.line)
    }
}

/// The beginning of a line, as an error shows it.
fn beginning(line: &[u8]) -> String {
    let shown = line[..line.len().min(80)].iter().map(|&byte| match byte {
        b'\'' | b'"' | b'\\' => char::from(byte).to_string(),
        _ => byte.escape_ascii().to_string(),
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The outputs of a transcript that is received in pieces of this size.
    /// Commands are numbered from 1.
    fn play(
        transcript: &[u8],
        piece_bytes: usize,
        commands: u32,
    ) -> (Vec<String>, Result<(), QtestProtocolError>) {
        let mut connection = Connection::new(40);
        (1..=commands).for_each(|number| connection.submit(number));
        let mut pieces = transcript.chunks(piece_bytes);
        let end = pieces.try_for_each(|piece| connection.receive(piece));
        let outputs = std::iter::from_fn(|| connection.poll_output());
        let texts = outputs.map(|output| match output {
            Output::Reply { waiter, reply } => format!("{waiter}: {:?}", reply.outcome().unwrap()),
            Output::Irq(irq) => irq.to_string(),
        });
        (texts.collect(), end)
    }

    #[test]
    fn replies_come_in_their_order_with_interrupts_between_whatever_the_pieces() {
        let transcript = b"OK\nIRQ raise 4\nOK 0x002a\nIRQ lower 4\nFAIL Unknown command 'x'\nERR invalid argument size\nOK 0x";
        let expected = [
            "1: Ok(\"\")",
            "IRQ raise 4",
            "2: Ok(\"0x002a\")",
            "IRQ lower 4",
            "3: Err(\"Unknown command 'x'\")",
            "4: Err(\"invalid argument size\")",
        ];
        for piece_bytes in 1..=transcript.len() {
            let (told, end) = play(transcript, piece_bytes, 4);
            assert_eq!(told, expected, "{piece_bytes}");
            assert_eq!(end, Ok(()));
        }
    }

    #[test]
    fn what_is_not_of_the_protocol_is_told_after_what_came_before() {
        let malformed = |line: &str| QtestProtocolError::Malformed { line: line.into() };
        for (line, fault) in [
            ("HELLO", malformed("HELLO")),
            ("", malformed("")),
            ("OKAY", malformed("OKAY")),
            ("ok", malformed("ok")),
            ("IRQ", malformed("IRQ")),
            ("IRQ raise", malformed("IRQ raise")),
            ("IRQ raise x", malformed("IRQ raise x")),
            ("IRQ raise -1", malformed("IRQ raise -1")),
            ("IRQ raise +1", malformed("IRQ raise +1")),
            ("IRQ raise 65536", malformed("IRQ raise 65536")),
            ("IRQ toggle 1", malformed("IRQ toggle 1")),
            (
                "OK 2",
                QtestProtocolError::UnexpectedReply {
                    line: "OK 2".into(),
                },
            ),
        ] {
            let transcript = format!("OK 1\n{line}\nOK 3\n");
            for piece_bytes in 1..=transcript.len() {
                let (told, end) = play(transcript.as_bytes(), piece_bytes, 1);
                assert_eq!(told, ["1: Ok(\"1\")"], "{line}");
                assert_eq!(end.as_ref(), Err(&fault), "{line}");
            }
        }
        let (_, end) = play(b"OK \xff\n", 1, 1);
        assert_eq!(end, Err(malformed("OK \\xff")));
    }

    #[test]
    fn a_line_is_bounded_before_it_ends_and_whatever_the_pieces() {
        let exact = [b"OK ".as_slice(), &[b'1'; 37], b"\n"].concat();
        let long = [b"OK ".as_slice(), &[b'1'; 38]].concat();
        for piece_bytes in 1..=long.len() {
            assert_eq!(play(&exact, piece_bytes, 1).1, Ok(()), "{piece_bytes}");
            let fault = QtestProtocolError::LineTooLong { limit_bytes: 40 };
            assert_eq!(play(&long, piece_bytes, 1).1, Err(fault), "{piece_bytes}");
        }
    }

    #[test]
    fn a_line_is_raised_until_it_is_lowered() {
        let mut connection = Connection::<()>::new(100);
        connection
            .receive(b"IRQ raise 4\nIRQ raise 8\nIRQ lower 4\nIRQ")
            .unwrap();
        assert!(!connection.is_raised(4));
        assert!(connection.is_raised(8));
        assert!(!connection.is_raised(0));
    }
}
