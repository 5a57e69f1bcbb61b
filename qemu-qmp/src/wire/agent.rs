//! The conversation with one guest agent, without its socket
//! (`docs/interop/qemu-ga-ref`).
//!
//! It receives bytes from the agent and commands from callers. It returns
//! [`AgentOutput`]: bytes to send, and answers with their waiters.
//!
//! The agent's protocol is like QMP, but it has no greeting and no events, and
//! it returns ids only since QEMU 4.0. Its channel is a serial line: it may still
//! carry data for an earlier client, and the agent may stop and restart. But the
//! agent answers in order.
//!
//! So a command is sent only in step, that is, when no other answer can be on
//! its way. A `guest-sync-delimited` follows each command as its fence. What
//! comes before the fence's answer is the reply. If nothing comes before it, the
//! command has no reply.
//!
//! ```text
//!            a request             its answer           a request
//! OutOfStep --------------> Syncing ---------> InStep --------------> Answering
//!     ^                       | ^                 ^   no reply before the | |
//!     |                       | |                 `----- fence's answer --' |
//!     |                       | `------------ the reply --------------------|
//!     `-----------------------'--- given up, port closed, not understood ---'
//! ```
//!
//! Never gives a reply to another waiter than its own, and never keeps more than
//! one line of the agent's data.

use std::collections::VecDeque;

use memchr::memchr;
use serde_json::value::RawValue;

use super::connection::Line;
use super::frame::{Frames, LineTooLong};
use super::message::Message;
use super::{ErrorReply, ProtocolError};

/// The state of one conversation. `W` identifies the waiter for a reply.
#[derive(Debug)]
pub struct AgentConnection<W> {
    phase: Phase<W>,
    queue: VecDeque<Request<W>>,
    frames: Frames,
    line_limit_bytes: usize,
    /// A sentinel has come, and no line has ended since.
    delimited: bool,
    port: Port,
    paused: Option<PauseReason>,
    next_id: u64,
    next_sync: u64,
    /// How many bytes were skipped since the last sync was sent.
    passed_over_bytes: u64,
    outputs: VecDeque<AgentOutput<W>>,
}

/// How a conversation begins, and its limits.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AgentSettings {
    /// The longest line that is accepted, in bytes. The default is 64 MiB: an
    /// agent keeps 16 MiB of each of a program's outputs.
    pub line_limit_bytes: usize,
    /// Whether the guest's end is open at the start.
    pub port: Port,
    /// The number of the first sync. Use another number each time, because the
    /// channel may still carry answers to an earlier client's syncs.
    pub first_sync: u64,
}

impl Default for AgentSettings {
    fn default() -> Self {
        Self {
            line_limit_bytes: 64 << 20,
            port: Port::Unknown,
            first_sync: 1,
        }
    }
}

/// Whether a program in the guest has opened its end: most likely the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// Nothing reports it.
    Unknown,
    /// It is closed. Data to the guest waits until it opens.
    Closed,
    /// It is open.
    Open,
}

/// What the caller of the conversation must do next.
#[derive(Debug)]
pub enum AgentOutput<W> {
    /// Send these bytes, in this order.
    Transmit(Vec<u8>),
    /// A request has ended.
    Answer {
        /// The waiter for its answer.
        waiter: W,
        /// The agent's answer, or why there is none.
        answer: AgentAnswer,
    },
}

/// How a request ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum AgentAnswer {
    /// The agent returned a value.
    Return(Box<RawValue>),
    /// The agent refused the request.
    Error(ErrorReply),
    /// The agent has read the request and sent no reply. Some commands have no
    /// reply when they succeed, and a sync has none.
    Silence,
    /// The agent ended or restarted before its answer.
    Gone,
    /// The guest is paused for good, so it cannot answer.
    GuestPaused(PauseReason),
    /// The agent sent something that is not a reply.
    NotUnderstood(ProtocolError),
}

/// Why QEMU keeps the guest paused until a reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PauseReason {
    /// The guest has panicked.
    Panicked,
    /// The guest has shut down.
    ShutDown,
}

/// The stage of a request when its waiter gave up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestStage {
    /// It was behind another request. It was not sent.
    Queued,
    /// The agent had not answered the sync. It was not sent.
    Unsynced {
        /// Whether a program in the guest has opened its end.
        port: Port,
        /// How many other bytes have come.
        passed_over_bytes: u64,
    },
    /// It was sent.
    Sent,
}

