//! The agent's typed commands.

use serde_core::de::{Deserialize, Deserializer, Error as _, IgnoredAny};
use serde_json::Value;

use crate::command::plain_commands;

plain_commands! {
    /// `guest-ping`: asks whether the agent answers.
    GuestPing = "guest-ping" -> IgnoredAny;
    /// `guest-info`: asks for the agent's version and its commands.
    GuestInfo = "guest-info" -> AgentInfo;
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
