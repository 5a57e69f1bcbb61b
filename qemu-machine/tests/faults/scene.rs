//! What a row plays with.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use qemu_machine::{Machine, MachineBuilder, Wait};

use crate::support::{self, Qemu, Scratch};

/// The stage of one row. What its machines make in [`base`](Self::base) must
/// be gone at the end; what the row itself makes is in another folder.
pub struct Scene {
    base: Scratch,
    files: Scratch,
    qemu: Option<Qemu>,
    fault: Mutex<Instant>,
    told: Mutex<Option<Instant>>,
}

impl Scene {
    pub fn new(qemu: Option<Qemu>) -> Self {
        Self {
            base: Scratch::new("base"),
            files: Scratch::for_sockets("files"),
            qemu,
            fault: Mutex::new(Instant::now()),
            told: Mutex::new(None),
        }
    }

    /// Where the machines have their directories.
    pub fn base(&self) -> &Path {
        self.base.path()
    }

    /// A file of the row's own.
    pub fn file(&self, name: &str) -> PathBuf {
        self.files.join(name)
    }

    /// A FIFO of the row's own.
    pub fn fifo(&self, name: &str) -> PathBuf {
        self.files.fifo(name)
    }

    /// The scripted peer; or any program, by its path.
    pub fn program(&self, path: impl AsRef<Path>) -> MachineBuilder {
        Machine::builder(path.as_ref()).base_dir(self.base())
    }

    /// The scripted peer, played by this script.
    pub fn fake(&self, script: &str) -> MachineBuilder {
        support::fake(script).base_dir(self.base())
    }

    /// A machine of the scripted peer that has been greeted and negotiated
    /// with, and goes on by this script.
    pub fn running(&self, script: &str) -> Machine {
        let script = format!("greet\nnegotiate\n{script}");
        self.fake(&script).launch().wait().unwrap()
    }

    /// A machine of the QEMU at hand, with the tiny guest.
    pub fn tiny(&self) -> MachineBuilder {
        self.qemu().tiny().base_dir(self.base())
    }

    /// Such a machine, whose guest waits for commands.
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

    /// A machine that runs, of whatever is at hand: a QEMU, or a peer that
    /// serves.
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

    /// Now the fault happens.
    pub fn fault(&self) {
        *self.fault.lock().unwrap() = Instant::now();
    }

    /// Now the caller has been told. What is not said is said by the row's end.
    pub fn told(&self) {
        *self.told.lock().unwrap() = Some(Instant::now());
    }

    /// From the fault to the word.
    pub fn took(&self) -> Duration {
        let told = self.told.lock().unwrap().unwrap_or_else(Instant::now);
        told.saturating_duration_since(*self.fault.lock().unwrap())
    }
}
