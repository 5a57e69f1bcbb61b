//! Moves a guest to another machine, or to a file and back.
//!
//! ```text
//! save:  [pause] -> stream into the file -> mark whether it ran
//! move:  [pause] -> stream to the other machine -> start it there
//! load:             stream from the file -> start it, if it ran
//!
//! A save or a move that fails or is given up: cancel -> resume it here
//! ```
//!
//! Each operation runs on the engine to its end. A caller that stops waiting
//! cancels a save or a move, so no guest stays paused without an owner.

pub(crate) mod error;
mod file;
mod live;
mod load;
mod mark;
pub(crate) mod operation;
mod save;
pub(crate) mod source;
mod transfer;

use std::path::Path;

use qemu_qmp_engine::TurnLock;

pub(crate) use error::MoveError;
pub use load::Load;
pub use save::Save;
pub use transfer::Move;

use crate::Machine;

/// Locked while a guest is saved or moved. A second save at the same time would
/// resume the guest during the first.
pub(crate) type MigrationTurn = TurnLock<()>;

impl Machine {
    /// Moves the guest to another machine. That machine must be launched with
    /// [`incoming`](crate::MachineBuilder::incoming), and be otherwise like
    /// this one.
    ///
    /// The guest is paused first, so that its memory does not change during the
    /// move; see [`Move::live`]. Then it is in its earlier state on the other
    /// machine, running or paused. Here it stays paused (run state
    /// `postmigrate`). QEMU hands over the disks that both machines use, with
    /// their locks.
    ///
    ///
    /// If the move fails or is cancelled, the guest resumes its earlier state
    /// here. The other machine ends as a failure, or is ended; its
    /// [report](Self::wait_for_exit) has the output of QEMU. Only a machine
    /// that refused to wait for a guest still runs.
    ///
    /// The guest goes over a socket between the two processes. Their monitors
    /// must not be on TCP.
    pub fn migrate_to(&self, other: &Machine) -> Move {
        Move::new(self, other)
    }

    /// Saves the guest with its memory to a file.
    /// [`load_from`](Self::load_from) starts it from there, as often as needed.
    ///
    /// The guest is paused first, so that its memory does not change during the
    /// save; see [`Save::live`]. It stays paused after the save (run state
    /// `postmigrate`), because later writes to its disks would not match the
    /// file. `cont` resumes it here too. If the save fails or is cancelled, the
    /// guest resumes its earlier state. The old content of the file is lost in
    /// any case.
    ///
    /// The file must be a regular file or a device. For a pipe or a socket see
    /// [`Client::migrate_over`](crate::qmp::Client::migrate_over). It has the
    /// migration stream of QEMU, which QEMU also loads without this library.
    /// After it there are 32 bytes that say whether the guest ran; on a device
    /// they are at its end.
    ///
    /// The disks are not in the file. At the load, they must have the content
    /// that they had at the save. To save both at once, see
    /// [`save_snapshot`](Self::save_snapshot).
    pub fn save_to(&self, path: impl AsRef<Path>) -> Save {
        Save::new(self, path.as_ref())
    }

    /// Loads a guest that [`save_to`](Self::save_to) saved. The machine must be
    /// launched with [`incoming`](crate::MachineBuilder::incoming), and be
    /// otherwise like the saved one.
    ///
    /// The guest resumes its earlier state, running or paused; see
    /// [`Load::paused`]. In a file that QEMU wrote without this library, the
    /// stream decides that.
    ///
    /// A machine that cannot load the content of the file ends as a failure. If
    /// the file is missing, or neither a regular file nor a device, the machine
    /// still waits for a guest.
    pub fn load_from(&self, path: impl AsRef<Path>) -> Load {
        Load::new(self, path.as_ref())
    }
}
