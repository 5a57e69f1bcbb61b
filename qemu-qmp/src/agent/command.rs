//! The agent's typed commands.

use serde_core::de::{Deserialize, Deserializer, Error as _, IgnoredAny};
use serde_json::Value;

use crate::command::plain_commands;

plain_commands! {
    /// `guest-ping`: asks whether the agent answers.
    GuestPing = "guest-ping" -> IgnoredAny;
    /// `guest-info`: asks for the agent's version and its commands.
    GuestInfo = "guest-info" -> AgentInfo;
    /// `guest-fsfreeze-status`: asks whether the file systems are frozen. The answer
    /// is `thawed` or `frozen`.
    GuestFsfreezeStatus = "guest-fsfreeze-status" -> String;
    /// `guest-fsfreeze-freeze`: writes all file systems to their disks, and freezes
    /// them. Returns how many are frozen. The agent then refuses most commands,
    /// until the file systems are thawed.
    GuestFsfreezeFreeze = "guest-fsfreeze-freeze" -> u64;
    /// `guest-fsfreeze-thaw`: thaws all file systems. Returns how many it thawed.
    GuestFsfreezeThaw = "guest-fsfreeze-thaw" -> u64;
    /// `guest-fstrim`: reports unused blocks of all file systems to their disks.
    GuestFstrim = "guest-fstrim" -> TrimmedFileSystems;
}

/// The answer to [`GuestFstrim`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrimmedFileSystems(Vec<TrimmedFileSystem>);

/// A file system in the answer to [`GuestFstrim`] (`GuestFilesystemTrimResult` in
/// the agent's schema).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrimmedFileSystem {
    /// Where it is mounted.
    pub path: String,
    /// How many bytes were trimmed; `None` if the guest does not report it.
    pub trimmed_bytes: Option<u64>,
    /// Why it was not trimmed; `None` if it was.
    pub error: Option<String>,
}

impl IntoIterator for TrimmedFileSystems {
    type Item = TrimmedFileSystem;
    type IntoIter = std::vec::IntoIter<TrimmedFileSystem>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'de> Deserialize<'de> for TrimmedFileSystems {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let reply = Value::deserialize(deserializer)?;
        let systems = reply["paths"].as_array();
        let systems = systems.ok_or_else(|| D::Error::custom("no `paths`"))?;
        let systems = systems.iter().map(|system| TrimmedFileSystem {
            path: system["path"].as_str().unwrap_or_default().to_owned(),
            trimmed_bytes: system["trimmed"].as_u64(),
            error: system["error"].as_str().map(str::to_owned),
        });
        Ok(Self(systems.collect()))
    }
}

/// The answer to [`GuestInfo`] (`GuestAgentInfo` in the agent's schema).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AgentInfo {
    /// The agent's version: the QEMU version that it was built with.
    pub version: String,
    /// The agent's commands.
    pub commands: Vec<AgentCommand>,
}

/// A command of the agent (`GuestAgentCommandInfo` in the agent's schema).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AgentCommand {
    /// Its name.
    pub name: String,
    /// Whether it may be executed. The agent's configuration may forbid it.
    pub enabled: bool,
    /// Whether it sends a reply when it succeeds.
    pub replies: bool,
}

impl AgentInfo {
    /// Whether the agent has this command, and may execute it.
    pub fn has(&self, command: &str) -> bool {
        let mut commands = self.commands.iter();
        commands.any(|it| it.name == command && it.enabled)
    }
}

impl<'de> Deserialize<'de> for AgentInfo {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let reply = Value::deserialize(deserializer)?;
        let Some(version) = reply["version"].as_str() else {
            return Err(D::Error::custom("no `version`"));
        };
        let commands = reply["supported_commands"].as_array();
        let commands = commands.into_iter().flatten().filter_map(|command| {
            Some(AgentCommand {
                name: command["name"].as_str()?.to_owned(),
                enabled: command["enabled"].as_bool()?,
                // Agents before QEMU 1.7 do not report it.
                replies: command["success-response"].as_bool().unwrap_or(true),
            })
        });
        Ok(Self {
            version: version.to_owned(),
            commands: commands.collect(),
        })
    }
}

/// How to shut a guest down (`guest-shutdown`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShutdownMode {
    /// Power off, which ends the machine.
    Powerdown,
    /// Halt; the machine continues to run.
    Halt,
    /// Reboot.
    Reboot,
}

impl ShutdownMode {
    /// The mode by its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Powerdown => "powerdown",
            Self::Halt => "halt",
            Self::Reboot => "reboot",
        }
    }
}
