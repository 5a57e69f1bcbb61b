//! The kinds of console that a machine can have.

use super::Console;
use crate::spec::{ConsoleConfig, ConsoleDevice, DeviceWithController, OptionGroup};

impl Console {
    /// A console on the machine's next serial port. In Linux the first is
    /// `ttyS0`, the second `ttyS1`.
    ///
    /// The launch fails with
    /// [`LaunchFailure::NoSerialPort`](crate::error::LaunchFailure::NoSerialPort) if
    /// the machine has no such port: a PC has four, `microvm` one, `none` none.
    /// Without a monitor the launch does not check this.
    pub fn serial() -> ConsoleConfig {
        ConsoleConfig::new(ConsoleDevice::Serial)
    }

    /// A console on a `virtconsole` with its own `virtio-serial` controller. In
    /// a Linux with the driver, the first is `hvc0`.
    ///
    /// A machine without PCI needs another controller, as for
    /// [the guest agent](crate::MachineBuilder::guest_agent_controller):
    /// `Console::virtio().controller(OptionGroup::new("virtio-serial-device"))`.
    pub fn virtio() -> ConsoleConfig {
        Self::device(OptionGroup::new("virtconsole")).controller(OptionGroup::new("virtio-serial"))
    }

    /// A console that gets each byte that the guest writes to this I/O port
    /// (`isa-debugcon`). It is QEMU's option `-debugcon` with a port. The guest
    /// needs no driver. `SeaBIOS` and OVMF log to port 0x402; QEMU's default is
    /// 0xe9. The machine needs an ISA bus, as a PC has.
    ///
    /// Without a console, the plain arguments `-debugcon stdio` write the bytes
    /// to QEMU's own output.
    pub fn debugcon(io_port: u16) -> ConsoleConfig {
        Self::device(OptionGroup::new("isa-debugcon").set("iobase", format!("{io_port:#x}")))
    }

    /// A console that gets what the guest prints by semihosting (`SYS_WRITE0`,
    /// `SYS_WRITEC`, and `SYS_WRITE` to the file `:tt`). Programs for Arm,
    /// RISC-V, MIPS, m68k and Xtensa can use it without a driver. The guest
    /// reads input by `SYS_READC`; on QEMU 7.2 it reads 0 instead. A machine
    /// has at most one such console.
    ///
    /// It turns semihosting on (`-semihosting-config`). QEMU handles the calls,
    /// not a debugger (`target=native`). Semihosting also lets the guest read
    /// and write files of the host, so use it only with trusted guests.
    pub fn semihosting() -> ConsoleConfig {
        ConsoleConfig::new(ConsoleDevice::Semihosting)
    }

    /// A console on this device (`-device`), such as `pci-serial`. The library
    /// sets its `chardev`.
    pub fn device(device: OptionGroup) -> ConsoleConfig {
        ConsoleConfig::new(ConsoleDevice::Model(DeviceWithController {
            device,
            controller: None,
        }))
    }
}
