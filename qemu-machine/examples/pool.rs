//! Boots a Linux once, and takes clones of it from a pool.
//!
//! `cargo run --example pool KERNEL INITRD [QEMU]`

use std::error::Error;
use std::time::{Duration, Instant};

use qemu_machine::{Console, Machine, Wait};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(kernel), Some(initrd)) = (arguments.next(), arguments.next()) else {
        return Err("usage: pool KERNEL INITRD [QEMU]".into());
    };
    let qemu = arguments.next().unwrap_or("qemu-system-x86_64".into());
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
    let template = vm.freeze().wait()?;
    // The warm-up runs what the caller will run, so its code is translated then.
    let pool = template.pool(2).warm_up(|vm| async move {
        vm.wake().await?;
        vm.console().shell().await?.run("uname -r").await?;
        Ok(())
    });
    let pool = pool.start()?;
    println!("{} clones are ready", pool.wait_until_filled().wait());
    for _ in 0..3 {
        let begun = Instant::now();
        let vm = pool.take().wait()?;
        let mut shell = vm.console().shell().wait()?;
        let kernel = shell.run("uname -r").wait()?.text();
        println!("Linux {kernel} answered after {:.1?}", begun.elapsed());
        vm.kill().wait()?;
    }
    Ok(())
}
