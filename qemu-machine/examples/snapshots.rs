//! Saves a snapshot of a running guest with its memory and disk, changes the
//! guest, and goes back to the snapshot.
//!
//! `cargo run --example snapshots DISK [QEMU]`, with a writable qcow2 disk, for
//! example from `qemu-img create -f qcow2 DISK 1G`.

use std::error::Error;

use qemu_machine::spec::Drive;
use qemu_machine::{Console, Machine, Wait, guests};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let disk = arguments.next().ok_or("usage: snapshots DISK [QEMU]")?;
    let qemu = arguments.next().unwrap_or("qemu-system-x86_64".into());
    let vm = Machine::builder(qemu)
        .arg("-nodefaults")
        .firmware(guests::tiny())
        .drive(Drive::file(disk).format("qcow2").interface("ide"))
        .console(Console::serial())
        .launch()
        .wait()?;
    vm.console().expect("tiny guest ready").wait()?;

    vm.save_snapshot("fresh").wait()?;
    for snapshot in vm.snapshots().wait()? {
        let kib = snapshot.memory_bytes >> 10;
        println!("snapshot '{}' with {kib} KiB of memory", snapshot.name);
    }

    // A broken command line; the snapshot does not have it.
    vm.console().send("half a comm").wait()?;
    vm.load_snapshot("fresh").wait()?;
    vm.console().send("echo as fresh as before\n").wait()?;
    vm.console().expect("as fresh as before\r\n").wait()?;
    println!("the guest is as it was");

    let error = vm.load_snapshot("older").wait().unwrap_err();
    println!("{error}");
    vm.delete_snapshot("fresh").wait()?;
    vm.console().send("poweroff\n").wait()?;
    println!("{}", vm.wait_for_exit().wait()?);
    Ok(())
}
