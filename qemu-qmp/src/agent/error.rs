//! What can go wrong between a caller and the agent.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use serde_json::value::RawValue;

use crate::Disconnected;
use crate::wire::{ErrorReply, Port, ProtocolError, Standing};
use qemu_qmp_engine::error_text::Quoted;

/// The agent did not do what it was asked for.
#[non_exhaustive]
pub struct AgentError {
    /// Whose agent it is, such as `machine 'qemu-1'`.
    pub server: String,
    /// The command that failed, of those that the operation consists of.
    pub command: String,
    /// What went wrong.
    pub failure: Box<AgentFailure>,
    /// What was seen of the machine meanwhile, in lines of their own; empty
    /// where nothing is known, or it would not help.
    pub seen: String,
}

/// Why the agent did not do what it was asked for.
#[non_exhaustive]
pub enum AgentFailure {
    /// The agent refused the command.
    Refused {
        /// Its answer.
        reply: Box<ErrorReply>,
    },
    /// The agent did not answer the sync in time. The command was not sent.
    NotReady {
        /// The deadline of the operation.
        limit: Duration,
        /// Whether something in the guest has opened the agent's port.
        port: Port,
        /// How much came meanwhile that was no answer.
        passed_over_bytes: u64,
    },
    /// The agent was busy with another command all the time. This one was not
    /// sent.
    Busy {
        /// The deadline of the operation.
        limit: Duration,
    },
    /// No reply came in time. The command may be executed still; its reply
    /// will be dropped.
    Timeout {
        /// The deadline of the operation.
        limit: Duration,
    },
    /// The program has not ended in time, and runs on.
    StillRuns {
        /// The deadline of the operation.
        limit: Duration,
        /// The program's process id in the guest.
        pid: i64,
    },
    /// The agent has read the command, gone on, and given no reply. For
    /// commands that do so where they succeed there is
    /// [`GuestAgent::tell`](super::GuestAgent::tell).
    NoReply,
    /// The agent has ended, or was started anew, before the reply. Whether the
    /// command was executed is not known.
    Gone,
    /// The guest has panicked, and the machine holds it.
    GuestPanicked,
    /// The guest has shut down, and the machine holds it.
    GuestShutDown,
    /// What came was no reply.
    NotUnderstood {
        /// What is wrong with it.
        error: ProtocolError,
    },
    /// The channel has ended, for instance with the machine.
    Interrupted {
        /// Why there is no channel.
        cause: Disconnected,
        /// Whether the command was sent, and so may have been executed.
        was_sent: bool,
    },
    /// The arguments cannot be written as a JSON object. Nothing was sent.
    Arguments {
        /// What is wrong with them.
        reason: String,
    },
    /// The reply came, but not in the shape that was asked for.
    Shape {
        /// What was received.
        received: Box<RawValue>,
        /// Where the shapes differ.
        cause: serde_json::Error,
    },
    /// The file is larger than was allowed.
    FileTooLarge {
        /// The limit that was in force.
        limit_bytes: usize,
    },
}

impl fmt::Display for AgentFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { reply } => write!(f, "failed: {reply}"),
            Self::NotReady {
                limit,
                port,
                passed_over_bytes,
            } => write!(
                f,
                "was not sent: the agent did not answer within {limit:?}{}",
                unsynced(*port, *passed_over_bytes)
            ),
            Self::Busy { limit } => write!(
                f,
                "was not sent: the agent was busy with another for {limit:?}"
            ),
            Self::Timeout { limit } => write!(f, "had no reply within {limit:?}"),
            Self::StillRuns { limit, pid } => write!(
                f,
                "runs a program that did not end within {limit:?}; its process in the guest is \
                 {pid}"
            ),
            Self::NoReply => f.write_str("has no reply: the agent has read it, and gone on"),
            Self::Gone => f.write_str("lost its agent, which has ended or was started anew"),
            Self::GuestPanicked => f.write_str("has no reply: the guest has panicked, and is held"),
            Self::GuestShutDown => {
                f.write_str("has no reply: the guest has shut down, and is held")
            }
            Self::NotUnderstood { error } => write!(f, "had an answer that is none: {error}"),
            Self::Interrupted { cause, .. } => write!(f, "was interrupted: {cause}"),
            Self::Arguments { reason } => write!(f, "has arguments that cannot be sent: {reason}"),
            Self::Shape { cause, .. } => write!(f, "had a reply of another shape: {cause}"),
            Self::FileTooLarge { limit_bytes } => write!(
                f,
                "reads a file of over {limit_bytes} bytes; a higher limit can be set"
            ),
        }
    }
}

impl StdError for AgentFailure {}

impl AgentFailure {
    /// The failure of a request that was given up.
    pub(super) fn given_up(standing: Standing, limit: Duration) -> Self {
        match standing {
            Standing::Queued => Self::Busy { limit },
            Standing::Unsynced {
                port,
                passed_over_bytes,
            } => Self::NotReady {
                limit,
                port,
                passed_over_bytes,
            },
            Standing::Sent => Self::Timeout { limit },
        }
    }

    /// Whether it may help to see what the machine has said.
    pub(super) fn is_of_silence(&self) -> bool {
        matches!(
            self,
            Self::NotReady { .. }
                | Self::Busy { .. }
                | Self::Timeout { .. }
                | Self::GuestPanicked
                | Self::GuestShutDown
        )
    }
}

fn unsynced(port: Port, passed_over_bytes: u64) -> String {
    match (port, passed_over_bytes) {
        (Port::Closed, _) => ", and nothing in the guest has its port open".to_owned(),
        (Port::Unknown, 0) => {
            "; it may not run in the guest, or another client may be connected to \
             its socket, which serves one at a time"
                .to_owned()
        }
        (Port::Open, 0) => String::new(),
        (_, bytes) => format!("; {bytes} bytes came that are no answer"),
    }
}

impl AgentError {
    /// The agent's own words, where it refused the command.
    pub fn reply(&self) -> Option<&ErrorReply> {
        match &*self.failure {
            AgentFailure::Refused { reply } => Some(reply),
            _ => None,
        }
    }

    /// Why the channel was lost, where it was.
    pub fn disconnected(&self) -> Option<&Disconnected> {
        match &*self.failure {
            AgentFailure::Interrupted { cause, .. } => Some(cause),
            _ => None,
        }
    }
}

impl fmt::Display for AgentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            server,
            command,
            failure,
            seen,
        } = self;
        let command = Quoted(command);
        write!(
            f,
            "{server}, guest agent: command {command} {failure}{seen}"
        )
    }
}

impl StdError for AgentError {}
