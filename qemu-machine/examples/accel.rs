//! Shows how well each accelerator works on this host, and boots a machine with
//! the best one.
//!
//! `cargo run --example accel [QEMU]`

use std::error::Error;

use qemu_machine::{Accel, Console, Machine, Wait, guests};

fn main() -> Result<(), Box<dyn Error>> {
    let qemu = std::env::args_os()
        .nth(1)
        .unwrap_or_else(|| "qemu-system-x86_64".into());
    println!("{}", Accel::probe(&qemu).wait()?);

    let best = Accel::best(&qemu).wait()?; // uses the findings of the probe
    println!("best: {best}");
    let vm = Machine::builder(&qemu)
        .accel([&best])
        .firmware(guests::tiny())
        .console(Console::serial())
        .launch()
        .wait()?;
    vm.console().expect("tiny guest ready").wait()?;
    println!("the guest is ready, with {}", best.accel());
    vm.shutdown().wait()?;
    Ok(())
}
