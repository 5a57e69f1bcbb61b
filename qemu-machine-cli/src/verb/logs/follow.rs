//! Follows the file of a log until its machine ends.
//!
//! ```text
//! kernel: the file has changed --> thread: prints what is new
//! monitor: QEMU has ended -------> the rest is printed, and the verb ends
//! ```

use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{io, thread};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use qemu_machine::Wait;
use qemu_machine::error::EventError;
use qemu_machine::registry::PublishedMachine;

use crate::attention::{Attention, Call};
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::output;
use crate::verb::console::interrupted;
use crate::verb::qmp::failed;

pub(super) fn follow(machine: &PublishedMachine, log: &Path) -> Result<Outcome, Failure> {
    let attention = Attention::of_verb()?;
    let monitor = machine.monitor().wait().map_err(failed)?;
    let mut events = monitor.events();
    let unreadable = |error: io::Error| Failure::file("read", log, &error);
    let file = File::open(log).map_err(unreadable)?;
    let changes = watch(log).map_err(|error| unreadable(error.into()))?;
    let log = Log {
        file: Arc::new(Mutex::new(file)),
        path: log.into(),
    };
    log.print()?;
    let (follower, caller) = (log.clone(), attention.clone());
    thread::spawn(move || {
        while let Ok(_) | Err(Errno::EINTR) = changes.read_events() {
            if let Err(failure) = follower.print() {
                let text = failure.message.unwrap_or_default();
                let kind = match failure.outcome {
                    Outcome::OUTPUT_CLOSED => io::ErrorKind::BrokenPipe,
                    _ => io::ErrorKind::Other,
                };
                caller.call(Call::Output(kind, text));
            }
        }
    });
    loop {
        match attention.wait(events.next().timeout(None)) {
            Ok(Err(EventError::Ended { .. })) => {
                log.print()?;
                return Ok(Outcome::Succeeded);
            }
            Ok(_) => {}
            Err(call) => return interrupted(call),
        }
    }
}

fn watch(log: &Path) -> Result<Inotify, Errno> {
    let changes = Inotify::init(InitFlags::IN_CLOEXEC)?;
    changes.add_watch(log, AddWatchFlags::IN_MODIFY)?;
    Ok(changes)
}

/// A log that is read from where the last reading ended.
#[derive(Clone)]
struct Log {
    file: Arc<Mutex<File>>,
    path: Arc<Path>,
}

impl Log {
    fn print(&self) -> Result<(), Failure> {
        let mut file: MutexGuard<'_, File> =
            self.file.lock().unwrap_or_else(PoisonError::into_inner);
        output::copy(&mut *file, &self.path)
    }
}
