//! Describes a console, before the launch of its machine.

use std::path::{Path, PathBuf};

use super::{DeviceWithController, OptionGroup, Tee};

/// Describes a console; made by [`Console::serial`](crate::Console::serial),
/// [`Console::virtio`](crate::Console::virtio),
/// [`Console::debugcon`](crate::Console::debugcon),
/// [`Console::semihosting`](crate::Console::semihosting) and
/// [`Console::device`](crate::Console::device).
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

    /// Adds a controller device, and plugs the device of the console into it.
    /// The `id` of the controller and the `bus` of the console are set here. It
    /// has no effect on a serial port or on semihosting.
    pub fn controller(mut self, controller: OptionGroup) -> Self {
        if let ConsoleDevice::Model(model) = &mut self.device {
            model.controller = Some(controller);
        }
        self
    }

    /// Writes every byte of the console to this file, which each launch
    /// truncates.
    ///
    /// If another machine is writing this file, in this process or another, the
    /// console writes a file beside it: the second `NAME~2.EXT`, the third
    /// `NAME~3.EXT`. [`Console::log_path`](crate::Console::log_path) returns
    /// its path.
    pub fn log(mut self, path: impl Into<PathBuf>) -> Self {
        self.log = Some(path.into());
        self
    }

    /// Also writes the console to a writer, live: `.tee(std::io::stderr())`.
    /// [`Tee`] describes what happens if the writer is slow or fails.
    pub fn tee(mut self, to: impl Into<Tee>) -> Self {
        self.tee = Some(to.into());
        self
    }

    /// Puts a time before each line of the [log](Self::log): when its first
    /// byte was read, in seconds since the launch. The form is that of the
    /// Linux kernel (`[    1.234567] `). The bytes in memory and in searches
    /// have no times.
    pub fn log_times(mut self) -> Self {
        self.stamped = true;
        self
    }

    /// Sets how many of the last bytes of the console stay in memory, instead
    /// of 1 MiB.
    pub fn ring_bytes(mut self, bytes: usize) -> Self {
        self.ring_bytes = bytes;
        self
    }

    /// Also interprets the console as a terminal of 80 columns and 24 rows,
    /// which [`Console::screen`](crate::Console::screen) returns. A query that
    /// a program sends to its terminal gets no answer.
    ///
    /// It costs time for each byte, because a terminal must parse all of them.
    /// So it is off by default.
    pub fn screen(self) -> Self {
        self.screen_size(80, 24)
    }

    /// Does the same as [`screen`](Self::screen), with this number of columns
    /// and rows, at least 2 by 2. The guest does not learn the size: programs
    /// on a serial line assume 80 by 24.
    pub fn screen_size(mut self, columns: u16, rows: u16) -> Self {
        self.screen = Some(ScreenSize { columns, rows });
        self
    }

    /// Makes every search on the console ignore escape sequences; see
    /// [`Expect::past_escapes`](crate::console::Expect::past_escapes).
    pub fn past_escapes(mut self) -> Self {
        self.noise.escapes = true;
        self
    }

    /// Makes every search on the console ignore the lines of a Linux kernel;
    /// see
    /// [`Expect::past_kernel_lines`](crate::console::Expect::past_kernel_lines).
    pub fn past_kernel_lines(mut self) -> Self {
        self.noise.kernel_lines = true;
        self
    }

    /// Leaves the socket of the console to the caller, who takes it by
    /// [`Console::take_stream`](crate::Console::take_stream). The caller must
    /// read it: a full socket blocks the guest. Such a console has no log and
    /// no tee.
    pub fn undrained(mut self) -> Self {
        self.drained = false;
        self
    }

    /// The device behind it.
    pub(crate) fn device(&self) -> &ConsoleDevice {
        &self.device
    }

    pub(crate) fn log_path(&self) -> Option<&Path> {
        self.log.as_deref()
    }

    /// The writer that also gets the bytes.
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

/// What a search ignores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Noise {
    pub(crate) escapes: bool,
    pub(crate) kernel_lines: bool,
}
