//! The caller's side of a detached run: starts the owner of the machine, and
//! waits until the machine is ready.
//!
//! ```text
//! caller                                owner (this program again)
//!   |-- starts it; the channel is its     |
//!   |     standard input --------------->| launch, steps
//!   |-- a signal's number -------------->| as if the signal came there
//!   |<---------- a line: it is ready ----|
//!   |-- 0: keep it --------------------->| lives on
//!   ends                                 ends with the machine
//! ```
//!
//! If the channel ends before the 0, the owner ends the machine. So a caller that
//! is killed leaves nothing.

use std::fmt;
use std::future::pending;
use std::io::{self, BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::arguments::OWNER;
use crate::attention::{Attention, Call};
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::output;

/// What the caller writes to keep the machine.
pub(super) const KEEP: u8 = 0;

/// Starts the owner of the machine, and waits until the machine is ready. If it
/// is not, the result is the owner's.
pub(super) fn start_owner<T>(as_json: bool, attention: &Attention) -> Result<Outcome, Failure>
where
    T: Serialize + DeserializeOwned + fmt::Display,
{
    let (channel, mut owner) = start().map_err(|error| failed(&error))?;
    let orders = Orders(Arc::new(Mutex::new(Some(
        channel.try_clone().map_err(|error| failed(&error))?,
    ))));
    orders.clone().forward(attention.clone());
    let mut line = String::new();
    // The owner closes the channel at its end.
    let _ = BufReader::new(&channel).read_line(&mut line);
    if let Ok(ready) = serde_json::from_str::<T>(&line) {
        let printed = output::print(&ready, as_json);
        if printed.is_ok() && orders.keep() {
            return Ok(Outcome::Succeeded);
        }
        let _ = channel.shutdown(Shutdown::Write);
        if let Err(failure) = printed {
            owner.wait().map_err(|error| failed(&error))?;
            return Err(failure);
        }
    }
    result(&mut owner)
}

/// The machine is not in the background because of this.
pub(super) fn failed(error: &io::Error) -> Failure {
    let message = format!("cannot start the machine's owner: {error}");
    Failure::new(Outcome::Broken, message)
}

fn start() -> io::Result<(UnixStream, Child)> {
    let (channel, theirs) = UnixStream::pair()?;
    let mut words = std::env::args_os();
    // Also if the program's file was replaced.
    let mut owner = Command::new("/proc/self/exe");
    if let Some(name) = words.next() {
        owner.arg0(name);
    }
    owner.arg(OWNER).args(words).stdin(OwnedFd::from(theirs));
    let owner = owner.spawn()?;
    Ok((channel, owner))
}

fn result(owner: &mut Child) -> Result<Outcome, Failure> {
    let status = owner.wait().map_err(|error| failed(&error))?;
    match (status.code(), status.signal()) {
        (Some(code), _) => Ok(Outcome::Exit(code.into())),
        (None, signal) => {
            let message = format!("the machine's owner ended early: {status}");
            Err(Failure::new(Outcome::Signal(signal.unwrap_or(0)), message))
        }
    }
}

/// What the caller writes to the owner; nothing once it has kept the machine.
#[derive(Clone)]
struct Orders(Arc<Mutex<Option<UnixStream>>>);

impl Orders {
    /// Forwards every signal to the owner, which has left the terminal.
    fn forward(self, attention: Attention) {
        thread::spawn(move || {
            loop {
                if let Err(Call::Signal(number)) = attention.wait(pending::<()>()) {
                    self.signal(u8::try_from(number).unwrap_or(u8::MAX));
                }
            }
        });
    }

    fn signal(&self, number: u8) {
        let channel = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut it) = channel.as_ref() {
            let _ = it.write_all(&[number]);
        }
    }

    /// Keeps the machine, unless a signal came before.
    fn keep(&self) -> bool {
        let mut channel = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = channel.as_ref().map(|mut it| it.write_all(&[KEEP]));
        *channel = None;
        matches!(kept, Some(Ok(())))
    }
}
