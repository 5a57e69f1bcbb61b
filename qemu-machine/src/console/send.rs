//! Types on a console.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use qemu_qmp::error::ErrorKind;
use qemu_qmp::supervise::PeerContext;
use qemu_qmp_engine::{Elapsed, NotSent, Span, operation, timeout_option};

use super::buffer::End;
use super::{Console, Wire, subject};
use crate::life::ExitReport;

/// Types bytes; made by [`Console::send`].
///
/// It ends when QEMU's socket has taken the last byte. What the guest does with
/// the bytes shows on the console.
///
/// # Errors
/// [`SendError`]; each variant is a reason.
///
/// # Cancel safety
/// If the future is dropped before its first poll, nothing is sent. After that,
/// every byte is sent.
#[derive(Debug)]
#[must_use = "nothing is sent until awaited or waited for"]
pub struct SendBytes {
    console: Console,
    bytes: Vec<u8>,
    timeout: Option<Duration>,
}

/// Typed bytes did not reach the console.
#[derive(Clone)]
#[non_exhaustive]
pub enum SendError {
    /// The guest does not read its console, and the socket is full. The bytes
    /// follow when it reads again.
    Timeout {
        /// The machine's name.
        machine: String,
        /// The console's name; `None` for the machine's first one.
        console: Option<String>,
        /// The deadline.
        limit: Duration,
        /// The last output of QEMU and of the console, in lines of their own.
        seen: String,
    },
    /// The guest has not read its console for long, and the send queue is full.
    /// Nothing was sent.
    Congested {
        /// The machine's name.
        machine: String,
        /// The console's name; `None` for the machine's first one.
        console: Option<String>,
    },
    /// QEMU closed the console.
    Closed {
        /// The machine's name.
        machine: String,
        /// The console's name; `None` for the machine's first one.
        console: Option<String>,
    },
    /// The machine ended.
    MachineEnded {
        /// The console's name; `None` for the machine's first one.
        console: Option<String>,
        /// How it ended.
        report: Arc<ExitReport>,
    },
    /// The machine has no such console, or the caller has its socket.
    NoConsole {
        /// The machine's name.
        machine: String,
        /// The console's name; `None` for the machine's first one.
        console: Option<String>,
        /// Why not.
        reason: &'static str,
    },
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (machine, console) = self.place();
        write!(f, "{} did not take the input: ", subject(machine, console))?;
        match self {
            Self::Timeout { limit, seen, .. } => {
                write!(f, "the guest did not read it within {limit:?}{seen}")
            }
            Self::Congested { .. } => f.write_str(
                "nothing was sent: the send queue is full because the guest is not reading",
            ),
            Self::Closed { .. } => f.write_str("QEMU closed the console"),
            Self::MachineEnded { report, .. } => write!(f, "{report}"),
            Self::NoConsole { reason, .. } => write!(f, "{reason}"),
        }
    }
}

impl Error for SendError {}

impl SendBytes {
    pub(super) fn new(console: Console, bytes: Vec<u8>) -> Self {
        let timeout = console.shared.deadlines.limit();
        Self {
            console,
            bytes,
            timeout,
        }
    }
}

timeout_option!(SendBytes, timeout);

operation!(SendBytes => Result<(), SendError>);

impl SendBytes {
    async fn run(self) -> Result<(), SendError> {
        let console = self.console.clone();
        let span = Span::console(|| console.subject(), || "send".to_owned());
        span.around(self.send()).await
    }

    async fn send(self) -> Result<(), SendError> {
        let Self {
            console,
            bytes,
            timeout,
        } = self;
        console.shared.known_shell.types();
        let sent = match &console.shared.wire {
            Wire::Drained(stream) if !console.lock().has_ended() => {
                stream.send(&bytes).map(|unsent| (stream, unsent))
            }
            _ => Err(NotSent::Over),
        };
        let wait = async {
            match sent {
                Ok((_, None)) => return Ok(()),
                Ok((stream, Some(unsent))) if stream.sent(unsent).await.is_ok() => {
                    return Ok(());
                }
                Err(NotSent::Full) => return Err(None),
                Ok(_) | Err(NotSent::Over) => {}
            }
            // The reason for the end follows in a moment: the console's socket
            // ends before the machine does.
            Err(Some(console.ended().await))
        };
        let failed = match console.shared.deadlines.timeout(timeout, wait).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(failed)) => Ok(failed),
            Err(Elapsed(limit)) => Err(limit),
        };
        let (machine, name) = (console.shared.machine.clone(), console.shared.name.clone());
        Err(match failed {
            Ok(Some(end)) => SendError::by(end, machine, name),
            Ok(None) => SendError::Congested {
                machine,
                console: name,
            },
            Err(limit) => SendError::Timeout {
                machine,
                console: name,
                limit,
                seen: console.context().seen(),
            },
        })
    }
}

impl SendError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Timeout { .. } => ErrorKind::Timeout,
            Self::Congested { .. } => ErrorKind::Congested,
            Self::Closed { .. } | Self::MachineEnded { .. } => ErrorKind::Ended,
            Self::NoConsole { .. } => ErrorKind::Unsupported,
        }
    }

    fn by(end: End, machine: String, console: Option<String>) -> Self {
        match end {
            End::Closed => Self::Closed { machine, console },
            End::MachineEnded(report) => Self::MachineEnded { console, report },
            End::Absent(reason) => Self::NoConsole {
                machine,
                console,
                reason,
            },
        }
    }

    /// The names of the machine and of the console.
    fn place(&self) -> (&str, Option<&str>) {
        let (machine, console) = match self {
            Self::MachineEnded { console, report } => (&report.name, console),
            Self::Timeout {
                machine, console, ..
            }
            | Self::Congested { machine, console }
            | Self::Closed { machine, console }
            | Self::NoConsole {
                machine, console, ..
            } => (machine, console),
        };
        (machine, console.as_deref())
    }
}
