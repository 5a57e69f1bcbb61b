//! What a console shall be, before its machine is launched.

use std::path::{Path, PathBuf};

use super::screen::ScreenSize;
use super::{Console, Noise};
use crate::command_line::{OptionGroup, Plugged};

/// A console to be; made by [`Console::serial`], [`Console::virtio`],
/// [`Console::debugcon`], [`Console::semihosting`] and [`Console::device`].
#[derive(Debug, Clone)]
#[must_use = "a console is nothing until it is given to a machine"]
pub struct ConsoleConfig {
    device: Device,
    log: Option<PathBuf>,
    stamped: bool,
    pub(super) ring_bytes: usize,
    pub(super) drained: bool,
    pub(super) noise: Noise,
    pub(super) screen: Option<ScreenSize>,
}

#[derive(Debug, Clone)]
enum Device {
    Serial,
    Model(Plugged),
    Semihosting,
}

impl Console {
    /// A console on the machine's next serial port: the first one that is
    /// given is `ttyS0` in Linux, the second `ttyS1`.
    pub fn serial() -> ConsoleConfig {
        ConsoleConfig::new(Device::Serial)
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
        ConsoleConfig::new(Device::Semihosting)
    }

    /// A console on a device of its own (`-device`), such as `pci-serial`; its
    /// `chardev` is set by us.
    pub fn device(device: OptionGroup) -> ConsoleConfig {
        ConsoleConfig::new(Device::Model(Plugged {
            device,
            controller: None,
        }))
    }
}

impl ConsoleConfig {
    fn new(device: Device) -> Self {
        Self {
            device,
            log: None,
            stamped: false,
            ring_bytes: 1 << 20,
            drained: true,
            noise: Noise::default(),
            screen: None,
        }
    }

    /// A device that the console's own is plugged into, made before it; its
    /// `id`, and the console's `bus`, are set by us. A serial port has none,
    /// and semihosting has none.
    pub fn controller(mut self, controller: OptionGroup) -> Self {
        if let Device::Model(plugged) = &mut self.device {
            plugged.controller = Some(controller);
        }
        self
    }

    /// A file that gets every byte of the console, truncated at each launch.
    pub fn log(mut self, path: impl Into<PathBuf>) -> Self {
        self.log = Some(path.into());
        self
    }

    /// Puts before each line of the [log](Self::log) when its first byte was
    /// read: seconds since the launch, to the microsecond, in the form of
    /// Linux's own (`[    1.234567] `). A line ends with its line feed. What is
    /// kept in memory and searched has no stamps.
    pub fn log_times(mut self) -> Self {
        self.stamped = true;
        self
    }

    /// How many of the console's last bytes are kept in memory, instead of
    /// 1 MiB.
    pub fn ring_bytes(mut self, bytes: usize) -> Self {
        self.ring_bytes = bytes;
        self
    }

    /// Also shows the console as a terminal of 80 columns and 24 rows, which
    /// [`Console::screen`] gives. It only shows: what a program asks of its
    /// terminal is not answered.
    ///
    /// Without this, no byte is looked at but by searches: a terminal takes each
    /// apart, and must have seen the first to show the last.
    pub fn screen(self) -> Self {
        self.screen_size(80, 24)
    }

    /// As [`screen`](Self::screen), with so many columns and rows, at least 2 by
    /// 2. The guest is not told: programs on a serial line take 80 by 24.
    pub fn screen_size(mut self, columns: u16, rows: u16) -> Self {
        self.screen = Some(ScreenSize { columns, rows });
        self
    }

    /// Has every search on the console look past escape sequences, as
    /// [`Expect::past_escapes`](crate::Expect::past_escapes) says.
    pub fn past_escapes(mut self) -> Self {
        self.noise.escapes = true;
        self
    }

    /// Has every search on the console look past a Linux kernel's lines, as
    /// [`Expect::past_kernel_lines`](crate::Expect::past_kernel_lines) says.
    pub fn past_kernel_lines(mut self) -> Self {
        self.noise.kernel_lines = true;
        self
    }

    /// Leaves the console's socket to the caller, who gets it by
    /// [`Console::take_stream`] and must read it: a full one blocks the guest.
    /// Such a console has no log.
    pub fn undrained(mut self) -> Self {
        self.drained = false;
        self
    }

    pub(crate) fn log_path(&self) -> Option<&Path> {
        self.log.as_deref()
    }

    /// Whether its log has times.
    pub(crate) fn is_drained(&self) -> bool {
        self.drained
    }

    pub(crate) fn is_stamped(&self) -> bool {
        self.stamped
    }

    /// What connects its character device with the machine.
    pub(crate) fn options(&self, id: &str) -> Vec<(&'static str, OptionGroup)> {
        match &self.device {
            Device::Serial => vec![("-serial", OptionGroup::new(format!("chardev:{id}")))],
            Device::Model(plugged) => plugged.options(id),
            Device::Semihosting => {
                let semihosting = OptionGroup::default()
                    .switch("enable", true)
                    .set("target", "native")
                    .set("chardev", id);
                vec![("-semihosting-config", semihosting)]
            }
        }
    }
}
