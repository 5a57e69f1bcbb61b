//! The description of a machine before anything runs: data, and the command
//! line as a pure function of it.
//!
//! ```text
//! MachineBuilder --fills--> MachineSpec --compose--> CommandLine
//! ```

pub(crate) mod builder;
mod channel;
mod command_line;
mod console;
mod firmware;
pub(crate) mod image;
pub(crate) mod machine;
mod tee;

pub(crate) use builder::MachineBuilder;
pub(crate) use channel::ChannelConfig;
#[cfg(any(test, fuzzing))]
pub(crate) use command_line::fuzzing;
pub(crate) use command_line::{
    ChannelEnds, DeviceWithController, Ends, GuestStart, MonitorEnd, compose,
};
pub use command_line::{CommandLine, Drive, DryRun, OptionGroup, UserNet};
pub use console::ConsoleConfig;
pub(crate) use console::{ConsoleDevice, Noise, ScreenSize};
pub use firmware::Firmware;
pub(crate) use image::{Image, ImagePlan};
pub use machine::Monitor;
pub(crate) use machine::{FIRST_DESCRIPTOR, MachineSpec};
pub use tee::Tee;
pub(crate) use tee::{SharedWriter, TeeForm, TeeTarget};
