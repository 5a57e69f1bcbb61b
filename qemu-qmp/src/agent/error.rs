//! The errors of the guest agent's operations.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;

use crate::Disconnected;
use crate::error_kind::ErrorKind;
use crate::wire::{ErrorReply, Port, ProtocolError, RequestStage};
use qemu_qmp_engine::error_text::Quoted;

/// An operation on the guest agent failed.
#[derive(Clone)]
#[non_exhaustive]
pub struct AgentError {
    /// The machine, such as `machine 'qemu-1'`.
    pub server: String,
    /// The command that failed. An operation may consist of several.
    pub command: String,
    /// Why it failed.
    pub failure: Box<AgentFailure>,
    /// What was seen of the machine, in lines of their own. Empty where nothing
    /// is known, or where it would not help.
    pub seen: String,
}

/// Why an operation on the guest agent failed.
#[derive(Clone)]
#[non_exhaustive]
pub enum AgentFailure {
    /// The agent refused the command.
    Refused {
        /// The agent's answer.
        reply: Box<ErrorReply>,
    },
    /// The agent did not answer the sync in time. The command was not sent.
    NotReady {
        /// The deadline of the operation.
        limit: Duration,
        /// Whether something in the guest has opened the agent's port.
        port: Port,
        /// How many bytes came that were not an answer.
        passed_over_bytes: u64,
    },
    /// The agent executed another command until the deadline. This one was not
    /// sent.
    Busy {
        /// The deadline of the operation.
        limit: Duration,
    },
    /// No reply came in time. The agent may still execute the command; its
    /// reply will be dropped.
    Timeout {
        /// The deadline of the operation.
        limit: Duration,
    },
    /// The agent did not report the program's exit in time. The program is not
    /// ended, and the caller may wait again.
    StillRunning {
        /// The deadline of the operation.
        limit: Duration,
        /// The program's process id in the guest.
        pid: i64,
        /// How long the agent had not answered the last question about the
        /// program; `None` if it had answered.
        unanswered_for: Option<Duration>,
    },
    /// The agent executed the command and sent no reply. Some commands send
    /// none when they succeed: execute those by
    /// [`GuestAgent::execute_without_reply`](super::GuestAgent::execute_without_reply).
    NoReply,
    /// The agent ended or restarted before the reply. It may have executed the
    /// command.
    Gone,
    /// The guest has panicked, and QEMU keeps it paused.
    GuestPanicked,
    /// The guest has shut down, and QEMU keeps it paused.
    GuestShutDown,
    /// The agent sent something that is not a reply.
    NotUnderstood {
        /// What is wrong with it.
        error: ProtocolError,
    },
    /// The channel ended before the reply, for example with the machine.
    Interrupted {
        /// Why the channel ended.
        cause: Disconnected,
        /// Whether the command was sent, so that the agent may have executed it.
        was_sent: bool,
    },
    /// The arguments are not a JSON object. Nothing was sent.
    Arguments {
        /// What is wrong with them.
        reason: String,
    },
    /// The reply has another form than the type that was asked for.
    Shape {
        /// The reply as it was received.
        received: Box<RawValue>,
        /// Where the forms differ.
        cause: Arc<serde_json::Error>,
    },
    /// The guest cannot stream a program's output: it has no POSIX shell, no
    /// `mkfifo`, or no directory for temporary files.
    NoStream {
        /// The guest's own words.
        reason: String,
    },
    /// The rest of a program's output was lost in the guest, for example because
    /// its disk is full.
    OutputLost {
        /// The guest's own words.
        reason: String,
    },
    /// The file is larger than the limit.
    FileTooLarge {
        /// The limit, in bytes.
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
                why_unsynced(*port, *passed_over_bytes)
            ),
            Self::Busy { limit } => write!(
                f,
                "was not sent: the agent was busy with another command for {limit:?}"
            ),
            Self::Timeout { limit } => write!(f, "failed: no reply within {limit:?}"),
            Self::StillRunning {
                limit,
                pid,
                unanswered_for,
            } => {
                write!(
                    f,
                    "timed out: the program did not exit within {limit:?}; it is process {pid} \
                     in the guest"
                )?;
                match unanswered_for {
                    Some(silence) => {
                        write!(f, "; the agent has not answered for the last {silence:.1?}")
                    }
                    None => Ok(()),
                }
            }
            Self::NoReply => f.write_str("failed: the agent executed it without a reply"),
            Self::Gone => f.write_str("failed: the agent ended or restarted"),
            Self::GuestPanicked => f.write_str("failed: the guest has panicked, and is paused"),
            Self::GuestShutDown => f.write_str("failed: the guest has shut down, and is paused"),
            Self::NotUnderstood { error } => write!(f, "failed: {error}"),
            Self::Interrupted { cause, .. } => write!(f, "was interrupted: {cause}"),
            Self::Arguments { reason } => write!(f, "was not sent: invalid arguments: {reason}"),
            Self::Shape { cause, .. } => {
                write!(f, "failed: its reply has an unexpected form: {cause}")
            }
            Self::NoStream { reason } => {
                write!(f, "failed: the guest cannot stream output: {reason}")
            }
            Self::OutputLost { reason } => write!(
                f,
                "failed: the rest of the program's output was lost in the guest: {reason}"
            ),
            Self::FileTooLarge { limit_bytes } => write!(
                f,
                "failed: the file is longer than {limit_bytes} bytes; set a higher limit"
            ),
        }
    }
}

