//! The owner of a detached machine: it runs the machine, and has left the caller
//! once the machine is ready. The header of `detach` has the order.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc;
use std::thread;

use nix::unistd;
use qemu_machine::Machine;
use serde::{Deserialize, Serialize};
use signal_hook::consts::SIGHUP;

use super::detach::{KEEP, failed};
use super::ending::Ending;
use super::stopped::Stopped;
use crate::attention::{Attention, Call};
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::{output, progress};

/// The owner's end of the channel to the caller.
pub(super) struct Owner {
    channel: UnixStream,
    /// Notified when the caller has decided about the ready machine.
    decided: mpsc::Receiver<()>,
}

/// A machine in the background.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::verb) struct Detached {
    /// The machine's name.
    name: String,
    /// The process that owns the machine: a signal to it ends the machine.
    owner_pid: u32,
    /// The process of QEMU; null if it has just ended.
    pid: Option<u32>,
    /// The file with the owner's messages; null without `--log-dir`.
    log: Option<String>,
}

impl fmt::Display for Detached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Leaves the caller's session, and lets go of all that it has open, except for
/// standard output and error. Returns the channel to it.
///
/// It must be the first that the process does: nothing else is open yet.
fn leave_caller() -> io::Result<UnixStream> {
    let channel = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    unistd::dup2_stdin(File::open("/dev/null")?)?;
    let open = fs::read_dir("/proc/self/fd")?.flatten();
    let open = open.filter_map(|it| it.file_name().to_str()?.parse::<i32>().ok());
    let others: Vec<i32> = open
        .filter(|it| *it > 2 && *it != channel.as_raw_fd())
        .collect();
    for number in others {
        // The descriptor of the list itself is closed already.
        let _ = unistd::close(number);
    }
    // Fails if it leads a session already.
    let _ = unistd::setsid();
    // Else it would be that of the link by which it was started.
    let _ = nix::sys::prctl::set_name(c"qemu-machine");
    Ok(channel)
}

impl Owner {
    /// Leaves the caller, and becomes the owner of the machine that this runs.
    pub(super) fn run(
        live: impl FnOnce(&Attention, &Self) -> Result<Outcome, Failure>,
    ) -> Result<Outcome, Failure> {
        let channel = leave_caller().map_err(|error| failed(&error))?;
        let attention = Attention::of_verb()?;
        let owner = Self::begin(channel, &attention).map_err(|error| failed(&error))?;
        live(&attention, &owner)
    }

    /// Begins to receive the caller's orders: signals, and to end if the caller
    /// is gone.
    fn begin(channel: UnixStream, attention: &Attention) -> io::Result<Self> {
        let (decide, decided) = mpsc::sync_channel(1);
        let (orders, attention) = (channel.try_clone()?, attention.clone());
        thread::Builder::new()
            .name("caller".to_owned())
            .spawn(move || {
                receive(&orders, &attention);
                let _ = decide.send(());
            })?;
        Ok(Self { channel, decided })
    }

    /// Reports to the caller that the machine is ready, and lets go of the
    /// caller's output. Later messages go to a file in the directory of logs, if
    /// there is one.
    pub(super) fn announce(&self, machine: &Machine, logs: Option<&Path>) -> Result<(), Stopped> {
        let log = logs.map(|it| it.join(format!("{}.owner.log", machine.name().replace('/', "_"))));
        let ready = Detached {
            name: machine.name().to_owned(),
            owner_pid: std::process::id(),
            pid: machine.pid(),
            log: log.as_ref().map(|it| it.to_string_lossy().into_owned()),
        };
        self.report(&ready, log.as_deref())
    }

    /// Reports to the caller that this is ready. Later messages go to the log, if
    /// there is one.
    pub(super) fn report(&self, ready: &impl Serialize, log: Option<&Path>) -> Result<(), Stopped> {
        let path = log.unwrap_or(Path::new("/dev/null"));
        // The terminal is the caller's again.
        progress::stop();
        leave_output(path).map_err(|error| Stopped {
            ending: Ending::OutputFailed { is_closed: false },
            message: Some(format!("cannot write to {}: {error}", path.display())),
        })?;
        // If the caller is gone, a call ends the machine.
        let _ = writeln!(&self.channel, "{}", output::json(ready));
        let _ = self.decided.recv();
        let _ = self.channel.shutdown(std::net::Shutdown::Both);
        Ok(())
    }
}

/// Receives the caller's orders until it keeps the machine, or is gone.
fn receive(mut orders: &UnixStream, attention: &Attention) {
    let mut order = [0];
    loop {
        match orders.read(&mut order) {
            Ok(1) if order[0] == KEEP => return,
            Ok(1) => attention.call(Call::Signal(order[0].into())),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => return attention.call(Call::Signal(SIGHUP)),
        }
    }
}

/// Makes this file standard output and error.
fn leave_output(path: &Path) -> io::Result<()> {
    let file = File::options().create(true).append(true).open(path)?;
    unistd::dup2_stdout(&file)?;
    unistd::dup2_stderr(&file)?;
    Ok(())
}
