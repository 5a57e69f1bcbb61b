//! A published machine, as other programs see it.

use std::path::{Path, PathBuf};

use qemu_qmp::Client;
use qemu_qmp::agent::GuestAgent;
use qemu_qmp::connect::Connect;

use super::entry::Entry;
use super::{Kill, QueryStatus, Shutdown, claim, file_name, name};
use crate::console::{ConnectConsole, Console};

/// A machine that a program of this user has published; found by
/// [`find`](super::find) and [`list`](super::list).
///
/// It is only a name and what the owner wrote. Each operation connects to the
/// owner. The machine may have ended since: then they fail, because nothing
/// listens.
///
/// # Examples
/// ```no_run
/// use std::time::Duration;
///
/// use qemu_machine::{Wait, registry};
/// use qemu_machine::qmp::command::QueryStatus;
///
/// let machine = registry::find("db")?;
/// println!("{}", machine.status().wait()?);
/// let qmp = machine.monitor().wait()?;
/// println!("{}", qmp.execute(QueryStatus).wait()?.status);
/// let console = machine.console().wait()?;
/// console.send("\n").wait()?;
/// console.expect("login: ").wait()?;
/// println!("{}", machine.shutdown().powerdown(Duration::from_secs(30)).wait()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct PublishedMachine {
    folder: PathBuf,
    entry: Entry,
}

impl PublishedMachine {
    /// The machine of this folder, if its owner lives and its launch is done.
    pub(super) fn living(folder: PathBuf) -> Option<Self> {
        let name = file_name(&folder)?;
        if !claim::is_owned(&folder) {
            return None;
        }
        let entry = Entry::read_from(&folder)?;
        // Not for a folder that was copied or renamed.
        (entry.name == name).then_some(Self { folder, entry })
    }

    /// The machine's name.
    pub fn name(&self) -> &str {
        &self.entry.name
    }

    /// What the owner wrote about the machine.
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// The folder of the machine, with its sockets.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether the owner lives and the machine has not ended.
    pub fn is_alive(&self) -> bool {
        Self::living(self.folder.clone()).is_some_and(|it| it.entry == self.entry)
    }

    /// Connects to the machine's monitor. It is the owner's connection to QEMU,
    /// which all clients share. So a descriptor cannot be passed.
    pub fn monitor(&self) -> Connect<Client> {
        Client::connect_unix(self.folder.join(name::QMP)).already_listening()
    }

    /// Connects to the machine's guest agent. If the machine has no port for
    /// one, nothing listens.
    pub fn guest_agent(&self) -> Connect<GuestAgent> {
        GuestAgent::connect_unix(self.folder.join(name::AGENT)).already_listening()
    }

    /// Connects to the machine's first console. Also follows the guest on the
    /// monitor, so a reset or a panic ends the waits on the console.
    pub fn console(&self) -> ConnectConsole {
        self.connect_console(None)
    }

    /// Connects to the console with this name. If there is none, nothing
    /// listens.
    pub fn console_named(&self, name: &str) -> ConnectConsole {
        self.connect_console(Some(name))
    }

    fn connect_console(&self, name: Option<&str>) -> ConnectConsole {
        // A name that cannot be published has no socket.
        let file = name::console_socket(name).unwrap_or_default();
        Console::connect_unix(self.folder.join(file))
            .named(self.name(), name)
            .following(self.folder.join(name::QMP))
            .already_listening()
    }

    /// Asks the owner for the state of the machine and its guest.
    pub fn status(&self) -> QueryStatus {
        QueryStatus::new(self)
    }

    /// Ends the machine, softly first, as its owner's
    /// [`Machine::shutdown`](crate::Machine::shutdown) does.
    pub fn shutdown(&self) -> Shutdown {
        Shutdown::new(self)
    }

    /// Kills the machine. Data that was not yet written to its disks is lost.
    pub fn kill(&self) -> Kill {
        Kill::new(self)
    }
}
