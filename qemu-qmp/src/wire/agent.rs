//! The conversation with one guest agent, without its socket
//! (`docs/interop/qemu-ga-ref`).
//!
//! The agent speaks QMP, but does not greet, tells of no events, and gives back
//! ids only since QEMU 4.0. What carries it is a wire and no connection: it
//! may hold what was meant for somebody before us, and the agent comes and
//! goes. But it answers in order. So a command is sent in step alone, that is
//! when nothing else can be on its way, and a `guest-sync-delimited` goes with
//! it as its fence: what comes before the fence's answer is the reply, and if
//! nothing does, there is none.
//!
//! ```text
//!           somebody waits         its answer         somebody waits
//! OutOfStep --------------> Syncing ---------> InStep --------------> Answering
//!     ^                       | ^                 ^   no reply before the | |
//!     |                       | |                 `----- fence's answer --' |
//!     |                       | `------------ the reply --------------------|
//!     `-----------------------'--- given up, port closed, not understood ---'
//! ```
//!
//! Never gives a reply to anyone but who waits for it, and never holds more of
//! what the agent sends than one line.

use std::collections::VecDeque;

use memchr::memchr;
use serde_json::value::RawValue;

use super::connection::Line;
use super::frame::{Frames, LineTooLong};
use super::message::Message;
use super::{ErrorReply, ProtocolError};

/// The state of one conversation; `W` is whatever identifies who waits for a
/// reply.
#[derive(Debug)]
pub struct AgentConnection<W> {
    phase: Phase<W>,
    queue: VecDeque<Request<W>>,
    frames: Frames,
    line_limit_bytes: usize,
    /// The sentinel has come, and no line has ended since.
    delimited: bool,
    port: Port,
    hold: Option<AgentHold>,
    next_id: u64,
    next_sync: u64,
    /// How much was passed over since the last sync was sent.
    passed_over_bytes: u64,
    outputs: VecDeque<AgentOutput<W>>,
}

/// What a conversation begins with, and what it bears.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AgentSettings {
    /// The longest line that is taken, in bytes. 64 MiB at first, for an agent
    /// keeps 16 MiB of each output of a program.
    pub line_limit_bytes: usize,
    /// What is known of the guest's end before anything was heard of it.
    pub port: Port,
    /// The number of the first sync. It should be another each time, for the
    /// wire may hold the answers to somebody else's.
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

/// Whether something in the guest has opened its end, most likely the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// Nobody tells us.
    Unknown,
    /// It has not, or not any more. What is sent waits until it does.
    Closed,
    /// It has.
    Open,
}

/// What the conversation wants done, or has to tell.
#[derive(Debug)]
pub enum AgentOutput<W> {
    /// Send these bytes, in the order in which they come out.
    Transmit(Vec<u8>),
    /// It is known what becomes of a request.
    Answer {
        /// Who waits for it.
        waiter: W,
        /// What the agent answered, if it did.
        answer: AgentAnswer,
    },
}

/// What became of a request that was sent.
#[derive(Debug)]
#[non_exhaustive]
pub enum AgentAnswer {
    /// The agent returned something.
    Return(Box<RawValue>),
    /// The agent refused it.
    Error(ErrorReply),
    /// The agent has read it, gone on, and given no reply: as it does where a
    /// command succeeds that has none, and to a sync, which is all fence.
    Silence,
    /// The agent is gone that was to answer it, or was started anew.
    Gone,
    /// The guest is held for good: nobody in it will answer.
    Held(AgentHold),
    /// What came is no reply.
    NotUnderstood(ProtocolError),
}

/// Why a guest is held that only a reset brings back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentHold {
    /// It has panicked.
    Panicked,
    /// It has shut down.
    ShutDown,
}

/// How far a request had come that was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Another was under way before it. It was not sent.
    Queued,
    /// The agent had not answered the sync before it. It was not sent.
    Unsynced {
        /// Whether something in the guest has opened its end.
        port: Port,
        /// How much else has come meanwhile.
        passed_over_bytes: u64,
    },
    /// It was sent.
    Sent,
}

#[derive(Debug)]
enum Phase<W> {
    /// Whatever comes is not for us.
    OutOfStep,
    /// So is what comes before the answer to the sync of this number.
    Syncing {
        number: u64,
        /// It was sent to a port that was closed: it waits there.
        awaits_port: bool,
    },
    /// Nothing is to come.
    InStep,
    Answering {
        request: Request<W>,
        fence: u64,
        /// A sync sent later, to see whether the agent still has the request.
        probe: Option<u64>,
        /// What came since then: the answer, if the fence's comes next, or else
        /// the complaint of another agent, about the sentinel before the probe.
        refusal: Option<ErrorReply>,
    },
}

#[derive(Debug)]
struct Request<W> {
    id: u64,
    /// Empty for a sync.
    line: Vec<u8>,
    waiter: W,
    /// Its answer matters also when it was given up.
    is_kept: bool,
    is_given_up: bool,
}

impl<W> AgentConnection<W> {
    /// A conversation in which nothing was said yet.
    pub fn new(settings: &AgentSettings) -> Self {
        Self {
            phase: Phase::OutOfStep,
            queue: VecDeque::new(),
            frames: Frames::new(settings.line_limit_bytes),
            line_limit_bytes: settings.line_limit_bytes,
            delimited: false,
            port: settings.port,
            hold: None,
            next_id: 1,
            next_sync: settings.first_sync,
            passed_over_bytes: 0,
            outputs: VecDeque::new(),
        }
    }

    /// Begins a command; gives its id.
    pub fn submit(&mut self, line: Line, waiter: W) -> u64 {
        self.push(line.without_id(), waiter, false, false)
    }

