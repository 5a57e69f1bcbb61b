//! Guests of a single sector, which the BIOS boots from a disk.

use std::path::{Path, PathBuf};
use std::process::Command;

use qemu_machine::console::Pattern;
use qemu_machine::spec::{Drive, OptionGroup};
use qemu_machine::{Console, Machine, MachineBuilder, Wait};

use super::{Qemu, Scratch};

/// A machine with a screen that boots `tests/guests/NAME.S`.
pub fn boots(qemu: &Qemu, name: &str, scratch: &Scratch) -> MachineBuilder {
    let disk = disk(name, scratch);
    qemu.bare()
        .device(&OptionGroup::new("VGA"))
        .drive(Drive::file(disk).format("raw").interface("ide"))
        .console(Console::serial())
}

/// Waits for some more passes of the guest over its memory and its disk.
pub fn goes_on(vm: &Machine) {
    let console = vm.console();
    let passed = console.tail().len();
    while console.tail().len() < passed + 4 {
        let pass = console.expect(Pattern::regex(r"\.|broken").unwrap());
        let pass = pass.wait().unwrap();
        assert_eq!(pass.matched(), b".", "{pass:?}");
    }
}

/// Assembles a guest. Returns a disk that begins with it.
pub fn disk(name: &str, scratch: &Scratch) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/guests/{name}.S"));
    let (object, disk) = (scratch.join("boot.o"), scratch.join("boot.img"));
    let built = |command: &mut Command| {
        let status = command.status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "as and objcopy are in the package binutils"
        );
    };
    built(
        Command::new("as")
            .arg("--32")
            .arg("-o")
            .args([&object, &source]),
    );
    built(
        Command::new("objcopy")
            .args(["-O", "binary", "-j", ".text"])
            .args([&object, &disk]),
    );
    let image = std::fs::File::options().write(true).open(&disk).unwrap();
    assert_eq!(image.metadata().unwrap().len(), 512);
    image.set_len(1 << 20).unwrap();
    disk
}
