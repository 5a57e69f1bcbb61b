//! Drives a machine's devices and memory without a guest.
//!
//! `cargo run --example qtest [QEMU]`

use std::error::Error;
use std::time::Duration;

use qemu_machine::{Machine, Wait};

fn main() -> Result<(), Box<dyn Error>> {
    let qemu = std::env::args_os()
        .nth(1)
        .unwrap_or_else(|| "qemu-system-x86_64".into());
    let vm = Machine::builder(qemu)
        .args(["-nodefaults", "-serial", "null"])
        .qtest()
        .launch()
        .wait()?;
    let qtest = vm.qtest();

    // The devices on the PCI bus.
    for slot in 0..32 {
        qtest.outl(0xcf8, 0x8000_0000 | slot << 11).wait()?;
        let id = qtest.inl(0xcfc).wait()?;
        if id != u32::MAX {
            println!("slot {slot}: {:04x}:{:04x}", id & 0xffff, id >> 16);
        }
    }

    qtest.write(0x10_0000, b"hello, memory").wait()?;
    let read = qtest.read(0x10_0000, 13).wait()?;
    println!("memory: {}", String::from_utf8(read)?);

    qtest.irq_intercept_in("ioapic").wait()?;
    let mut irqs = qtest.irqs(); // before what causes them: no race
    qtest.outb(0x3fc, 0x08).wait()?; // the serial port may interrupt,
    qtest.outb(0x3f9, 0x02).wait()?; // and does, as its transmitter is empty
    println!("interrupt: {}", irqs.next().wait()?);

    match qtest.clock_step(Some(Duration::from_millis(1))).wait() {
        Ok(now) => println!("the clock is at {now:?}"),
        Err(refused) => println!("{refused}"),
    }
    println!("{}", vm.shutdown().wait()?);
    Ok(())
}
