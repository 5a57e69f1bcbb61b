//! What a console shall be, before its machine is launched.

use std::path::{Path, PathBuf};

use super::{DeviceWithController, OptionGroup, Tee};

/// A console to be; made by [`Console::serial`](crate::Console::serial), [`Console::virtio`](crate::Console::virtio),
/// [`Console::debugcon`](crate::Console::debugcon), [`Console::semihosting`](crate::Console::semihosting) and [`Console::device`](crate::Console::device).
#[derive(Debug, Clone)]
#[must_use = "a console is nothing until it is given to a machine"]
pub struct ConsoleConfig {
    device: ConsoleDevice,
    log: Option<PathBuf>,
    tee: Option<Tee>,
    stamped: bool,
    pub(crate) ring_bytes: usize,
    pub(crate) drained: bool,
    pub(crate) noise: Noise,
    pub(crate) screen: Option<ScreenSize>,
}

#[derive(Debug, Clone)]
pub(crate) enum ConsoleDevice {
    Serial,
    Model(DeviceWithController),
    Semihosting,
}

impl ConsoleConfig {
    pub(crate) fn new(device: ConsoleDevice) -> Self {
        Self {
            device,
            log: None,
            tee: None,
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
        if let ConsoleDevice::Model(model) = &mut self.device {
            model.controller = Some(controller);
        }
        self
    }

    /// A file that gets every byte of the console, truncated at each launch.
    ///
    /// Where another machine is writing it, of this process or another, the
    /// console gets a file beside it: the second `NAME~2.EXT`, the third
    /// `NAME~3.EXT`. [`Console::log_path`](crate::Console::log_path) says which.
    pub fn log(mut self, path: impl Into<PathBuf>) -> Self {
        self.log = Some(path.into());
        self
    }

    /// Writes the console to a writer too, as it comes: `.tee(std::io::stderr())`.
    /// [`Tee`] says how, and what becomes of a writer that is slow or fails.
    pub fn tee(mut self, to: impl Into<Tee>) -> Self {
        self.tee = Some(to.into());
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
    /// [`Console::screen`](crate::Console::screen) gives. It only shows: what a program asks of its
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
    /// [`Expect::past_escapes`](crate::console::Expect::past_escapes) says.
    pub fn past_escapes(mut self) -> Self {
        self.noise.escapes = true;
        self
    }

    /// Has every search on the console look past a Linux kernel's lines, as
    /// [`Expect::past_kernel_lines`](crate::console::Expect::past_kernel_lines) says.
    pub fn past_kernel_lines(mut self) -> Self {
        self.noise.kernel_lines = true;
        self
    }

    /// Leaves the console's socket to the caller, who gets it by
    /// [`Console::take_stream`](crate::Console::take_stream) and must read it: a full one blocks the guest.
    /// Such a console has no log and no tee.
    pub fn undrained(mut self) -> Self {
        self.drained = false;
        self
    }

    pub(crate) fn log_path(&self) -> Option<&Path> {
        self.log.as_deref()
    }

    /// Where it also goes.
    pub(crate) fn tee_to(&self) -> Option<&Tee> {
        self.tee.as_ref()
    }

    pub(crate) fn is_drained(&self) -> bool {
        self.drained
    }

    /// Whether it is on one of the machine's serial ports.
    pub(crate) fn is_serial(&self) -> bool {
        matches!(self.device, ConsoleDevice::Serial)
    }

    /// Whether its log has times.
    pub(crate) fn is_stamped(&self) -> bool {
        self.stamped
    }

    /// What connects its character device with the machine.
    pub(crate) fn options(&self, id: &str) -> Vec<(&'static str, OptionGroup)> {
        match &self.device {
            ConsoleDevice::Serial => vec![("-serial", OptionGroup::new(format!("chardev:{id}")))],
            ConsoleDevice::Model(model) => model.options(id),
            ConsoleDevice::Semihosting => {
                let semihosting = OptionGroup::default()
                    .switch("enable", true)
                    .set("target", "native")
                    .set("chardev", id);
                vec![("-semihosting-config", semihosting)]
            }
        }
    }
}

/// How many columns and rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ScreenSize {
    pub(crate) columns: u16,
    pub(crate) rows: u16,
}

/// What a search looks past.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Noise {
    pub(crate) escapes: bool,
    pub(crate) kernel_lines: bool,
}
