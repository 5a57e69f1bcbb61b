//! The consoles that a machine may have.

use super::Console;
use crate::spec::{ConsoleConfig, ConsoleDevice, DeviceWithController, OptionGroup};

impl Console {
    /// A console on the machine's next serial port: the first one that is
    /// given is `ttyS0` in Linux, the second `ttyS1`.
    ///
    /// A launch fails with
    /// [`LaunchFailure::NoSerialPort`](crate::error::LaunchFailure::NoSerialPort) where
    /// the machine has no such port: a PC has four, `microvm` one, `none` none.
    /// Without a monitor that is not checked.
    pub fn serial() -> ConsoleConfig {
        ConsoleConfig::new(ConsoleDevice::Serial)
    }

    /// A console on a `virtconsole`, with a `virtio-serial` controller of its
    /// own: the first one is `hvc0` in Linux, where its driver is there.
    ///
    /// On a machine without PCI the controller is another, as for
    /// [the guest agent](crate::MachineBuilder::guest_agent_controller):
    /// `Console::virtio().controller(OptionGroup::new("virtio-serial-device"))`.
    pub fn virtio() -> ConsoleConfig {
        Self::device(OptionGroup::new("virtconsole")).controller(OptionGroup::new("virtio-serial"))
    }

    /// A console that gets each byte that the guest writes to this I/O port
    /// (`isa-debugcon`), with no driver and no state: QEMU's option
    /// `-debugcon`, with the port. `SeaBIOS` and OVMF write what they do to
    /// 0x402; QEMU's own default is 0xe9. It needs a machine with an ISA bus,
    /// such as a PC.
    ///
    /// The arguments `-debugcon stdio`, given as they are, do without a
    /// console: what the guest writes stands in QEMU's own output then.
    pub fn debugcon(io_port: u16) -> ConsoleConfig {
        Self::device(OptionGroup::new("isa-debugcon").set("iobase", format!("{io_port:#x}")))
    }

    /// A console that gets what the guest prints by semihosting (`SYS_WRITE0`,
    /// `SYS_WRITEC`, and `SYS_WRITE` to the file `:tt`): programs for Arm,
    /// RISC-V, MIPS, m68k and Xtensa, which need no driver for that. What is
    /// sent to it the guest reads by `SYS_READC`; QEMU 7.2 gives it 0 instead.
    /// A machine has one such console.
    ///
    /// It turns semihosting on (`-semihosting-config`), with its calls done by
    /// QEMU and not by a debugger (`target=native`). Semihosting lets the guest
    /// read and write files of the host too, so it is for guests that are
    /// trusted.
    pub fn semihosting() -> ConsoleConfig {
        ConsoleConfig::new(ConsoleDevice::Semihosting)
    }

    /// A console on a device of its own (`-device`), such as `pci-serial`; its
    /// `chardev` is set by us.
    pub fn device(device: OptionGroup) -> ConsoleConfig {
        ConsoleConfig::new(ConsoleDevice::Model(DeviceWithController {
            device,
            controller: None,
        }))
    }
}
