//! One connection with a QMP server, without its socket.
//!
//! It receives bytes from the server and commands from callers. It returns
//! [`Output`]: bytes to send, replies with their waiters, and events.
//!
//! ```text
//!            greeting                    return
//! Greeting ------------> Negotiation ------------> Ready
//!    `------------------------------------------------^
//!            greeting, without negotiation
//! ```
//!
//! Only [`Connection::receive`] changes the phase. Never gives a reply to another
//! waiter than the one with its id, and never reuses a generated id.

use std::collections::{HashMap, VecDeque};
use std::fmt;

use serde_json::value::RawValue;

use super::frame::{Frames, LineTooLong};
use super::greeting::OOB;
use super::message::{Message, excerpt};
use super::{ErrorReply, Event, Greeting, ProtocolError};

/// The state of one connection. `W` identifies the waiter for a reply.
#[derive(Debug)]
pub struct Connection<W> {
    phase: Phase,
    settings: Settings,
    frames: Frames,
    /// `None` if the waiter has given up: the reply may still come.
    in_flight: HashMap<Id, Option<W>>,
    next_id: u64,
    oob: bool,
    outputs: VecDeque<Output<W>>,
}

/// How a connection begins, and its limits.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// Whether the server sends a greeting. `true` unless another program has
    /// read it.
    pub greeting: bool,
    /// Whether to negotiate capabilities. Until that is done, the server refuses
    /// every other command.
    pub negotiate: bool,
    /// The longest line that is accepted, in bytes. The default is 256 MiB.
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

/// What the caller of the connection must do next.
#[derive(Debug)]
pub enum Output<W> {
    /// Send these bytes.
    Transmit(Vec<u8>),
    /// Commands may be sent from now on. `None` without a greeting.
    Ready(Option<Greeting>),
    /// The reply to a command came.
    Reply {
        /// The waiter for the reply.
        waiter: W,
        /// What the server returned.
        reply: Result<Box<RawValue>, ErrorReply>,
    },
    /// An event came.
    Event(Event),
    /// A message without a waiter: a reply with an unknown id, or a second
    /// reply. It is for a log only.
    Unexpected(String),
}

#[derive(Debug)]
enum Phase {
    Greeting,
    Negotiation { id: Id, greeting: Option<Greeting> },
    Ready,
}

/// The id of a command, by which its reply is found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Id {
    /// A generated id: a number.
    Counted(u64),
    /// The caller's id: a string, which never equals a number.
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

/// Another command with this id has no reply yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdInFlight;

/// A command's line without its id.
#[derive(Debug)]
pub struct Line {
    head: Vec<u8>,
}

impl Line {
    /// The line that executes `command`; `arguments` is a JSON object's text.
    ///
    /// An empty object is left out: QEMU reads its monitor byte by byte, with
    /// about five system calls for each.
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
    /// A connection that has received nothing yet.
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

    /// Whether the greeting has come, or none is expected.
    pub fn has_greeted(&self) -> bool {
        !matches!(self.phase, Phase::Greeting)
    }

    /// The greeting, while the capabilities are negotiated.
    pub(crate) fn greeting(&self) -> Option<&Greeting> {
        match &self.phase {
            Phase::Negotiation { greeting, .. } => greeting.as_ref(),
            Phase::Greeting | Phase::Ready => None,
        }
    }

