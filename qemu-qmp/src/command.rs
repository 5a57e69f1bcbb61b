//! Commands as types.
//!
//! These are the commands that a machine's life needs. Send any other by
//! [`Client::execute_json`](crate::Client::execute_json), or make it a type in
//! the same way.

use serde_core::de::{Deserialize, DeserializeOwned, Deserializer, Error as _, IgnoredAny};
use serde_core::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use crate::schema::Schema;

/// A QMP command as a type: its fields are the arguments.
///
/// # Examples
/// ```
/// use qemu_qmp::command::Command;
/// use serde::{Deserialize, Serialize};
///
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
    /// Whether it is executed out of band: before the commands that the server
    /// has queued. Few commands allow it (`allow-oob` in QEMU's schema).
    const OOB: bool = false;
    /// The type of the server's return value.
    type Return: DeserializeOwned;
}

/// Commands without arguments.
///
/// Written by hand: a derive would add a compiler of macros to every build, for a
/// few empty structures.
macro_rules! plain_commands {
    ($($(#[$doc:meta])* $type:ident = $name:literal -> $return:ty;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $type;

        impl ::serde_core::Serialize for $type {
            fn serialize<S: ::serde_core::Serializer>(
                &self,
                serializer: S,
            ) -> Result<S::Ok, S::Error> {
                ::serde_core::ser::SerializeMap::end(serializer.serialize_map(Some(0))?)
            }
        }

        impl $crate::command::Command for $type {
            const NAME: &'static str = $name;
            type Return = $return;
        }
    )*};
}
pub(crate) use plain_commands;

plain_commands! {
    /// `query-status`: whether the guest runs.
    QueryStatus = "query-status" -> Status;
    /// `query-qmp-schema`: every command and event of the server, with its
    /// arguments, return values and data. The reply has about 200 KB.
    QuerySchema = "query-qmp-schema" -> Schema;
    /// `quit`: ends QEMU, without notice to the guest.
    Quit = "quit" -> IgnoredAny;
    /// `system_powerdown`: presses the guest's power button. The guest decides
    /// what follows.
    SystemPowerdown = "system_powerdown" -> IgnoredAny;
    /// `system_reset`: presses the guest's reset button.
    SystemReset = "system_reset" -> IgnoredAny;
    /// `stop`: stops the guest's processors.
    Stop = "stop" -> IgnoredAny;
    /// `cont`: starts the guest's processors, for the first time or again.
    Cont = "cont" -> IgnoredAny;
}

/// `human-monitor-command`: a command of the human monitor (HMP), whose answer is
/// text. A failure is text too, and not an error reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HumanMonitorCommand {
    command_line: String,
}

impl HumanMonitorCommand {
    /// The line, as a person would type it.
    pub fn new(command_line: impl Into<String>) -> Self {
        Self {
            command_line: command_line.into(),
        }
    }
}

impl Serialize for HumanMonitorCommand {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut arguments = serializer.serialize_map(Some(1))?;
        arguments.serialize_entry("command-line", &self.command_line)?;
        arguments.end()
    }
}

impl Command for HumanMonitorCommand {
    const NAME: &'static str = "human-monitor-command";
    type Return = String;
}

/// The answer to [`QueryStatus`] (`StatusInfo` in QEMU's schema).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Whether the guest's processors run.
    pub running: bool,
    /// The run state by its name on the wire, such as `running`, `paused`,
    /// `prelaunch` or `guest-panicked`.
    pub status: String,
}

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let reply = Value::deserialize(deserializer)?;
        let (Some(running), Some(status)) = (reply["running"].as_bool(), reply["status"].as_str())
        else {
            return Err(D::Error::custom("no `running` or no `status`"));
        };
        Ok(Self {
            running,
            status: status.to_owned(),
        })
    }
}
