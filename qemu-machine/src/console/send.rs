//! Typing on a console.

use std::error::Error;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use qemu_qmp::supervise::PeerContext;
use qemu_qmp_engine::{Elapsed, NotSent, timeout_option};

use super::buffer::End;
use super::{Console, Wire, what};
use crate::life::ExitReport;

/// Types bytes; made by [`Console::send`]. Ends when QEMU's socket has taken
/// the last one; what the guest makes of them shows on the console.
///
/// # Errors
/// Each variant of [`SendError`] says when.
///
/// # Cancel safety
/// If the future is dropped before it was polled, nothing is sent; after that,
/// all is.
#[derive(Debug)]
#[must_use = "nothing is sent until awaited or waited for"]
pub struct SendBytes {
    console: Console,
    bytes: Vec<u8>,
    timeout: Option<Duration>,
}

/// What was typed did not reach the console.
#[derive(Clone)]
#[non_exhaustive]
pub enum SendError {
    /// The guest does not read its console, and the socket is full. The bytes
    /// follow as soon as it does.
    Timeout {
        /// The machine's name.
        machine: String,
        /// The console's name; `None` for the machine's first one.
        console: Option<String>,
        /// The deadline.
        limit: Duration,
        /// What QEMU and the console said last, in lines of their own.
        seen: String,
    },
    /// The guest has not read its console for long; nothing was sent.
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
    /// The machine has no console that could be sent anything.
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
        match self {
            Self::Timeout {
                machine,
                console,
                limit,
                seen,
            } => write!(
                f,
                "{} did not take what was sent within {limit:?}{seen}",
                what(machine, console.as_deref())
            ),
            Self::Congested { machine, console } => write!(
                f,
                "{} was not sent anything: much waits before it",
                what(machine, console.as_deref())
            ),
            Self::Closed { machine, console } => {
                write!(f, "{} was closed", what(machine, console.as_deref()))
            }
            Self::MachineEnded { console, report } => write!(
                f,
                "{} did not take what was sent: {report}",
                what(&report.name, console.as_deref())
            ),
            Self::NoConsole {
                machine,
                console,
                reason,
            } => write!(
                f,
                "{} cannot be sent anything: {reason}",
                what(machine, console.as_deref())
            ),
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

impl IntoFuture for SendBytes {
    type Output = Result<(), SendError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self {
                console,
                bytes,
                timeout,
            } = self;
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
                // What has ended the console is known in a moment, as its
                // socket ends before the machine does.
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
        })
    }
}

impl SendError {
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
}
