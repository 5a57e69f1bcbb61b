//! One process of a test run. Each process clones a guest that was booted once
//! for all of them.
//!
//! `cargo run --example suite STORE KERNEL INITRD [QEMU]`, as often as wanted,
//! also at the same time. The first one boots, and the others wait for it.

use std::error::Error;
use std::time::{Duration, Instant};

use qemu_machine::template::{Template, TemplateStore};
use qemu_machine::{Console, Machine, MachineBuilder, Wait};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(store), Some(kernel), Some(initrd)) =
        (arguments.next(), arguments.next(), arguments.next())
    else {
        return Err("usage: suite STORE KERNEL INITRD [QEMU]".into());
    };
    let qemu = arguments.next().unwrap_or("qemu-system-x86_64".into());
    let machine = Machine::builder(qemu)
        .accel(["tcg"])
        .arg("-nodefaults")
        .memory("256M")
        .kernel(kernel)
        .initrd(initrd)
        .append("console=ttyS0 quiet no_timer_check")
        .console(Console::serial())
        .default_timeout(Duration::from_secs(120));
    let begun = Instant::now();
    let template = template(&TemplateStore::at(store)?, &machine)?;
    test(&template)?;
    println!("passed in {:.1?}", begun.elapsed());
    Ok(())
}

/// Opens the template. If it is not in the store, this process makes it, or waits
/// for the process that does.
fn template(store: &TemplateStore, machine: &MachineBuilder) -> Result<Template, Box<dyn Error>> {
    let template = store.template(machine).version("1");
    let template = template.set_up(|vm| async move {
        println!("booting");
        vm.console().expect("~ # ").await?;
        let mut shell = vm.console().shell().await?;
        // Only the memory of this guest has it: a guest that boots again has none.
        let nonce = "nonce=$(cat /proc/sys/kernel/random/uuid)";
        shell.run(nonce).await?;
        Ok(())
    });
    Ok(template.wait()?)
}

/// The test: the guest is a clone, and it is its own machine.
fn test(template: &Template) -> Result<(), Box<dyn Error>> {
    let vm = template.machine().launch().wait()?;
    vm.wake().wait()?;
    let mut shell = vm.console().shell().wait()?;
    let facts = shell.run("echo $nonce; cat /proc/sys/kernel/random/uuid");
    let facts = facts.wait()?.text();
    let [nonce, uuid] = facts.lines().collect::<Vec<_>>()[..] else {
        return Err(format!("the guest is no clone: {facts:?}").into());
    };
    assert_eq!(nonce.len(), uuid.len(), "the guest is no clone: {facts:?}");
    assert_ne!(nonce, uuid);
    println!("nonce {nonce}");
    println!("uuid {uuid}");
    vm.kill().wait()?;
    Ok(())
}
