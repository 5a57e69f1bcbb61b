//! Published machines: those that other programs of this user can find and use.
//!
//! [`MachineBuilder::publish`](crate::MachineBuilder::publish) publishes a
//! machine by its name. Its owner is the program that launched it. Any program
//! of the same user can [`list`] the machines, [`find`] one, and use its
//! monitor, its consoles and its guest agent through the owner. The machine
//! ends with its owner, as every machine does.
//!
//! ```text
//! $XDG_RUNTIME_DIR/qemu-machine/   mode 0700; without that variable,
//!   NAME/                            /tmp/qemu-machine-UID
//!     lock            locked by the owner as long as the machine lives
//!     machine.json    the Entry
//!     qmp             QMP for any number of clients, and the owner's commands
//!     agent           the guest agent, if the machine has a port for one
//!     console         the first console; console-NAME is another
//! ```
//!
//! # Examples
//! ```no_run
//! use qemu_machine::{Machine, Wait, registry};
//!
//! // One program:
//! let vm = Machine::builder("qemu-system-x86_64").name("db").publish().launch().wait()?;
//!
//! // Another program of the same user:
//! for machine in registry::list()? {
//!     println!("{} is process {}", machine.name(), machine.entry().pid);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod claim;
mod entry;
pub(crate) mod error;
pub(crate) mod freeze;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod lines;
mod name;
pub(crate) mod operation;
mod own_command;
mod places;
pub(crate) mod pool;
mod publication;
mod published;
mod report_json;
mod serve;

use std::fs;
use std::path::{Path, PathBuf};

use qemu_qmp_engine as engine;

use claim::Claim;
pub use entry::{ConsoleEntry, Entry};
pub(crate) use error::RegistryError;
pub use freeze::FreezePublished;
pub use operation::{Kill, MachineStatus, QueryStatus, Shutdown};
use places::Places;
pub use pool::{PoolStatus, PublishedPool, QueryPool, StopPool, TakeMachine, find_pool, pools};
pub(crate) use publication::{Announcement, Publication};
pub use published::PublishedMachine;
pub(crate) use serve::{Owner, Served};

/// The directory where this process publishes machines. It may not exist yet.
///
/// It is `$XDG_RUNTIME_DIR/qemu-machine`. If that variable is not set, or names a
/// directory that another user owns or can write to, it is
/// `/tmp/qemu-machine-UID`.
///
/// # Errors
/// [`RegistryError::NotPrivate`] if other users have access to it.
pub fn directory() -> Result<PathBuf, RegistryError> {
    Places::of_this_user().own().map(Path::to_owned)
}

/// The published machines of this user that are alive, sorted by name.
///
/// It looks into both directories that [`directory`] names: a program of the
/// same user may have another environment. A machine whose launch is not done
/// is not in the list.
///
/// # Errors
/// The directory cannot be read, or is not private to this user.
pub fn list() -> Result<Vec<PublishedMachine>, RegistryError> {
    list_in(&Places::of_this_user())
}

/// The published machine with this name.
///
/// # Errors
/// [`RegistryError::NotFound`] has the names of the living machines. Otherwise as
/// for [`list`].
pub fn find(name: &str) -> Result<PublishedMachine, RegistryError> {
    find_in(&Places::of_this_user(), name)
}

/// Removes what dead owners of machines and pools left, and returns the names,
/// sorted. The launch of a published machine does the same.
///
/// # Errors
/// The directory cannot be read, or is not private to this user. A folder that
/// cannot be removed now is skipped.
pub fn sweep() -> Result<Vec<String>, RegistryError> {
    let mut swept = sweep_in(&Places::of_this_user())?;
    swept.extend(pool::sweep()?);
    swept.sort();
    Ok(swept)
}

fn list_in(places: &Places) -> Result<Vec<PublishedMachine>, RegistryError> {
    let mut machines: Vec<PublishedMachine> = Vec::new();
    for directory in places.existing()? {
        for folder in folders(directory)? {
            // The other place may have a machine of the same name for a moment.
            if let Some(machine) = PublishedMachine::living(folder)
                && !machines.iter().any(|it| it.name() == machine.name())
            {
                machines.push(machine);
            }
        }
    }
    machines.sort_by(|a, b| a.name().cmp(b.name()));
    Ok(machines)
}

fn find_in(places: &Places, name: &str) -> Result<PublishedMachine, RegistryError> {
    if name::check_machine(name).is_ok() {
        let mut folders = places.existing()?.into_iter().map(|it| it.join(name));
        if let Some(machine) = folders.find_map(PublishedMachine::living) {
            return Ok(machine);
        }
    }
    let names = list_in(places)?;
    Err(RegistryError::NotFound {
        name: name.to_owned(),
        names: names.iter().map(|it| it.name().to_owned()).collect(),
    })
}

fn sweep_in(places: &Places) -> Result<Vec<String>, RegistryError> {
    let mut swept = Vec::new();
    for directory in places.existing()? {
        for folder in folders(directory)? {
            if claim::is_owned(&folder) {
                continue;
            }
            if let Ok(Some(mut claim)) = Claim::of_dead(&folder)
                && claim.remove().is_ok()
            {
                engine::log(log::Level::Info, module_path!(), || {
                    format!("removed {}, whose owner has died", folder.display())
                });
                swept.extend(file_name(&folder));
            }
        }
    }
    swept.sort();
    swept.dedup();
    Ok(swept)
}

/// The folders of machines in this directory.
fn folders(directory: &Path) -> Result<Vec<PathBuf>, RegistryError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) => return Err(RegistryError::file("read the directory", directory)(error)),
    };
    // An entry that goes during the look is not there.
    let folders = entries.flatten().filter(|entry| {
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        is_folder
            && entry
                .file_name()
                .to_str()
                .is_some_and(|name| name::check_machine(name).is_ok())
    });
    Ok(folders.map(|entry| entry.path()).collect())
}

fn file_name(folder: &Path) -> Option<String> {
    Some(folder.file_name()?.to_str()?.to_owned())
}

#[cfg(test)]
mod tests;
