//! Boots a Linux once, and clones it.
//!
//! `cargo run --example template KERNEL INITRD [QEMU]`

use std::error::Error;
use std::time::{Duration, Instant};

use qemu_machine::{Console, Machine, Wait};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(kernel), Some(initrd)) = (arguments.next(), arguments.next()) else {
        return Err("usage: template KERNEL INITRD [QEMU]".into());
    };
    let qemu = arguments.next().unwrap_or("qemu-system-x86_64".into());
    let begun = Instant::now();
    let vm = Machine::builder(qemu)
        .accel(["tcg"])
        .arg("-nodefaults")
        .memory("256M")
        .kernel(kernel)
        .initrd(initrd)
        .append("console=ttyS0 quiet no_timer_check")
        .console(Console::serial())
        .default_timeout(Duration::from_secs(120))
        .freezable()
        .launch()
        .wait()?;
    vm.console().expect("~ # ").wait()?;
    println!("booted in {:.1?}", begun.elapsed());
    let template = vm.freeze().wait()?;
    for number in 1..=3 {
        let begun = Instant::now();
        let name = format!("clone{number}");
        let clone = template.machine().name(name).launch().wait()?;
        clone.wake().wait()?;
        let mut shell = clone.console().shell().wait()?;
        let uuid = shell.run("cat /proc/sys/kernel/random/uuid").wait()?;
        println!(
            "{}: {} after {:.1?}",
            clone.name(),
            uuid.text(),
            begun.elapsed()
        );
        clone.shutdown().wait()?;
    }
    Ok(())
}
