//! A firmware that prints its line and ends the machine by its debug exit. It
//! runs for less than a millisecond.

use std::path::PathBuf;

use qemu_machine::spec::OptionGroup;
use qemu_machine::{Console, MachineBuilder};

use super::{Qemu, Scratch};

/// The firmware's line.
pub const LINE: &str = "all tests passed";

/// QEMU's exit code for the guest's 0x10: twice that, plus one.
pub const CODE: i32 = 0x21;

/// A machine with this firmware.
pub fn fast(qemu: &Qemu, scratch: &Scratch) -> MachineBuilder {
    let exit = OptionGroup::new("isa-debug-exit")
        .set("iobase", "0xf4")
        .set("iosize", "0x04");
    qemu.bare()
        .bios(firmware(scratch))
        .device(&exit)
        .console(Console::serial())
}

fn firmware(scratch: &Scratch) -> PathBuf {
    // Mapped at 0xf0000; the processor starts in its last 16 bytes.
    let mut image = vec![0xf4; 64 << 10];
    let code = [
        0xba, 0xf8, 0x03, // mov dx, 0x3f8
        0xbe, 0x20, 0x00, // mov si, line
        0x2e, 0xac, // next: cs lodsb
        0x84, 0xc0, // test al, al
        0x74, 0x03, // jz done
        0xee, // out dx, al
        0xeb, 0xf7, // jmp next
        0xb0, 0x10, // done: mov al, 0x10
        0xba, 0xf4, 0x00, // mov dx, 0xf4
        0xee, // out dx, al
        0xf4, // hlt
    ];
    image[..code.len()].copy_from_slice(&code);
    let line = format!("{LINE}\r\n\0");
    image[0x20..0x20 + line.len()].copy_from_slice(line.as_bytes());
    // jmp 0xf000:0
    image[0xfff0..0xfff5].copy_from_slice(&[0xea, 0x00, 0x00, 0x00, 0xf0]);
    let path = scratch.join("fast.bin");
    std::fs::write(&path, image).unwrap();
    path
}
