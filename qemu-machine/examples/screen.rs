//! Takes pictures of a machine's screen, and presses its keys.
//!
//! `cargo run --example screen [QEMU [PNG]]`

use std::error::Error;
use std::time::Duration;

use qemu_machine::display::Tolerance;
use qemu_machine::spec::OptionGroup;
use qemu_machine::{Console, Machine, Wait};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let qemu = arguments.next().unwrap_or("qemu-system-x86_64".into());
    let vm = Machine::builder(qemu)
        .accel(["tcg"])
        .arg("-nodefaults")
        .device(&OptionGroup::new("VGA")) // without it there is no screen
        .console(Console::device(
            OptionGroup::new("isa-debugcon").set("iobase", "0x402"),
        ))
        .launch()
        .wait()?;

    // The firmware also prints this on its debug port, and then waits.
    vm.console().expect("No bootable device").wait()?;
    let shown = vm.display().still(Duration::from_secs(1)).wait()?;
    println!("a screen of {}x{}", shown.width(), shown.height());
    if let Some(path) = arguments.next() {
        shown.save(&path)?;
    }

    let mut events = vm.monitor().events(); // before what causes them: no race
    vm.keyboard().press("ctrl-alt-delete").wait()?;
    println!("event {}", events.next_named("RESET").wait()?);

    // After the reset the screen is the same again, except for the blinking cursor.
    let cursor = Tolerance {
        channel: 0,
        share: 0.001,
    };
    vm.display().expect(shown).tolerance(cursor).wait()?;
    println!("the same again");
    println!("{}", vm.shutdown().wait()?);
    Ok(())
}
