//! Guests that come with this crate.

use crate::spec::Firmware;

/// The tiny guest: a firmware that greets on the first serial port some tens
/// of milliseconds after QEMU's start, and obeys simple commands there. It
/// needs no disk, no kernel and no network, and runs on the machine types
/// `pc`, `q35`, `microvm` and `isapc`.
///
/// Its commands, each a line, are `echo TEXT`, `flood N`, `tick MS`, `loop N`,
/// `bench N`, `reset`, `poweroff`, `panic`, `triplefault`, `hang`, `machine` and `help`;
/// `guests/tiny/README.md` in this crate says what each does.
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
