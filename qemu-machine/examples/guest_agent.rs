//! Runs programs and copies files in a guest by its agent, without a console or
//! a network.
//!
//! `cargo run --example guest_agent -- QEMU KERNEL INITRD`, with a guest that
//! starts `qemu-ga`, such as the one of `cargo xtask setup`:
//! `target/guests/linux/vmlinuz` and `target/guests/linux/initramfs-agent`.

use std::error::Error;
use std::time::Duration;

use qemu_machine::qmp::agent::ShutdownMode;
use qemu_machine::{Machine, Wait};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [qemu, kernel, initrd] = arguments.as_slice() else {
        return Err("usage: guest_agent QEMU KERNEL INITRD".into());
    };
    let vm = Machine::builder(qemu)
        .memory("256M")
        .kernel(kernel)
        .initrd(initrd)
        .append("quiet no_timer_check cryptomgr.notests")
        .guest_agent()
        .launch()
        .wait()?;

    // The launch does not wait for the agent: the guest is still booting.
    let agent = vm.guest_agent();
    agent
        .wait_until_ready()
        .timeout(Duration::from_secs(120))
        .wait()?;
    println!("agent {}", agent.info().wait()?.version);

    agent.write_file("/root/words", "b\nc\na\n").wait()?;
    let sort = ["sort", "-o", "/root/sorted", "/root/words"];
    let output = agent.exec("busybox").args(sort).wait()?;
    if !output.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }

    // A program in the background, without its output. The handle returns its
    // status, and waits for its end.
    let sleep = agent.exec("busybox").args(["sleep", "1"]);
    let sleep = sleep.capture_output(false).spawn().wait()?;
    let sorted = agent.read_file("/root/sorted").wait()?;
    println!("sorted {:?}", String::from_utf8_lossy(&sorted));
    println!("has ended: {}", sleep.status().wait()?.is_some());
    let ended = sleep
        .wait_for_exit()
        .timeout(Duration::from_secs(60))
        .wait()?;
    println!("ended with {:?}", ended.code);

    agent.shutdown(ShutdownMode::Powerdown).wait()?;
    println!("{}", vm.wait_for_exit().wait()?);
    Ok(())
}
