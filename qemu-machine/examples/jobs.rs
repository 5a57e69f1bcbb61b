//! Follows long operations of a QEMU: the backup of a disk with its progress, the
//! migration of a guest to another machine, and its save to a file.
//!
//! `cargo run --example jobs [QEMU]`

use std::error::Error;
use std::fs::File;
use std::time::Duration;

use qemu_machine::{Console, Machine, Wait, guests};
use serde_json::json;

fn main() -> Result<(), Box<dyn Error>> {
    let qemu = std::env::args_os().nth(1);
    let qemu = qemu.unwrap_or("qemu-system-x86_64".into());
    let directory = std::env::temp_dir().join(format!("jobs-{}", std::process::id()));
    std::fs::create_dir(&directory)?;
    let disk = directory.join("disk");
    File::create(&disk)?.set_len(16 << 20)?;
    let machine = Machine::builder(qemu)
        .arg("-nodefaults")
        .firmware(guests::tiny())
        .console(Console::serial());

    let vm = machine
        .clone()
        .args(["-blockdev", "driver=null-co,node-name=copy,size=16777216"])
        .arg("-blockdev")
        .arg(format!(
            "driver=file,node-name=disk,filename={}",
            disk.display()
        ))
        .launch()
        .wait()?;
    let backup = json!({"job-id": "backup", "device": "disk", "target": "copy", "sync": "full"});
    let report = vm
        .monitor()
        .run_job("blockdev-backup", backup)
        .on_progress(Duration::from_millis(100), |it| println!("{it:?}"))
        .wait()?;
    println!("the backup is {}", report.states[report.states.len() - 2]);
    vm.shutdown().wait()?;

    let here = machine.launch().wait()?;
    here.console().expect("tiny guest ready").wait()?;
    let there = machine.clone().incoming().launch().wait()?;
    let report = here.migrate_to(&there).wait()?;
    println!(
        "the migration is {}",
        report.states[report.states.len() - 1]
    );
    here.shutdown().wait()?;

    let saved = directory.join("guest");
    there.save_to(&saved).wait()?;
    there.shutdown().wait()?;
    let again = machine.clone().incoming().launch().wait()?;
    again.load_from(&saved).wait()?;
    again.console().send("poweroff\n").wait()?;
    println!("{}", again.wait_for_exit().wait()?);
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}
