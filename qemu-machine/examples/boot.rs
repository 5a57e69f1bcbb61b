//! Boots a machine, uses its console and ends it, from plain code.
//!
//! `cargo run --example boot [QEMU]`; the same under tokio is `boot_tokio`,
//! under smol `boot_smol`.

use std::error::Error;

use qemu_machine::qmp::command::QueryStatus;
use qemu_machine::{Console, Machine, Wait, guests};

fn main() -> Result<(), Box<dyn Error>> {
    let qemu = std::env::args_os()
        .nth(1)
        .unwrap_or_else(|| "qemu-system-x86_64".into());
    let vm = Machine::builder(qemu)
        .firmware(guests::tiny())
        .console(Console::serial())
        .launch()
        .wait()?;
    vm.console().expect("tiny guest ready").wait()?;
    println!(
        "the guest is {}",
        vm.monitor().execute(QueryStatus).wait()?.status
    );

    let mut events = vm.monitor().events(); // before what causes them: no race
    vm.console().send("poweroff\n").wait()?;
    println!("event {}", events.next_named("SHUTDOWN").wait()?);
    println!("{}", vm.wait_for_exit().wait()?);
    Ok(())
}
