//! Connects a guest's console to this terminal.
//!
//! `cargo run --example interact [QEMU]`; Ctrl-] leaves. It also types piped
//! input.

use std::error::Error;

use qemu_machine::console::InteractEnd;
use qemu_machine::{Console, Machine, Wait, guests};

fn main() -> Result<(), Box<dyn Error>> {
    let qemu = std::env::args_os()
        .nth(1)
        .unwrap_or_else(|| "qemu-system-x86_64".into());
    let vm = Machine::builder(qemu)
        .accel(["tcg"])
        .firmware(guests::tiny())
        .console(Console::serial())
        .launch()
        .wait()?;
    let hint = "a tiny guest: 'help' lists its commands, Ctrl-] leaves";
    let end = vm.console().interact().hint(hint).wait()?;
    eprintln!("\n{end}");
    if !matches!(end, InteractEnd::MachineEnded(_)) {
        eprintln!("{}", vm.shutdown().wait()?);
    }
    Ok(())
}
