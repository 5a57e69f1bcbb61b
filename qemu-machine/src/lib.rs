//! The whole life of a QEMU virtual machine: launched, spoken with, heard and
//! ended, with nothing left behind.
//!
//! [`MachineBuilder`] says what the machine shall be. Its launch gives a
//! [`Machine`], which has a monitor ([`Machine::qmp`]), a console
//! ([`Machine::console`]), a display, a keyboard and a mouse
//! ([`Machine::display`], [`Machine::keyboard`], [`Machine::mouse`]) and, if
//! wanted, a qtest channel ([`Machine::qtest`]). Its end gives an
//! [`ExitReport`].
//!
//! Every operation is one future that needs no runtime of its own: `.await` it
//! under tokio, smol or any other, or call [`.wait()`](Wait::wait) from plain
//! code. Options of an operation stand on the operation, before that.
//!
//! Three promises:
//! - *Nothing leaks.* However a launch, a machine or this very process ends,
//!   no QEMU, no descriptor and no file stays.
//! - *Nothing hangs.* Every wait has a deadline, 30 s where nothing else is
//!   said, and ends at once when the machine does, with its [`ExitReport`].
//! - *Nothing is lost.* Every reply reaches its own caller, every event every
//!   listener, every byte of the console its log.
//!
//! # Examples
//! ```no_run
//! use std::time::Duration;
//!
//! use qemu_machine::{Console, Machine, Wait};
//! use qemu_machine::qmp::QueryStatus;
//! use serde_json::json;
//!
//! let vm = Machine::builder("qemu-system-x86_64")
//!     .memory("256M")
//!     .kernel("vmlinuz")
//!     .initrd("initramfs")
//!     .append("console=ttyS0")
//!     .console(Console::serial())
//!     .launch()
//!     .wait()?;
//! vm.console().expect("login: ").timeout(Duration::from_secs(60)).wait()?;
//! println!("{}", vm.qmp().execute(QueryStatus {}).wait()?.status);
//! let mut events = vm.qmp().events(); // before the command: no race
//! vm.qmp().execute_json("system_powerdown", json!({})).wait()?;
//! events.next_named("SHUTDOWN").wait()?;
//! println!("{}", vm.shutdown().wait()?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(not(target_os = "linux"))]
compile_error!("qemu-machine needs Linux: it waits for processes by their pidfd");

mod accel;
mod advice;
mod builder;
mod channel;
mod claimed_file;
mod command_line;
mod console;
mod display;
mod error;
mod error_debug;
mod forwards;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod guardian;
mod guest_state;
pub mod guests;
mod heard;
mod input;
mod last_handle;
mod launch;
mod life;
mod machine;
mod migration;
mod output;
mod prepared;
mod private;
mod process;
mod qtest;
mod report;
mod schema;
mod serial_ports;
mod snapshot;
mod supervisor;
mod survivors;
mod sys;
mod tee;
mod transcript_file;

pub use accel::{
    Accel, AccelChoice, AccelDenial, AccelError, AccelFinding, AccelList, AccelProbe, AccelReport,
    BestAccel, BestAccelError, PassedOver,
};
pub use builder::{MachineBuilder, Monitor};
pub use command_line::{CommandLine, Drive, DryRun, OptionGroup, UserNet};
pub use console::{
    Console, ConsoleConfig, Cursor, Expect, ExpectError, ExpectFailure, Interact, InteractEnd,
    InteractError, Match, OpenShell, Pattern, PatternError, PowerOff, Reboot, Recover, Run, Screen,
    ScreenError, ScreenShows, Send, SendError, Shell, ShellError, ShellFailure, ShellOutput,
};
pub use display::{Display, DisplayError, Screenshot, TakeScreenshot, Tolerance, WatchDisplay};
pub use error::{ExitError, LaunchError, LaunchFailure, ShutdownError};
pub use forwards::{ForwardError, ForwardedPort};
pub use guest_state::{GuestState, PauseReason};
pub use input::{Button, InputAction, InputError, Keyboard, KeyboardLayout, Mouse};
pub use launch::Launch;
pub use life::{ExitDevice, GuestExit, Rung, RungOutcome, RungReport};
pub use machine::{Exited, Machine, Shutdown};
pub use migration::{Load, Move, MoveError, Save};
pub use qemu_qmp as qmp;
pub use qemu_qmp::agent::{self, GuestAgent};
pub use qemu_qmp::{Deadlines, Wait};
pub use qtest::{
    Irq, IrqError, Irqs, NextIrq, Qtest, QtestCommand, QtestEnd, QtestError, QtestFailure,
    QtestProtocolError,
};
pub use report::{ExitCause, ExitReport, ExitStatus};
pub use schema::{ReadSchema, SchemaError};
pub use snapshot::{ListSnapshots, RunSnapshot, Snapshot, SnapshotError, SnapshotFailure};
pub use survivors::{Survivor, SurvivorFate};
pub use tee::Tee;

#[cfg(doctest)]
mod guide;

/// The README's examples compile.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
