//! Uses a monitor: commands in and out of band, events by pattern, a second
//! monitor, a passed descriptor, and a transcript of everything.
//!
//! `cargo run --example monitor [QEMU [TRANSCRIPT]]`

use std::error::Error;
use std::io::{Read, pipe};

use qemu_machine::qmp::command::QueryStatus;
use qemu_machine::{Machine, Wait};
use serde_json::json;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let qemu = arguments.next().unwrap_or("qemu-system-x86_64".into());
    let mut builder = Machine::builder(qemu).arg("-nodefaults").add_monitor("ops");
    if let Some(path) = arguments.next() {
        builder = builder.transcript(path);
    }
    let vm = builder.launch().wait()?;

    println!(
        "status: {}",
        vm.monitor().execute(QueryStatus).wait()?.status
    );
    println!(
        "human: {}",
        vm.monitor().human("info version").wait()?.trim()
    );

    // The listener exists before the command that causes the event: no race.
    let mut events = vm.monitor().events();
    let ops = vm.monitor_named("ops").ok_or("no such monitor")?;
    ops.execute_json("stop", ()).id("maintenance").wait()?;
    println!("event: {}", events.next_named("STOP").wait()?);
    ops.execute_json("system_reset", ()).wait()?;
    let by_us = [(
        "RESET",
        json!({"guest": false, "reason": "host-qmp-system-reset"}),
    )];
    println!("event: {}", events.next_matching(by_us).wait()?);

    // A refusal has QEMU's own class and message.
    if let Err(error) = vm
        .monitor()
        .execute_json("device_del", json!({"id": "none"}))
        .wait()
    {
        println!(
            "refused: {}",
            error.reply().ok_or("no reply")?.class.as_str()
        );
    }

    let (mut reader, writer) = pipe()?;
    vm.monitor().getfd("state", writer).wait()?;
    vm.monitor()
        .execute_json("migrate", json!({"uri": "fd:state"}))
        .wait()?;
    let mut state = Vec::new();
    reader.read_to_end(&mut state)?;
    println!(
        "state: begins with {}",
        String::from_utf8_lossy(&state[..4])
    );

    println!("{}", vm.shutdown().wait()?);
    Ok(())
}
