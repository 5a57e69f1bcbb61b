//! The handle to a machine's screen.

use crate::channel::MachineContext;
use crate::display::Canvas;
use crate::display::Screenshot;
use crate::display::TakeScreenshot;
use crate::display::WatchDisplay;
use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use qemu_qmp::Client;
use qemu_qmp::error::{ErrorKind, ExecuteError};
use qemu_qmp::supervise::{self, PeerContext};
use qemu_qmp_engine::Engine;

use super::watch::Goal;

/// The screen of a machine; returned by
/// [`Machine::display`](crate::Machine::display).
///
/// Cheap to clone. Every machine is launched with `-vga none`, so it has no
/// screen by default. Add a display device, as in the example, or `-vga std`.
/// QEMU opens no window.
///
/// # Examples
/// ```no_run
/// use std::time::Duration;
///
/// use qemu_machine::{Machine, Wait};
/// use qemu_machine::display::Screenshot;
/// use qemu_machine::spec::OptionGroup;
///
/// let vm = Machine::builder("qemu-system-x86_64")
///     .device(&OptionGroup::new("VGA"))
///     .launch()
///     .wait()?;
/// // Wait until the picture stops changing:
/// let shown = vm.display().still(Duration::from_secs(1)).wait()?;
/// shown.save("shown.png")?; // with the feature `png`
/// // Wait until the screen looks like this again:
/// vm.display().expect(Screenshot::open("shown.png")?).wait()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Display {
    pub(super) engine: &'static Engine,
    pub(super) qmp: Client,
    pub(super) context: Arc<dyn PeerContext>,
    /// The facts about a machine of this library; `None` for another QEMU.
    machine: Option<MachineContext>,
    pub(super) canvas: Arc<Canvas>,
    /// The device's id, and the number of its head.
    pub(super) head: Option<(String, u32)>,
}

/// No picture of a screen was taken, or the expected picture did not appear.
#[derive(Clone)]
#[non_exhaustive]
pub enum DisplayError {
    /// The machine has no display.
    NoDisplay {
        /// The machine, such as `machine 'qemu-1'`.
        machine: String,
    },
    /// QEMU refused to take the picture, or its monitor failed.
    Execute(ExecuteError),
    /// The file for the picture cannot be created or read.
    File {
        /// The machine, such as `machine 'qemu-1'`.
        machine: String,
        /// The error of the system.
        cause: Arc<io::Error>,
    },
    /// The file that QEMU wrote is not a picture.
    NoPicture {
        /// The machine, such as `machine 'qemu-1'`.
        machine: String,
        /// What is wrong with the file.
        reason: &'static str,
    },
    /// No picture was taken in time, or the expected picture did not appear.
    Timeout {
        /// The machine, such as `machine 'qemu-1'`.
        machine: String,
        /// What was expected, and how much the last picture differed.
        expected: String,
        /// The deadline.
        limit: Duration,
        /// The last picture; `None` if none was taken.
        last: Option<Box<Screenshot>>,
        /// The last output of QEMU and the console, on lines of their own.
        seen: String,
    },
    /// QEMU keeps the guest paused after it shut down or panicked, so its
    /// screen does not change any more.
    GuestPaused {
        /// The machine, such as `machine 'qemu-1'`.
        machine: String,
        /// What was expected, and how much the last picture differed.
        expected: String,
        /// The last picture.
        last: Option<Box<Screenshot>>,
        /// Why the guest is paused, and the last output of QEMU and the
        /// console, on lines of their own.
        seen: String,
    },
}

impl DisplayError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoDisplay { .. } => ErrorKind::Unsupported,
            Self::Execute(cause) => cause.kind(),
            Self::File { cause, .. } => ErrorKind::of_io(cause),
            Self::NoPicture { .. } => ErrorKind::Protocol,
            Self::Timeout { .. } => ErrorKind::Timeout,
            Self::GuestPaused { .. } => ErrorKind::Guest,
        }
    }

    /// The error of the system, if one is the cause.
    pub fn io_error(&self) -> Option<&io::Error> {
        match self {
            Self::File { cause, .. } => Some(cause),
            Self::Execute(cause) => cause.io_error(),
            _ => None,
        }
    }
}

