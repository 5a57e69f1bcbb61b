//! The templates of the machines that are clones.

use std::path::{Path, PathBuf};

use qemu_machine::template::Template;
use qemu_machine::{Console, Machine, MachineBuilder, Wait, guests};

use crate::plan::MACHINE_TYPES;

/// A frozen tiny guest of each QEMU and machine type.
#[derive(Debug)]
pub(crate) struct Templates(Vec<[Template; 3]>);

impl Templates {
    /// Boots and freezes each, in this folder.
    ///
    /// # Errors
    /// One of them could not be made.
    pub(crate) fn make(qemus: &[PathBuf], folder: &Path) -> Result<Self, String> {
        let make = |qemu: &PathBuf| {
            let [pc, q35, microvm] = MACHINE_TYPES.map(|it| template(qemu, it, folder));
            Ok::<_, String>([pc?, q35?, microvm?])
        };
        qemus.iter().map(make).collect::<Result<_, _>>().map(Self)
    }

    /// A machine with the guest of a template.
    pub(crate) fn clone_of(&self, which: usize, machine_type: &str) -> MachineBuilder {
        let index = MACHINE_TYPES.iter().position(|it| *it == machine_type);
        let of_qemu = &self.0[which % self.0.len()];
        of_qemu[index.unwrap_or_default()].machine()
    }
}

fn template(qemu: &Path, machine_type: &str, folder: &Path) -> Result<Template, String> {
    let failed = |error: &dyn std::fmt::Display| format!("a template of {machine_type}: {error}");
    let vm = Machine::builder(qemu)
        .accel(["tcg"])
        .machine(machine_type)
        .arg("-nodefaults")
        .memory(MEMORY)
        .firmware(guests::tiny())
        .console(Console::serial().ring_bytes(1 << 16))
        .base_dir(folder)
        .freezable_in(folder)
        .launch()
        .wait()
        .map_err(|error| failed(&error))?;
    let greeting = vm.console().expect("ready\r\n> ").wait();
    greeting.map_err(|error| failed(&error))?;
    vm.freeze().wait().map_err(|error| failed(&error))
}

/// The memory of a guest that is frozen.
pub(crate) const MEMORY: &str = "32M";
