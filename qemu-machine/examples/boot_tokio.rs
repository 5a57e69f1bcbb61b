//! Boots a machine, uses its console and ends it, under tokio.
//!
//! `cargo run --example boot_tokio [QEMU]`; compare with `boot`.

use std::error::Error;

use qemu_machine::qmp::command::QueryStatus;
use qemu_machine::{Console, Machine, guests};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let qemu = std::env::args_os()
        .nth(1)
        .unwrap_or_else(|| "qemu-system-x86_64".into());
    let vm = Machine::builder(qemu)
        .firmware(guests::tiny())
        .console(Console::serial())
        .launch()
        .await?;
    vm.console().expect("tiny guest ready").await?;
    println!(
        "the guest is {}",
        vm.monitor().execute(QueryStatus).await?.status
    );

    let mut events = vm.monitor().events(); // before what causes them: no race
    vm.console().send("poweroff\n").await?;
    println!("event {}", events.next_named("SHUTDOWN").await?);
    println!("{}", vm.wait_for_exit().await?);
    Ok(())
}