#[derive(Debug)]
enum Phase<W> {
    /// All data that comes is from an earlier client.
    OutOfStep,
    /// Data before the answer to the sync of this number is skipped too.
    Syncing {
        number: u64,
        /// It was sent to a closed port, and waits there.
        awaits_port: bool,
    },
    /// No data can come.
    InStep,
    Answering {
        request: Request<W>,
        fence: u64,
        /// A later sync, to find out whether this agent has the request.
        probe: Option<u64>,
        /// The error reply that came since the probe. It is the answer, if the
        /// fence's answer comes next. Otherwise it is another agent's complaint
        /// about the sentinel before the probe.
        refusal: Option<ErrorReply>,
    },
}

#[derive(Debug)]
struct Request<W> {
    id: u64,
    /// Empty for a sync.
    line: Vec<u8>,
    waiter: W,
    /// Its answer is an output even if its waiter has given up.
    is_kept: bool,
    is_given_up: bool,
}

impl<W> AgentConnection<W> {
    /// A conversation that has received and sent nothing yet.
    pub fn new(settings: &AgentSettings) -> Self {
        Self {
            phase: Phase::OutOfStep,
            queue: VecDeque::new(),
            frames: Frames::new(settings.line_limit_bytes),
            line_limit_bytes: settings.line_limit_bytes,
            delimited: false,
            port: settings.port,
            paused: None,
            next_id: 1,
            next_sync: settings.first_sync,
            passed_over_bytes: 0,
            outputs: VecDeque::new(),
        }
    }

    /// Begins a command. Returns its id.
    pub fn submit(&mut self, line: Line, waiter: W) -> u64 {
        self.push(line.without_id(), waiter, false, false)
    }

    /// Begins a command whose answer is an output even if its waiter gives up
    /// after it was sent.
    pub fn submit_kept(&mut self, line: Line, waiter: W) -> u64 {
        self.push(line.without_id(), waiter, true, false)
    }

    /// Begins a command without a waiter.
    pub fn submit_unattended(&mut self, line: Line, waiter: W) {
        self.push(line.without_id(), waiter, true, true);
    }

    /// Begins a sync, which finds out whether the agent answers. If it does, the
    /// answer is [`AgentAnswer::Silence`].
    pub fn submit_sync(&mut self, waiter: W) -> u64 {
        self.push(Vec::new(), waiter, false, false)
    }

    /// The waiter of the request with this id gives up. Returns the stage of the
    /// request.
    pub fn give_up(&mut self, id: u64) -> RequestStage {
        let mut stage = RequestStage::Sent;
        let place = self.queue.iter().position(|request| request.id == id);
        // Whether all requests before it are given up.
        let mut was_first = false;
        if let Some(place) = place {
            self.queue.remove(place);
            was_first = self.queue.iter().take(place).all(|it| it.is_given_up);
        }
        match (&mut self.phase, place) {
            (Phase::Answering { request, .. }, Some(_)) => {
                stage = RequestStage::Queued;
                // No other caller would ever give it up.
                if was_first && request.is_given_up {
                    self.phase = Phase::OutOfStep;
                }
            }
            (_, Some(_)) => {
                stage = RequestStage::Unsynced {
                    port: self.port,
                    passed_over_bytes: self.passed_over_bytes,
                };
                // The sync was for this request. A new sync for each of the
                // others would restart the wait for a slow agent.
                if was_first {
                    self.phase = Phase::OutOfStep;
                }
            }
            (Phase::Answering { request, .. }, None) if request.id == id => {
                request.is_given_up = true;
                if !request.is_kept {
                    self.phase = Phase::OutOfStep;
                }
            }
            (_, None) => {}
        }
        self.advance();
        stage
    }

    /// Receives bytes, in pieces of any size. The outputs come from
    /// [`poll_output`](Self::poll_output).
    pub fn receive(&mut self, mut bytes: &[u8]) {
        while let Some(at) = memchr(SENTINEL, bytes) {
            self.text(&bytes[..at]);
            // A line that has not ended never will.
            self.frames = Frames::new(self.line_limit_bytes);
            self.delimited = true;
            if let Phase::InStep = self.phase {
                // No request of this client has this answer.
                self.phase = Phase::OutOfStep;
            }
            bytes = &bytes[at + 1..];
        }
        self.text(bytes);
        self.advance();
    }

