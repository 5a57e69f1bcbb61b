//! Typing on a console.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use qemu_qmp::Witness;
use qemu_qmp::engine::{Elapsed, NotSent, Over};
use thiserror::Error;

use super::{Console, Wire, what};

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
pub struct Send {
    console: Console,
    bytes: Vec<u8>,
    timeout: Option<Duration>,
}

/// What was typed did not reach the console.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum SendError {
    /// The guest does not read its console, and the socket is full. The bytes
    /// follow as soon as it does.
    #[error("{} did not take what was sent within {limit:?}{seen}", what(.machine, .console.as_deref()))]
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
    #[error("{} was not sent anything: much waits before it", what(.machine, .console.as_deref()))]
    Congested {
        /// The machine's name.
        machine: String,
        /// The console's name; `None` for the machine's first one.
        console: Option<String>,
    },
    /// The console, or the machine, has ended.
    #[error("{} has ended", what(.machine, .console.as_deref()))]
    Ended {
        /// The machine's name.
        machine: String,
        /// The console's name; `None` for the machine's first one.
        console: Option<String>,
    },
}

impl Send {
    pub(super) fn new(console: Console, bytes: Vec<u8>) -> Self {
        let timeout = console.shared.deadlines.limit();
        Self {
            console,
            bytes,
            timeout,
        }
    }

    /// Waits no longer than this instead of 30 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Waits as long as the console lives.
    pub fn no_timeout(mut self) -> Self {
        self.timeout = None;
        self
    }
}

impl IntoFuture for Send {
    type Output = Result<(), SendError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + std::marker::Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self {
                console,
                bytes,
                timeout,
            } = self;
            let (machine, name) = (console.shared.machine.clone(), console.shared.name.clone());
            let ended = || SendError::Ended {
                machine: machine.clone(),
                console: name.clone(),
            };
            let deadlines = &console.shared.deadlines;
            let Wire::Drained(stream) = &console.shared.wire else {
                return Err(ended());
            };
            if console.lock().has_ended() {
                return Err(ended());
            }
            match stream.send(&bytes) {
                Ok(None) => Ok(()),
                Ok(Some(unsent)) => match deadlines.timeout(timeout, stream.sent(unsent)).await {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(Over)) => Err(ended()),
                    Err(Elapsed(limit)) => Err(SendError::Timeout {
                        machine,
                        console: name,
                        limit,
                        seen: console.witness().seen(),
                    }),
                },
                Err(NotSent::Full) => Err(SendError::Congested {
                    machine,
                    console: name,
                }),
                Err(NotSent::Over) => Err(ended()),
            }
        })
    }
}