impl fmt::Display for DisplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDisplay { machine } => write!(
                f,
                "{machine}: cannot take a picture of its screen: it has no display; add one by \
                 `.device(&OptionGroup::new(\"VGA\"))` or `.args([\"-vga\", \"std\"])`"
            ),
            Self::Execute(cause) => write!(f, "{cause}"),
            Self::File { machine, cause } => write!(
                f,
                "{machine}: cannot create or read the file for a picture of its screen: {cause}"
            ),
            Self::NoPicture { machine, reason } => write!(
                f,
                "{machine}: QEMU wrote an invalid picture of its screen: {reason}"
            ),
            Self::Timeout {
                machine,
                expected,
                limit,
                seen,
                ..
            } => write!(
                f,
                "{machine}: its screen did not {expected} within {limit:?}{seen}"
            ),
            Self::GuestPaused {
                machine,
                expected,
                seen,
                ..
            } => write!(
                f,
                "{machine}: its screen will not {expected}: the guest is paused{seen}"
            ),
        }
    }
}

impl Error for DisplayError {}

impl Display {
    pub(crate) fn new(
        engine: &'static Engine,
        qmp: Client,
        context: MachineContext,
        canvas: Arc<Canvas>,
    ) -> Self {
        Self {
            engine,
            qmp,
            context: Arc::new(context.clone()),
            machine: Some(context),
            canvas,
            head: None,
        }
    }

    /// The display of a QEMU that something else has launched, by a connection to
    /// its monitor.
    ///
    /// # Errors
    /// This process has no thread or descriptor left for it.
    ///
    /// # Examples
    /// ```no_run
    /// use qemu_machine::qmp::Client;
    /// use qemu_machine::{Display, Wait};
    ///
    /// let monitor = Client::connect_unix("/run/vm/qmp.sock").wait()?;
    /// let shown = Display::of(&monitor)?.screenshot().wait()?;
    /// std::fs::write("shown.ppm", shown.to_ppm())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn of(monitor: &Client) -> io::Result<Self> {
        Ok(Self {
            engine: Engine::start()?,
            qmp: monitor.clone(),
            context: supervise::context(monitor),
            machine: None,
            canvas: Arc::new(Canvas::of_other(std::env::temp_dir())),
            head: None,
        })
    }

    /// Whether only a reset makes the guest run again.
    pub(super) fn is_paused_for_good(&self) -> bool {
        let machine = self.machine.as_ref();
        machine.is_some_and(|it| it.paused_for_good().is_some())
    }

    /// Selects the screen of one head of a device, for a machine with several
    /// displays. `device` is the device's id; `head` counts from 0.
    pub fn head(&self, device: impl Into<String>, head: u32) -> Self {
        Self {
            head: Some((device.into(), head)),
            ..self.clone()
        }
    }

    /// Takes a picture of the screen.
    pub fn screenshot(&self) -> TakeScreenshot {
        TakeScreenshot::new(self.clone())
    }

    /// Waits until the screen looks like `picture`, to the pixel unless a
    /// [`tolerance`](WatchDisplay::tolerance) is given.
    pub fn expect(&self, picture: Screenshot) -> WatchDisplay {
        WatchDisplay::new(self.clone(), Goal::Match(picture))
    }

    /// Waits until the screen has not changed for this time.
    ///
    /// One pixel in a thousand may change, unless another
    /// [`tolerance`](WatchDisplay::tolerance) is given. That is enough for the
    /// blinking cursor of a text screen.
    pub fn still(&self, time: Duration) -> WatchDisplay {
        WatchDisplay::new(self.clone(), Goal::Still(time))
    }

    /// Waits until the screen differs from its first picture: by one pixel in a
    /// thousand, unless another [`tolerance`](WatchDisplay::tolerance) is given.
    pub fn change(&self) -> WatchDisplay {
        WatchDisplay::new(self.clone(), Goal::Change)
    }

    pub(super) fn guest_paused(&self, expected: String, last: Option<Screenshot>) -> DisplayError {
        DisplayError::GuestPaused {
            machine: self.context.name(),
            expected,
            last: last.map(Box::new),
            seen: self.context.seen(),
        }
    }

    pub(super) fn timeout(
        &self,
        expected: String,
        limit: Duration,
        last: Option<Screenshot>,
    ) -> DisplayError {
        DisplayError::Timeout {
            machine: self.context.name(),
            expected,
            limit,
            last: last.map(Box::new),
            seen: self.context.seen(),
        }
    }
}

impl std::fmt::Debug for Display {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Display")
            .field("machine", &self.context.name())
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}
