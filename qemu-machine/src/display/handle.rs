//! The handle on what a machine shows.

use crate::channel::MachineContext;
use crate::display::Canvas;
use crate::display::Screenshot;
use crate::display::TakeScreenshot;
use crate::display::WatchDisplay;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use qemu_qmp::supervise::PeerContext;
use qemu_qmp::{Client, ExecuteError};
use qemu_qmp_engine::Engine;

use super::watch::Goal;

/// What a machine shows; made by [`Machine::display`](crate::Machine::display).
///
/// Cheap to clone. A machine shows nothing unless it was given a display, for
/// each is launched with `-vga none`: by a device, as in the example, or by
/// `-vga std`. No window is opened for it in any case.
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
/// // Once it has drawn all it will draw:
/// let shown = vm.display().still(Duration::from_secs(1)).wait()?;
/// shown.save("shown.png")?; // with the feature `png`
/// // Until it looks like this again:
/// vm.display().expect(Screenshot::open("shown.png")?).wait()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Display {
    pub(super) engine: &'static Engine,
    pub(super) qmp: Client,
    pub(super) context: MachineContext,
    pub(super) canvas: Arc<Canvas>,
    /// The device's id, and which of its heads.
    pub(super) head: Option<(String, u32)>,
}

/// A screen was not seen, or not as it was expected.
#[non_exhaustive]
pub enum DisplayError {
    /// The machine has no display.
    NoDisplay {
        /// Which one, such as `machine 'qemu-1'`.
        machine: String,
    },
    /// QEMU could not be asked, or refused.
    Execute(ExecuteError),
    /// The file for the picture cannot be had, or read.
    File {
        /// Whose screen, such as `machine 'qemu-1'`.
        machine: String,
        /// What the system says.
        cause: std::io::Error,
    },
    /// QEMU wrote something else than a picture.
    NoPicture {
        /// Whose screen, such as `machine 'qemu-1'`.
        machine: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The screen was not seen in time, or not as it was expected.
    Timeout {
        /// Whose screen, such as `machine 'qemu-1'`.
        machine: String,
        /// What was waited for, and how near it came.
        expected: String,
        /// The deadline.
        limit: Duration,
        /// What it showed last; `None` if it was not seen at all.
        last: Option<Box<Screenshot>>,
        /// What QEMU and the console said last, in lines of their own.
        seen: String,
    },
    /// The guest is off or has panicked, and QEMU holds it: its screen does
    /// not change any more.
    GuestHeld {
        /// Whose screen, such as `machine 'qemu-1'`.
        machine: String,
        /// What was waited for, and how near it came.
        expected: String,
        /// What it shows.
        last: Option<Box<Screenshot>>,
        /// Why the guest is held, and what QEMU and the console said last.
        seen: String,
    },
}

impl fmt::Display for DisplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDisplay { machine } => write!(
                f,
                "{machine} shows nothing, for it has no display: give it one by \
                 `.device(&OptionGroup::new(\"VGA\"))` or `.args([\"-vga\", \"std\"])`"
            ),
            Self::Execute(cause) => write!(f, "{cause}"),
            Self::File { machine, cause } => write!(
                f,
                "{machine}: there is no file for a picture of its screen: {cause}"
            ),
            Self::NoPicture { machine, reason } => write!(
                f,
                "{machine}: QEMU wrote no picture of its screen: {reason}"
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
            Self::GuestHeld {
                machine,
                expected,
                seen,
                ..
            } => write!(f, "{machine}: its screen will not {expected}{seen}"),
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
            context,
            canvas,
            head: None,
        }
    }

    /// What this head of a device shows, for a machine of several displays:
    /// the device's id, and a number that counts from 0.
    pub fn head(&self, device: impl Into<String>, head: u32) -> Self {
        Self {
            head: Some((device.into(), head)),
            ..self.clone()
        }
    }

    /// What is shown now.
    pub fn screenshot(&self) -> TakeScreenshot {
        TakeScreenshot::new(self.clone())
    }

    /// Waits until the screen looks like `picture`, to the pixel unless a
    /// [`tolerance`](WatchDisplay::tolerance) is given.
    pub fn expect(&self, picture: Screenshot) -> WatchDisplay {
        WatchDisplay::new(self.clone(), Goal::Match(picture))
    }

    /// Waits until the screen has stood still for so long. Unless another
    /// [`tolerance`](WatchDisplay::tolerance) is given, one pixel in a thousand
    /// may change, which leaves room for the cursor of a text screen, as this
    /// blinks.
    pub fn still(&self, time: Duration) -> WatchDisplay {
        WatchDisplay::new(self.clone(), Goal::Still(time))
    }

    pub(super) fn guest_held(&self, expected: String, last: Option<Screenshot>) -> DisplayError {
        DisplayError::GuestHeld {
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
