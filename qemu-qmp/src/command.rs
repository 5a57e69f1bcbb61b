//! Commands as types.
//!
//! Those here are the ones that the life of a machine needs. Any other is
//! sent by [`Client::execute_json`](crate::Client::execute_json), or made a
//! type by its user in the same way.

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

/// A QMP command: its fields are its arguments.
///
/// # Examples
/// ```
/// use qemu_qmp::Command;
/// use serde::{Deserialize, Serialize};
///
/// /// `query-rtc-reset-reinjection` would go the same way.
/// #[derive(Serialize)]
/// struct QueryName {}
///
/// #[derive(Deserialize)]
/// struct Name {
///     name: Option<String>,
/// }
///
/// impl Command for QueryName {
///     const NAME: &'static str = "query-name";
///     type Return = Name;
/// }
/// ```
pub trait Command: Serialize {
    /// The command's name on the wire.
    const NAME: &'static str;
    /// Whether it is executed out of band, ahead of what waits its turn. Few
    /// commands allow it (`allow-oob` in QEMU's schema).
    const OOB: bool = false;
    /// What the server returns.
    type Return: DeserializeOwned;
}

/// `query-status`: whether the guest runs.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct QueryStatus {}

/// The answer to [`QueryStatus`] (`StatusInfo` in QEMU's schema).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Status {
    /// Whether the guest's processors run.
    pub running: bool,
    /// The run state by its name on the wire, such as `running`, `paused`,
    /// `prelaunch` or `guest-panicked`.
    pub status: String,
}

impl Command for QueryStatus {
    const NAME: &'static str = "query-status";
    type Return = Status;
}

macro_rules! plain_commands {
    ($($(#[$doc:meta])* $type:ident = $name:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Serialize)]
        pub struct $type {}

        impl Command for $type {
            const NAME: &'static str = $name;
            type Return = IgnoredAny;
        }
    )*};
}

plain_commands! {
    /// `quit`: ends QEMU, without a word to the guest.
    Quit = "quit";
    /// `system_powerdown`: presses the guest's power button. What follows is
    /// the guest's choice.
    SystemPowerdown = "system_powerdown";
    /// `system_reset`: presses the guest's reset button.
    SystemReset = "system_reset";
    /// `stop`: halts the guest's processors.
    Stop = "stop";
    /// `cont`: lets the guest's processors run, for the first time or again.
    Cont = "cont";
}
