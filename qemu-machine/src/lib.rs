//! The whole life of a QEMU virtual machine: launch, control, observe, end.
//! Nothing is left behind.
//!
//! A [`MachineBuilder`] describes the machine, and launches it. The launch
//! returns a [`Machine`], which has a monitor ([`Machine::monitor`]), a console
//! ([`Machine::console`]), a display, a keyboard and a mouse
//! ([`Machine::display`], [`Machine::keyboard`], [`Machine::mouse`]). If asked
//! for, it also has a qtest channel ([`Machine::qtest`]). At the end there is
//! an [`ExitReport`].
//!
//! Every operation is one future, and needs no async runtime: `.await` it under
//! tokio, smol or any other, or call [`.wait()`](Wait::wait) from plain code.
//! Options of an operation are methods of the operation, called before that.
//!
//! Three promises:
//! - *Nothing leaks.* However a launch, a machine or this process ends, no
//!   QEMU, no descriptor and no file is left.
//! - *Nothing hangs.* Every wait has a timeout, 30 s by default. It ends at
//!   once when the machine ends, with its [`ExitReport`].
//! - *Nothing is lost.* Every reply reaches its caller, every event reaches
//!   every listener, and every byte of the console reaches its log.
//!
//! # Examples
//! ```no_run
//! use std::time::Duration;
//!
//! use qemu_machine::{Console, Machine, Wait};
//! use qemu_machine::qmp::command::QueryStatus;
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
//! println!("{}", vm.monitor().execute(QueryStatus).wait()?.status);
//! let mut events = vm.monitor().events(); // before the command: no race
//! vm.monitor().execute_json("system_powerdown", json!({})).wait()?;
//! events.next_named("SHUTDOWN").wait()?;
//! println!("{}", vm.shutdown().wait()?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(not(target_os = "linux"))]
compile_error!("qemu-machine needs Linux: it waits for processes by their pidfd");

pub mod accel;
mod channel;
pub mod console;
pub mod display;
pub mod error;
mod error_debug;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod guests;
mod host;
pub mod input;
mod launch;
pub mod life;
pub mod machine;
mod output;
mod process;
pub mod qtest;
pub mod registry;
#[cfg(feature = "serde")]
mod serialize;
pub mod spec;
mod supervise;
mod sys;
pub mod template;
mod umbrella;

pub use qemu_qmp as qmp;

pub use accel::handle::Accel;
pub use console::handle::Console;
pub use console::screen::Screen;
pub use console::shell::Shell;
pub use display::handle::Display;
pub use input::keyboard::Keyboard;
pub use input::mouse::Mouse;
pub use launch::Launch;
pub use life::guest_state::GuestState;
pub use life::report::{ExitCause, ExitReport, ExitStatus};
pub use machine::handle::Machine;
pub use qemu_qmp::agent::GuestAgent;
pub use qemu_qmp::{Deadlines, Wait};
pub use qtest::handle::Qtest;
pub use spec::builder::MachineBuilder;
pub use spec::machine::MachineSpec;
pub use umbrella::Error;

#[cfg(doctest)]
mod guide;

/// The README's examples compile.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
