//! Guests that are part of this crate.

use crate::spec::Firmware;

/// The tiny guest: a firmware with a command line on the first serial port.
///
/// It greets a few tens of milliseconds after QEMU's start. It needs no disk,
/// kernel or network, and runs on the machine types `pc`, `q35`, `microvm` and
/// `isapc`.
///
/// Each command is a line: `echo TEXT`, `flood N`, `tick MS`, `loop N`,
/// `bench N`, `reset`, `poweroff`, `panic`, `triplefault`, `hang`, `machine` or
/// `help`. The file `guests/tiny/README.md` in this crate describes them.
///
/// # Examples
/// ```no_run
/// use qemu_machine::{Console, Machine, Wait, guests};
///
/// let vm = Machine::builder("qemu-system-x86_64")
///     .firmware(guests::tiny())
///     .console(Console::serial())
///     .launch()
///     .wait()?;
/// vm.console().expect("> ").wait()?;
/// vm.console().send("echo hello\n").wait()?;
/// vm.console().expect("hello").wait()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn tiny() -> Firmware {
    Firmware {
        file_name: "tiny.bin",
        image: include_bytes!("../guests/tiny/tiny.bin"),
    }
}