    /// How many commands have no reply yet, including those whose waiter has given
    /// up.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Receives bytes, in pieces of any size. The outputs come from
    /// [`poll_output`](Self::poll_output).
    ///
    /// # Errors
    /// The server broke the protocol, so the connection must be dropped. The
    /// messages before the error are still in the outputs, and
    /// [`take_waiters`](Self::take_waiters) returns the waiters.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<(), ProtocolError> {
        self.receive_seen(bytes, |_line| ())
    }

    /// As [`receive`](Self::receive). It also passes each line to `seen`, without
    /// its end, before it reads the line as a message.
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
            self.message(Message::parse(line).map_err(ReceiveError::Protocol)?, line)
                .map_err(ReceiveError::Protocol)
        });
        self.frames = frames;
        result.map_err(|error| match error {
            ReceiveError::Protocol(error) => error,
            ReceiveError::LineTooLong => ProtocolError::LineTooLong { limit_bytes },
        })
    }

    /// The next output, in the order of the server's messages.
    pub fn poll_output(&mut self) -> Option<Output<W>> {
        self.outputs.pop_front()
    }

    /// The next output, if it is an event. So a caller can pass on several events
    /// together.
    pub fn poll_event(&mut self) -> Option<Event> {
        if !matches!(self.outputs.front(), Some(Output::Event(_))) {
            return None;
        }
        match self.outputs.pop_front() {
            Some(Output::Event(event)) => Some(event),
            _ => None,
        }
    }

    /// Begins a command. Returns its id and the bytes to send.
    pub fn submit(&mut self, line: Line, waiter: W) -> (Id, Vec<u8>) {
        let id = self.fresh_id();
        let bytes = line.with_id(&id);
        self.in_flight.insert(id.clone(), Some(waiter));
        (id, bytes)
    }

    /// Begins a command with the caller's id. Returns the bytes to send.
    ///
    /// # Errors
    /// A command with this id is in flight. The id is free when its reply has
    /// come, even if its waiter has given up.
    pub fn submit_as(&mut self, id: &str, line: Line, waiter: W) -> Result<Vec<u8>, IdInFlight> {
        let id = Id::Chosen(id.to_owned());
        if self.in_flight.contains_key(&id) {
            return Err(IdInFlight);
        }
        let bytes = line.with_id(&id);
        self.in_flight.insert(id, Some(waiter));
        Ok(bytes)
    }

    /// The waiter of `id` has given up. The reply will be dropped when it comes.
    /// Until then the command counts as in flight.
    pub fn abandon(&mut self, id: &Id) {
        if let Some(waiter) = self.in_flight.get_mut(id) {
            *waiter = None;
        }
    }

    /// The same if `has_given_up` says so of the waiter. The id may belong to
    /// another command by now: its reply came, and a caller chose the id again.
    pub fn abandon_if(&mut self, id: &Id, has_given_up: impl FnOnce(&W) -> bool) {
        if let Some(waiter) = self.in_flight.get_mut(id)
            && waiter.as_ref().is_some_and(has_given_up)
        {
            *waiter = None;
        }
    }

    /// The command of `id` was not sent: no reply will come.
    pub fn withdraw(&mut self, id: &Id) {
        self.in_flight.remove(id);
    }

    /// Takes all waiters out, for example to notify them that the connection has
    /// ended.
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
            // An event may come at any time, even before the greeting.
            Message::Event(event) => self.outputs.push_back(Output::Event(event)),
            Message::Greeting(greeting) => match self.phase {
                Phase::Greeting => self.greeted(Some(greeting)),
                _ => self.unexpected("an unexpected greeting", line),
            },
            _ if matches!(self.phase, Phase::Greeting) => {
                return Err(ProtocolError::NoGreeting {
                    line: excerpt(line),
                });
            }
            Message::Return { value, id } => match parse_id(id) {
                Some(id) if self.negotiates(&id) => self.ready(),
                Some(id) => match self.in_flight.remove(&id) {
                    Some(waiter) => self.reply(waiter, Ok(value.to_owned())),
                    None => self.unexpected("a reply without a waiter", line),
                },
                None => self.unexpected("a reply with an unknown id", line),
            },
            Message::Error { error, id } => match parse_id(id) {
                Some(id) if self.negotiates(&id) => {
                    return Err(ProtocolError::NegotiationRefused { reply: error });
                }
                Some(id) => match self.in_flight.remove(&id) {
                    Some(waiter) => self.reply(waiter, Err(error)),
                    None => self.unexpected("an error without a waiter", line),
                },
                None if id.is_some() => self.unexpected("an error with an unknown id", line),
                None => return self.error_without_id(error, line),
            },
        }
        Ok(())
    }

    /// The server's JSON parser refused a line, so the server does not know the
    /// line's id.
    fn error_without_id(&mut self, error: ErrorReply, line: &[u8]) -> Result<(), ProtocolError> {
        if let Phase::Negotiation { .. } = self.phase {
            return Err(ProtocolError::NegotiationRefused { reply: error });
        }
        match self.in_flight.len() {
            0 => self.unexpected("an error without a command", line),
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

    fn unexpected(&mut self, what: &str, line: &[u8]) {
        self.outputs
            .push_back(Output::Unexpected(format!("{what}: {}", excerpt(line))));
    }
}

/// The id of a reply, if a command can have it.
fn parse_id(id: Option<&RawValue>) -> Option<Id> {
    let raw = id?.get();
    match raw.parse() {
        Ok(number) => Some(Id::Counted(number)),
        // The server may escape a string in another way than this side did.
        Err(_) => serde_json::from_str(raw).ok().map(Id::Chosen),
    }
}

enum ReceiveError {
    Protocol(ProtocolError),
    LineTooLong,
}

impl From<LineTooLong> for ReceiveError {
    fn from(LineTooLong: LineTooLong) -> Self {
        Self::LineTooLong
    }
}
