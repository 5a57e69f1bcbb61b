//! The life of a machine, without I/O: its state, the state of its guest, what
//! was observed of both, and the report of its end.

mod cause;
mod guest_exit;
pub(crate) mod guest_state;
mod ladder;
#[cfg(test)]
mod model;
mod observed_state;
pub(crate) mod report;
mod state;
mod survivor;

pub(crate) use cause::{Shutdown, cause};
pub(crate) use guest_exit::{Evidence, ExitDevices};
pub use guest_exit::{ExitDevice, GuestExit};
pub use guest_state::PauseReason;
pub(crate) use guest_state::{GuestRecord, GuestState, IfPaused, PausedForGood};
pub(crate) use ladder::Ladder;
pub use ladder::{Rung, RungOutcome, RungReport};
pub(crate) use observed_state::ObservedState;
pub(crate) use report::Tails;
pub(crate) use report::{ExitCause, ExitReport, ExitStatus};
pub(crate) use state::{Action, HandshakeFailure, Life};
pub use survivor::{Survivor, SurvivorOutcome};
