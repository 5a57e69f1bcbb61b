//! The tools of a row.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use qemu_machine::{Machine, MachineBuilder, Wait};

use crate::support::{self, Qemu, Scratch};

/// The machines and files of one row. The files of its machines are in
/// [`base`](Self::base) and must be gone at the end. The files of the row
/// itself are in another folder.
pub struct Scene {
    base: Scratch,
    files: Scratch,
    qemu: Option<Qemu>,
    fault: Mutex<Instant>,
    notified: Mutex<Option<Instant>>,
}

impl Scene {
    pub fn new(qemu: Option<Qemu>) -> Self {
        Self {
            base: Scratch::new("base"),
            files: Scratch::for_sockets("files"),
            qemu,
            fault: Mutex::new(Instant::now()),
            notified: Mutex::new(None),
        }
    }

    /// The directory of the files of the machines.
    pub fn base(&self) -> &Path {
        self.base.path()
    }

    /// A file of the row itself.
    pub fn file(&self, name: &str) -> PathBuf {
        self.files.join(name)
    }

    /// A FIFO of the row itself.
    pub fn fifo(&self, name: &str) -> PathBuf {
        self.files.fifo(name)
    }

    /// A program by its path, such as the scripted peer.
    pub fn program(&self, path: impl AsRef<Path>) -> MachineBuilder {
        Machine::builder(path.as_ref()).base_dir(self.base())
    }

    /// The scripted peer with this script.
    pub fn fake(&self, script: &str) -> MachineBuilder {
        support::fake(script).base_dir(self.base())
    }

    /// A machine of the scripted peer after its handshake, which continues with
    /// this script.
    pub fn running(&self, script: &str) -> Machine {
        let script = format!("greet\nnegotiate\n{script}");
        self.fake(&script).launch().wait().unwrap()
    }

    /// A machine of the current QEMU, with the tiny guest.
    pub fn tiny(&self) -> MachineBuilder {
        self.qemu().tiny().base_dir(self.base())
    }

    /// Such a machine, with a guest at its prompt.
    pub fn prompt(&self, arguments: &[&str]) -> Machine {
        let vm = self
            .tiny()
            .args(arguments.to_vec())
            .launch()
            .wait()
            .unwrap();
        vm.console().expect("> ").wait().unwrap();
        vm
    }

    /// A running machine of the current kind: a QEMU, or a peer that serves.
    pub fn machine(&self) -> Machine {
        match self.qemu {
            Some(_) => self.prompt(&[]),
            None => self.running("serve"),
        }
    }

    pub fn qemu(&self) -> &Qemu {
        self.qemu.as_ref().expect("a row on a real QEMU")
    }

    pub fn is_real(&self) -> bool {
        self.qemu.is_some()
    }

    /// Call it when the fault happens.
    pub fn fault(&self) {
        *self.fault.lock().unwrap() = Instant::now();
    }

    /// Call it when the caller has its result. Without a call, that is the end
    /// of the row.
    pub fn notified(&self) {
        *self.notified.lock().unwrap() = Some(Instant::now());
    }

    /// The time from the fault to the result.
    pub fn took(&self) -> Duration {
        let notified = self.notified.lock().unwrap().unwrap_or_else(Instant::now);
        notified.saturating_duration_since(*self.fault.lock().unwrap())
    }
}
