//! Runs commands in a Linux guest through the shell on its console.
//!
//! `cargo run --example shell QEMU KERNEL INITRAMFS`

use std::error::Error;
use std::time::Duration;

use qemu_machine::{Console, Machine, Wait};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [qemu, kernel, initramfs] = &arguments[..] else {
        return Err("usage: shell QEMU KERNEL INITRAMFS".into());
    };
    let vm = Machine::builder(qemu)
        .accel(["tcg"])
        .memory("256M")
        .kernel(kernel)
        .initrd(initramfs)
        .append("console=ttyS0 quiet no_timer_check cryptomgr.notests")
        .console(Console::serial())
        .launch()
        .wait()?;
    // If the guest asks for a user: `.shell().user("root").password("…")`.
    vm.console()
        .expect("~ # ")
        .timeout(Duration::from_secs(120))
        .wait()?;
    let mut shell = vm.console().shell().wait()?;

    println!("kernel: {}", shell.run("uname -r").wait()?.text());
    let missing = shell.run("cat /nonesuch").wait()?;
    println!("status {}: {}", missing.status, missing.text());

    let hung = shell.run("sleep 1000").timeout(Duration::from_secs(1));
    if let Err(error) = hung.wait() {
        println!("{}", error.to_string().lines().next().unwrap_or_default());
        shell.recover().wait()?;
    }
    println!("{}", shell.run("echo it goes on").wait()?.text());
    vm.kill().wait()?;
    Ok(())
}
