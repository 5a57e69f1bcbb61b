//! One connection with a QMP server, without its socket.
//!
//! Decides what every message means: who waits for it, and what comes next.
//!
//! ```text
//!            greeting                    return
//! Greeting ------------> Negotiation ------------> Ready
//!    `------------------------------------------------^
//!         greeting, when negotiation is turned off
//! ```
//!
//! Only [`Connection::receive`] moves the phase. Never gives a reply to
//! anyone but the waiter whose id it carries, and never reuses an id of ours.

use std::collections::{HashMap, VecDeque};
use std::fmt;

use serde_json::value::RawValue;

use super::frame::{Frames, LineTooLong};
use super::greeting::OOB;
use super::message::{Message, excerpt};
use super::{ErrorReply, Event, Greeting, ProtocolError};

/// The state of one connection; `W` is whatever identifies who waits for a
/// reply.
#[derive(Debug)]
pub struct Connection<W> {
    phase: Phase,
    settings: Settings,
    frames: Frames,
    /// `None` where the waiter has given up: the reply may still come.
    in_flight: HashMap<Id, Option<W>>,
    next_id: u64,
    oob: bool,
    outputs: VecDeque<Output<W>>,
}

/// How a connection begins, and what it bears.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// Whether the server greets; `true` unless something else has read the
    /// greeting already.
    pub greeting: bool,
    /// Whether to negotiate capabilities; until that is done the server
    /// refuses every other command.
    pub negotiate: bool,
    /// The longest line that is taken, in bytes. 256 MiB at first.
    pub line_limit_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            greeting: true,
            negotiate: true,
            line_limit_bytes: 256 << 20,
        }
    }
}

/// What the connection wants done, or has to tell.
#[derive(Debug)]
pub enum Output<W> {
    /// Send these bytes.
    Transmit(Vec<u8>),
    /// Commands may be sent from now on. `None` where the greeting is turned
    /// off.
    Ready(Option<Greeting>),
    /// A command was answered.
    Reply {
        /// Who waits for it.
        waiter: W,
        /// What the server returned.
        reply: Result<Box<RawValue>, ErrorReply>,
    },
    /// An event happened.
    Event(Event),
    /// A message that nobody waits for: a reply of an unknown id, a late or a
    /// second one. For a log; nothing need be done.
    Stray(String),
}

#[derive(Debug)]
enum Phase {
    Greeting,
    Negotiation { id: Id, greeting: Option<Greeting> },
    Ready,
}

/// What a command is known by until its reply.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Id {
    /// Ours: a number.
    Counted(u64),
    /// The user's: a text, which no number of ours can be.
    Chosen(String),
}

impl fmt::Display for Id {
    /// As JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Counted(number) => number.fmt(f),
            Self::Chosen(text) => serde_json::Value::from(text.as_str()).fmt(f),
        }
    }
}

/// A command waits for its reply under this id already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdInFlight;

/// A command on its way to the wire: all of the line but its id.
#[derive(Debug)]
pub struct Line {
    head: Vec<u8>,
}