    /// Begins a command whose answer comes out also if it is given up after it
    /// was sent.
    pub fn submit_kept(&mut self, line: Line, waiter: W) -> u64 {
        self.push(line.without_id(), waiter, true, false)
    }

    /// Begins a command that nobody waits for.
    pub fn submit_unattended(&mut self, line: Line, waiter: W) {
        self.push(line.without_id(), waiter, true, true);
    }

    /// Begins to find out whether the agent answers; if it does, that is
    /// [`AgentAnswer::Silence`].
    pub fn submit_sync(&mut self, waiter: W) -> u64 {
        self.push(Vec::new(), waiter, false, false)
    }

    /// Nobody waits for the request of this id any more; tells how far it had
    /// come.
    pub fn give_up(&mut self, id: u64) -> Standing {
        let mut standing = Standing::Sent;
        let place = self.queue.iter().position(|request| request.id == id);
        // Whether nobody waits who came before.
        let mut was_first = false;
        if let Some(place) = place {
            self.queue.remove(place);
            was_first = self.queue.iter().take(place).all(|it| it.is_given_up);
        }
        match (&mut self.phase, place) {
            (Phase::Answering { request, .. }, Some(_)) => {
                standing = Standing::Queued;
                // Nobody else would ever give it up.
                if was_first && request.is_given_up {
                    self.phase = Phase::OutOfStep;
                }
            }
            (_, Some(_)) => {
                standing = Standing::Unsynced {
                    port: self.port,
                    passed_over_bytes: self.passed_over_bytes,
                };
                // The sync was for its sake. Were it anew for others' too, a
                // slow agent would never be waited for long enough.
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
        standing
    }

    /// Takes in what was received, in pieces of any size; what it means comes
    /// out of [`poll_output`](Self::poll_output).
    pub fn receive(&mut self, mut bytes: &[u8]) {
        while let Some(at) = memchr(SENTINEL, bytes) {
            self.text(&bytes[..at]);
            // A line that has not ended will never do.
            self.frames = Frames::new(self.line_limit_bytes);
            self.delimited = true;
            if let Phase::InStep = self.phase {
                // Nobody asked for what stands behind it.
                self.phase = Phase::OutOfStep;
            }
            bytes = &bytes[at + 1..];
        }
        self.text(bytes);
        self.advance();
    }

    /// Something in the guest has opened or closed its end. QEMU tells of this
    /// up to a second late, and of several changes within one as of the last.
    pub fn port_changed(&mut self, open: bool) {
        self.port = if open { Port::Open } else { Port::Closed };
        // What nobody waits for was to be done for the agent that has gone.
        self.queue.retain(|request| !request.is_given_up);
        match std::mem::replace(&mut self.phase, Phase::OutOfStep) {
            Phase::Answering { request, .. } if !open => self.answer(request, AgentAnswer::Gone),
            Phase::Answering {
                request,
                fence,
                refusal,
                ..
            } => {
                // Another agent than it was sent to, or not.
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

    /// The guest is held for good, or goes on. Until then nothing is sent, and
    /// nobody waits.
    pub fn guest_is_held(&mut self, hold: Option<AgentHold>) {
        self.hold = hold;
        if let Some(hold) = hold {
            for (waiter, _) in self.take_waiters() {
                let answer = AgentAnswer::Held(hold);
                self.outputs
                    .push_back(AgentOutput::Answer { waiter, answer });
            }
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<AgentOutput<W>> {
        self.outputs.pop_front()
    }

    /// Takes out everyone who still waits, for instance to tell them that the
    /// channel has ended, and whether what they wait for was sent.
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
        if let Some(hold) = self.hold {
            self.answer(request, AgentAnswer::Held(hold));
        } else {
            self.queue.push_back(request);
            self.advance();
        }
        id
    }

    /// Goes on, if somebody waits for it.
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
                // With its fence: a server that does not read takes both or
                // neither.
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

    /// Sends a sync, and gives its number. With a sentinel before it, the agent
    /// first drops what it has of a line of somebody else's, and complains.
    fn sync(&mut self, after_sentinel: bool) -> u64 {
        self.sync_behind(Vec::new(), after_sentinel)
    }

    /// The same, sent in one piece with what stands before it.
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

    /// Takes in what stands between sentinels.
    fn text(&mut self, bytes: &[u8]) {
        if !self.listens() {
            self.pass_over(bytes);
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

    /// Whether what comes now may be for us.
    fn listens(&self) -> bool {
        self.delimited || matches!(self.phase, Phase::Answering { .. })
    }

    fn pass_over(&mut self, bytes: &[u8]) {
        if bytes.trim_ascii().is_empty() {
            return;
        }
        self.passed_over_bytes += bytes.len() as u64;
        if let Phase::InStep = self.phase {
            // So it was not.
            self.phase = Phase::OutOfStep;
        }
    }

    fn line(&mut self, line: &[u8]) {
        if std::mem::take(&mut self.delimited) {
            match sync_answered(line) {
                Some(number) => self.synced(number),
                None => self.pass_over(line),
            }
            return;
        }
        if !self.listens() {
            self.pass_over(line);
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
            // No agent has any.
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
            // One that is not waited for any more.
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

fn sync_answered(line: &[u8]) -> Option<u64> {
    match Message::parse(line) {
        Ok(Message::Return { value, .. }) => value.get().parse().ok(),
        _ => None,
    }
}

/// What no text has in it: who reads it forgets what came before.
const SENTINEL: u8 = 0xff;

const SYNC: &str = "guest-sync-delimited";
