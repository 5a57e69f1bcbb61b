//! A guest that moves to another machine, or to a file and back.
//!
//! ```text
//! save:  [pause] -> stream into the file -> mark whether it ran          | failed, given up:
//! move:  [pause] -> stream to the other machine -> let it run there      |   cancel, let it run here
//! load:             stream from the file        -> let it run, if it did
//! ```
//!
//! Each runs on the engine to its end. A caller that stops waiting makes a save
//! or a move be given up, so a guest is never left paused by nobody.

pub(crate) mod error;
mod file;
mod live;
mod load;
mod mark;
mod operation;
mod save;
mod source;
mod transfer;

use std::path::Path;

use qemu_qmp_engine::TurnLock;

pub(crate) use error::MoveError;
pub use load::Load;
pub use save::Save;
pub use transfer::Move;

use crate::Machine;

/// Held while a guest is saved or moved. Of two at once, the second one would let
/// the guest run while the first one saves it.
pub(crate) type MigrationTurn = TurnLock<()>;

impl Machine {
    /// Moves the guest to another machine, which was launched
    /// [to take it in](crate::MachineBuilder::incoming) and is like this one
    /// otherwise. Then the guest is paused here (run state `postmigrate`), and
    /// is there what it was here: it runs if it ran, and is paused if it was
    /// paused.
    ///
    /// The guest is paused before, so that its memory does not change on the way;
    /// see [`Move::live`]. Disks that both machines have, such as one file, are
    /// handed over by QEMU, with its lock.
    ///
    /// If the move fails, or is given up, the guest goes on here as it was. The
    /// other machine ends itself then, as one that failed, or is ended: its
    /// [report](Self::wait_for_exit) has QEMU's words. Only a machine that refused to
    /// wait for a guest stays as it is.
    ///
    /// Over a socket between the two processes; their monitors must not be on
    /// TCP.
    pub fn migrate_to(&self, other: &Machine) -> Move {
        Move::new(self, other)
    }

    /// Saves the guest with its memory to a file. [`load_from`](Self::load_from)
    /// lets it go on from there, as often as wanted. Then the guest is paused
    /// (run state `postmigrate`), as what it writes to its disks would no longer
    /// be what was saved; `cont` lets it go on here too.
    ///
    /// The guest is paused before, so that its memory does not change while it is
    /// saved; see [`Save::live`]. If the save fails, or is given up, the guest
    /// goes on as it was. What was in the file is lost in any case.
    ///
    /// The file is a regular file or a device. For a pipe or a socket see
    /// [`Client::migrate_over`](crate::qmp::Client::migrate_over). It is QEMU's
    /// migration stream, which QEMU also loads by itself, and behind it 32 bytes
    /// that say whether the guest ran; at the end of a device.
    ///
    /// Disks are not in the file. They must be at the load as they were at the
    /// save: see [`save_snapshot`](Self::save_snapshot) for both at once.
    pub fn save_to(&self, path: impl AsRef<Path>) -> Save {
        Save::new(self, path.as_ref())
    }

    /// Takes in a guest that [`save_to`](Self::save_to) has saved. The machine
    /// was launched [for that](crate::MachineBuilder::incoming), and is like the
    /// one that was saved otherwise.
    ///
    /// The guest runs if it ran when it was saved, and is paused if it was paused;
    /// see [`Load::paused`]. A file that QEMU saved by itself decides that
    /// likewise.
    ///
    /// A machine that cannot take in what is in the file ends itself, as one
    /// that failed. If there is no such file, or it is neither a regular file nor
    /// a device, the machine waits as before.
    pub fn load_from(&self, path: impl AsRef<Path>) -> Load {
        Load::new(self, path.as_ref())
    }
}