    /// A program in the guest has opened or closed its end. QEMU reports this up
    /// to a second late. It reports several changes within a second as the last.
    pub fn port_changed(&mut self, open: bool) {
        self.port = if open { Port::Open } else { Port::Closed };
        // A request without a waiter was for the agent that has ended.
        self.queue.retain(|request| !request.is_given_up);
        match std::mem::replace(&mut self.phase, Phase::OutOfStep) {
            Phase::Answering { request, .. } if !open => self.answer(request, AgentAnswer::Gone),
            Phase::Answering {
                request,
                fence,
                refusal,
                ..
            } => {
                // Another agent may have opened it, which does not have the request.
                let probe = Some(self.sync(true));
                self.phase = Phase::Answering {
                    request,
                    fence,
                    probe,
                    refusal,
                };
            }
            Phase::Syncing {
                number,
                awaits_port: true,
            } => {
                self.phase = Phase::Syncing {
                    number,
                    awaits_port: !open,
                }
            }
            _ => {}
        }
        self.advance();
    }

    /// The guest is paused for good, or runs again with `None`. While it is
    /// paused, every request fails at once and nothing is sent.
    pub fn guest_paused(&mut self, reason: Option<PauseReason>) {
        self.paused = reason;
        if let Some(reason) = reason {
            for (waiter, _) in self.take_waiters() {
                let answer = AgentAnswer::GuestPaused(reason);
                self.outputs
                    .push_back(AgentOutput::Answer { waiter, answer });
            }
        }
    }

    /// The next output.
    pub fn poll_output(&mut self) -> Option<AgentOutput<W>> {
        self.outputs.pop_front()
    }

    /// Takes all waiters out, for example to notify them that the channel has
    /// ended; and whether the request of each was sent.
    pub fn take_waiters(&mut self) -> Vec<(W, bool)> {
        let sent = match std::mem::replace(&mut self.phase, Phase::OutOfStep) {
            Phase::Answering { request, .. } => Some((request.waiter, true)),
            _ => None,
        };
        let queued = self.queue.drain(..);
        let queued = queued.map(|request| (request.waiter, false));
        sent.into_iter().chain(queued).collect()
    }

