//! Uses a console like a person: finds a prompt that kernel messages split, and
//! reads a full-screen program from the screen.
//!
//! `cargo run --example console QEMU KERNEL INITRAMFS`, with the kernel and the
//! initramfs of `cargo xtask setup` in `target/guests/linux`.

use std::error::Error;

use qemu_machine::console::Pattern;
use qemu_machine::{Console, Machine, Wait};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [qemu, kernel, initramfs] = &arguments[..] else {
        return Err("usage: console QEMU KERNEL INITRAMFS".into());
    };
    let vm = Machine::builder(qemu)
        .accel(["tcg"])
        .arg("-nodefaults")
        .memory("256M")
        .kernel(kernel)
        .initrd(initramfs)
        .append("console=ttyS0 no_timer_check cryptomgr.notests")
        .console(Console::serial().past_kernel_lines().screen())
        .launch()
        .wait()?;
    let console = vm.console();
    console.expect("~ # ").wait()?;

    console
        .send("printf log; echo '<1>in between' >/dev/kmsg; printf 'in: '\n")
        .wait()?;
    let prompt = console.expect("login: ").wait()?;
    println!(
        "found \"{}\"",
        String::from_utf8_lossy(prompt.matched()).trim()
    );

    console.send("dmesg -n 1; stty rows 24 cols 80\n").wait()?;
    console.send("vi notes\n").wait()?;
    console
        .screen_shows(Pattern::regex("(?m)^- notes")?)
        .wait()?;
    console.send("ihello from the host\x1b").wait()?;
    let screen = console.screen_shows("notes [Modified]").wait()?;
    println!("the editor shows \"{}\"", screen.row(0));
    println!("{}", vm.shutdown().wait()?);
    Ok(())
}