impl Line {
    /// The line that executes `command`; `arguments` is a JSON object's text.
    ///
    /// An empty one is left out: QEMU reads its monitor a byte at a time, with
    /// some five system calls for each.
    pub fn new(command: &str, arguments: Option<&[u8]>, out_of_band: bool) -> Self {
        let mut head = Vec::with_capacity(64 + command.len() + arguments.map_or(0, <[u8]>::len));
        head.extend_from_slice(if out_of_band {
            br#"{"exec-oob":"#
        } else {
            br#"{"execute":"#
        });
        head.extend_from_slice(serde_json::Value::from(command).to_string().as_bytes());
        if let Some(arguments) = arguments.filter(|&it| it != b"{}") {
            head.extend_from_slice(br#","arguments":"#);
            head.extend_from_slice(arguments);
        }
        Self { head }
    }

    pub(super) fn without_id(self) -> Vec<u8> {
        let mut line = self.head;
        line.extend_from_slice(b"}\n");
        line
    }

    fn with_id(self, id: &Id) -> Vec<u8> {
        let mut line = self.head;
        line.extend_from_slice(br#","id":"#);
        line.extend_from_slice(id.to_string().as_bytes());
        line.extend_from_slice(b"}\n");
        line
    }
}

impl<W> Connection<W> {
    /// A connection on which nothing was received yet.
    pub fn new(settings: Settings) -> Self {
        let mut connection = Self {
            phase: Phase::Greeting,
            frames: Frames::new(settings.line_limit_bytes),
            in_flight: HashMap::new(),
            next_id: 1,
            oob: false,
            outputs: VecDeque::new(),
            settings,
        };
        if !connection.settings.greeting {
            connection.greeted(None);
        }
        connection
    }

    /// Whether commands may be executed out of band.
    pub fn oob(&self) -> bool {
        self.oob
    }

    /// Whether the greeting has come, or none is waited for.
    pub fn has_greeted(&self) -> bool {
        !matches!(self.phase, Phase::Greeting)
    }

    /// How many commands wait for their reply, given up or not.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Takes in what was received, in pieces of any size; what it means comes
    /// out of [`poll_output`](Self::poll_output).
    ///
    /// # Errors
    /// The server broke the protocol. Drop the connection then: what was
    /// received before still comes out, the waiters by
    /// [`take_waiters`](Self::take_waiters).
    pub fn receive(&mut self, bytes: &[u8]) -> Result<(), ProtocolError> {
        self.receive_seen(bytes, |_line| ())
    }

    /// As [`receive`](Self::receive), and shows each line, without its end,
    /// before it is understood.
    ///
    /// # Errors
    /// As for [`receive`](Self::receive).
    pub fn receive_seen(
        &mut self,
        bytes: &[u8],
        mut seen: impl FnMut(&[u8]),
    ) -> Result<(), ProtocolError> {
        let limit_bytes = self.settings.line_limit_bytes;
        let mut frames = std::mem::replace(&mut self.frames, Frames::new(limit_bytes));
        let result = frames.split(bytes, |line| {
            seen(line);
            self.message(Message::parse(line).map_err(Broken::Protocol)?, line)
                .map_err(Broken::Protocol)
        });
        self.frames = frames;
        result.map_err(|broken| match broken {
            Broken::Protocol(error) => error,
            Broken::LineTooLong => ProtocolError::LineTooLong { limit_bytes },
        })
    }

    /// The next thing to do, in the order in which the server's messages came.
    pub fn poll_output(&mut self) -> Option<Output<W>> {
        self.outputs.pop_front()
    }

    /// The same, where it is an event: so that those that came together are
    /// handed on together.
    pub fn poll_event(&mut self) -> Option<Event> {
        if !matches!(self.outputs.front(), Some(Output::Event(_))) {
            return None;
        }
        match self.outputs.pop_front() {
            Some(Output::Event(event)) => Some(event),
            _ => None,
        }
    }

    /// Begins a command: gives its id and the bytes to send.
    pub fn submit(&mut self, line: Line, waiter: W) -> (Id, Vec<u8>) {
        let id = self.fresh_id();
        let bytes = line.with_id(&id);
        self.in_flight.insert(id.clone(), Some(waiter));
        (id, bytes)
    }

    /// Begins a command by an id of the user's: gives the bytes to send.
    ///
    /// # Errors
    /// A command of this id is in flight. Until its reply has come, though
    /// nobody may wait for it any more, the id stands for it alone.
    pub fn submit_as(&mut self, id: &str, line: Line, waiter: W) -> Result<Vec<u8>, IdInFlight> {
        let id = Id::Chosen(id.to_owned());
        if self.in_flight.contains_key(&id) {
            return Err(IdInFlight);
        }
        let bytes = line.with_id(&id);
        self.in_flight.insert(id, Some(waiter));
        Ok(bytes)
    }

    /// Nobody waits for the reply of `id` any more. It is dropped when it
    /// comes; until then the command counts as in flight.
    pub fn abandon(&mut self, id: &Id) {
        if let Some(waiter) = self.in_flight.get_mut(id) {
            *waiter = None;
        }
    }

    /// The command of `id` was not sent after all: no reply will come.
    pub fn withdraw(&mut self, id: &Id) {
        self.in_flight.remove(id);
    }

    /// Takes out everyone who still waits, for instance to tell them that the
    /// connection is lost.
    pub fn take_waiters(&mut self) -> Vec<W> {
        self.in_flight
            .drain()
            .filter_map(|(_, waiter)| waiter)
            .collect()
    }

    fn fresh_id(&mut self) -> Id {
        let id = self.next_id;
        self.next_id += 1;
        Id::Counted(id)
    }

    fn message(&mut self, message: Message<'_>, line: &[u8]) -> Result<(), ProtocolError> {
        match message {
            // An event may come before anything else, even the greeting.
            Message::Event(event) => self.outputs.push_back(Output::Event(event)),
            Message::Greeting(greeting) => match self.phase {
                Phase::Greeting => self.greeted(Some(greeting)),
                _ => self.stray("a greeting that is not due", line),
            },
            _ if matches!(self.phase, Phase::Greeting) => {
                return Err(ProtocolError::NoGreeting {
                    line: excerpt(line),
                });
            }
            Message::Return { value, id } => match known(id) {
                Some(id) if self.negotiates(&id) => self.ready(),
                Some(id) => match self.in_flight.remove(&id) {
                    Some(waiter) => self.reply(waiter, Ok(value.to_owned())),
                    None => self.stray("a reply that nobody waits for", line),
                },
                None => self.stray("a reply without an id of ours", line),
            },
            Message::Error { error, id } => match known(id) {
                Some(id) if self.negotiates(&id) => {
                    return Err(ProtocolError::NegotiationRefused { reply: error });
                }
                Some(id) => match self.in_flight.remove(&id) {
                    Some(waiter) => self.reply(waiter, Err(error)),
                    None => self.stray("an error that nobody waits for", line),
                },
                None if id.is_some() => self.stray("an error without an id of ours", line),
                None => return self.error_without_id(error, line),
            },
        }
        Ok(())
    }

    /// The server could not even read a line (it answers so to what its JSON
    /// parser refuses), and thus could not know its id.
    fn error_without_id(&mut self, error: ErrorReply, line: &[u8]) -> Result<(), ProtocolError> {
        if let Phase::Negotiation { .. } = self.phase {
            return Err(ProtocolError::NegotiationRefused { reply: error });
        }
        match self.in_flight.len() {
            0 => self.stray("an error that belongs to no command", line),
            1 => {
                let waiter = self.in_flight.drain().next().and_then(|(_, waiter)| waiter);
                self.reply(waiter, Err(error));
            }
            in_flight => {
                return Err(ProtocolError::UnattributedError {
                    in_flight,
                    reply: error,
                });
            }
        }
        Ok(())
    }

    fn negotiates(&self, reply_id: &Id) -> bool {
        matches!(&self.phase, Phase::Negotiation { id, .. } if id == reply_id)
    }

    fn greeted(&mut self, greeting: Option<Greeting>) {
        if !self.settings.negotiate {
            self.phase = Phase::Ready;
            self.outputs.push_back(Output::Ready(greeting));
            return;
        }
        self.oob = greeting.as_ref().is_some_and(Greeting::offers_oob);
        let arguments = self.oob.then(|| format!(r#"{{"enable":["{OOB}"]}}"#));
        let line = Line::new(
            "qmp_capabilities",
            arguments.as_deref().map(str::as_bytes),
            false,
        );
        let id = self.fresh_id();
        self.outputs.push_back(Output::Transmit(line.with_id(&id)));
        self.phase = Phase::Negotiation { id, greeting };
    }

    fn ready(&mut self) {
        if let Phase::Negotiation { greeting, .. } =
            std::mem::replace(&mut self.phase, Phase::Ready)
        {
            self.outputs.push_back(Output::Ready(greeting));
        }
    }

    fn reply(&mut self, waiter: Option<W>, reply: Result<Box<RawValue>, ErrorReply>) {
        if let Some(waiter) = waiter {
            self.outputs.push_back(Output::Reply { waiter, reply });
        }
    }

    fn stray(&mut self, what: &str, line: &[u8]) {
        self.outputs
            .push_back(Output::Stray(format!("{what}: {}", excerpt(line))));
    }
}

/// An id, where it is one that could be in flight.
fn known(id: Option<&RawValue>) -> Option<Id> {
    let raw = id?.get();
    match raw.parse() {
        Ok(number) => Some(Id::Counted(number)),
        // The server may write a text otherwise than it was written to it.
        Err(_) => serde_json::from_str(raw).ok().map(Id::Chosen),
    }
}

enum Broken {
    Protocol(ProtocolError),
    LineTooLong,
}

impl From<LineTooLong> for Broken {
    fn from(LineTooLong: LineTooLong) -> Self {
        Self::LineTooLong
    }
}