    fn push(&mut self, line: Vec<u8>, waiter: W, is_kept: bool, is_given_up: bool) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let request = Request {
            id,
            line,
            waiter,
            is_kept,
            is_given_up,
        };
        if let Some(reason) = self.paused {
            self.answer(request, AgentAnswer::GuestPaused(reason));
        } else {
            self.queue.push_back(request);
            self.advance();
        }
        id
    }

    /// Continues, if there is a request.
    fn advance(&mut self) {
        match self.phase {
            Phase::OutOfStep if !self.queue.is_empty() => {
                self.passed_over_bytes = 0;
                self.phase = Phase::Syncing {
                    number: self.sync(true),
                    awaits_port: self.port == Port::Closed,
                };
            }
            Phase::InStep => {
                let Some(mut request) = self.queue.pop_front() else {
                    return;
                };
                // The fence goes in the same piece: an agent that does not read
                // gets both or neither.
                let line = std::mem::take(&mut request.line);
                self.phase = Phase::Answering {
                    request,
                    fence: self.sync_behind(line, false),
                    probe: None,
                    refusal: None,
                };
            }
            _ => {}
        }
    }

    /// Sends a sync, and returns its number. With a sentinel before it, the agent
    /// first drops the start of an earlier client's line, and complains.
    fn sync(&mut self, after_sentinel: bool) -> u64 {
        self.sync_behind(Vec::new(), after_sentinel)
    }

    /// The same, in one piece with the bytes before it.
    fn sync_behind(&mut self, mut bytes: Vec<u8>, after_sentinel: bool) -> u64 {
        let number = self.next_sync;
        self.next_sync += 1;
        let arguments = format!(r#"{{"id":{number}}}"#);
        let line = Line::new(SYNC, Some(arguments.as_bytes()), false).without_id();
        bytes.reserve(line.len() + 1);
        if after_sentinel {
            bytes.push(SENTINEL);
        }
        bytes.extend_from_slice(&line);
        self.outputs.push_back(AgentOutput::Transmit(bytes));
        number
    }

    /// Receives the bytes between two sentinels.
    fn text(&mut self, bytes: &[u8]) {
        if !self.listens() {
            self.skip(bytes);
            return;
        }
        let fresh = Frames::new(self.line_limit_bytes);
        let mut frames = std::mem::replace(&mut self.frames, fresh);
        let split = frames.split(bytes, |line| {
            self.line(line);
            Ok(())
        });
        if let Err(LineTooLong) = split {
            self.delimited = false;
            let limit_bytes = self.line_limit_bytes;
            self.not_understood(ProtocolError::LineTooLong { limit_bytes });
        } else if self.listens() {
            self.frames = frames;
        }
    }

    /// Whether the next data may be for this client.
    fn listens(&self) -> bool {
        self.delimited || matches!(self.phase, Phase::Answering { .. })
    }

    fn skip(&mut self, bytes: &[u8]) {
        if bytes.trim_ascii().is_empty() {
            return;
        }
        self.passed_over_bytes += bytes.len() as u64;
        if let Phase::InStep = self.phase {
            // Data came, so the channel is not in step.
            self.phase = Phase::OutOfStep;
        }
    }

    fn line(&mut self, line: &[u8]) {
        if std::mem::take(&mut self.delimited) {
            match parse_sync_answer(line) {
                Some(number) => self.synced(number),
                None => self.skip(line),
            }
            return;
        }
        if !self.listens() {
            self.skip(line);
            return;
        }
        let answer = match Message::parse(line) {
            Ok(Message::Return { value, .. }) => AgentAnswer::Return(value.to_owned()),
            Ok(Message::Error { error, .. }) => match &mut self.phase {
                Phase::Answering {
                    probe: Some(_),
                    refusal,
                    ..
                } => {
                    refusal.get_or_insert(error);
                    return;
                }
                _ => AgentAnswer::Error(error),
            },
            // No agent sends these.
            Ok(Message::Event(_) | Message::Greeting(_)) => return,
            Err(error) => return self.not_understood(error),
        };
        if let Phase::Answering {
            request,
            fence,
            probe,
            ..
        } = std::mem::replace(&mut self.phase, Phase::OutOfStep)
        {
            self.phase = Phase::Syncing {
                number: probe.unwrap_or(fence),
                awaits_port: false,
            };
            self.answer(request, answer);
        }
    }

    /// The agent has answered the sync of this number.
    fn synced(&mut self, answered: u64) {
        match std::mem::replace(&mut self.phase, Phase::OutOfStep) {
            Phase::Syncing { number, .. } if number == answered => self.phase = Phase::InStep,
            Phase::Answering {
                request,
                fence,
                probe,
                refusal,
            } if fence == answered => {
                self.phase = probe.map_or(Phase::InStep, |number| Phase::Syncing {
                    number,
                    awaits_port: false,
                });
                let answer = refusal.map_or(AgentAnswer::Silence, AgentAnswer::Error);
                self.answer(request, answer);
            }
            Phase::Answering {
                request,
                probe: Some(probe),
                ..
            } if probe == answered => {
                self.phase = Phase::InStep;
                self.answer(request, AgentAnswer::Gone);
            }
            // An earlier sync.
            phase => self.phase = phase,
        }
    }

    fn not_understood(&mut self, error: ProtocolError) {
        match std::mem::replace(&mut self.phase, Phase::OutOfStep) {
            Phase::Answering { request, .. } => {
                self.answer(request, AgentAnswer::NotUnderstood(error));
            }
            phase => self.phase = phase,
        }
    }

    fn answer(&mut self, request: Request<W>, answer: AgentAnswer) {
        let waiter = request.waiter;
        self.outputs
            .push_back(AgentOutput::Answer { waiter, answer });
    }
}

fn parse_sync_answer(line: &[u8]) -> Option<u64> {
    match Message::parse(line) {
        Ok(Message::Return { value, .. }) => value.get().parse().ok(),
        _ => None,
    }
}

/// A byte that no text contains. Its receiver drops the line before it.
const SENTINEL: u8 = 0xff;

const SYNC: &str = "guest-sync-delimited";