impl StdError for AgentFailure {}

impl AgentFailure {
    /// The kind of failure, to decide by.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused { .. } | Self::OutputLost { .. } => ErrorKind::Refused,
            Self::NoStream { .. } => ErrorKind::Unsupported,
            Self::NotReady { .. } | Self::Timeout { .. } | Self::StillRunning { .. } => {
                ErrorKind::Timeout
            }
            Self::Busy { .. } => ErrorKind::Congested,
            Self::NoReply | Self::NotUnderstood { .. } | Self::Shape { .. } => ErrorKind::Protocol,
            Self::Gone => ErrorKind::Ended,
            Self::GuestPanicked | Self::GuestShutDown => ErrorKind::Guest,
            Self::Interrupted { cause, .. } => cause.kind(),
            Self::Arguments { .. } | Self::FileTooLarge { .. } => ErrorKind::InvalidInput,
        }
    }

    /// The system error, if that is the cause.
    pub fn io_error(&self) -> Option<&io::Error> {
        match self {
            Self::Interrupted { cause, .. } => cause.io_error(),
            _ => None,
        }
    }

    /// The failure of a request that reached this stage before its deadline.
    pub(super) fn timed_out(stage: RequestStage, limit: Duration) -> Self {
        match stage {
            RequestStage::Queued => Self::Busy { limit },
            RequestStage::Unsynced {
                port,
                passed_over_bytes,
            } => Self::NotReady {
                limit,
                port,
                passed_over_bytes,
            },
            RequestStage::Sent => Self::Timeout { limit },
        }
    }

    /// Whether the deadline passed before an answer came.
    pub(super) fn is_unanswered(&self) -> bool {
        matches!(
            self,
            Self::NotReady { .. }
                | Self::Busy { .. }
                | Self::Timeout { .. }
                | Self::StillRunning {
                    unanswered_for: Some(_),
                    ..
                }
        )
    }

    /// Whether the machine's output may explain it.
    pub(super) fn is_silence(&self) -> bool {
        self.is_unanswered() || matches!(self, Self::GuestPanicked | Self::GuestShutDown)
    }
}

fn why_unsynced(port: Port, passed_over_bytes: u64) -> String {
    match (port, passed_over_bytes) {
        (Port::Closed, _) => ": nothing in the guest has its port open".to_owned(),
        (Port::Unknown, 0) => {
            ": it may not run in the guest, or another client may be connected to its \
             socket, which serves one at a time"
                .to_owned()
        }
        (Port::Open, 0) => String::new(),
        (_, bytes) => format!(": it sent {bytes} bytes that are not an answer"),
    }
}

impl AgentError {
    /// The kind of failure, to decide by.
    pub fn kind(&self) -> ErrorKind {
        self.failure.kind()
    }

    /// The system error, if that is the cause.
    pub fn io_error(&self) -> Option<&io::Error> {
        self.failure.io_error()
    }

    /// The agent's error reply, if it refused the command.
    pub fn reply(&self) -> Option<&ErrorReply> {
        match &*self.failure {
            AgentFailure::Refused { reply } => Some(reply),
            _ => None,
        }
    }

    /// Why the channel ended, if it did.
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
