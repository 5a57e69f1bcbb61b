//! The qtest channel of a machine. The caller drives devices and memory, instead
//! of guest software (QEMU's `docs/devel/testing/qtest`).
//!
//! ```text
//! QtestCommand --lines--> QEMU's socket                          (on the caller's thread)
//! QEMU's socket --pump (engine)--> Connection --reply--> QtestCommand
//!                                             --change of an interrupt--> Irqs
//! ```

mod channel;
mod command;
pub(crate) mod error;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
pub(crate) mod handle;
mod lines;
pub(crate) mod wire;

pub(crate) use channel::{absent, connect};
pub use command::QtestCommand;
pub use error::QtestEnd;
pub(crate) use error::{QtestError, QtestFailure};
pub use handle::Irqs;
pub(crate) use handle::Qtest;
pub use wire::Irq;
pub(crate) use wire::QtestProtocolError;
