//! The error reply to a command that the server refused.

use std::fmt;

use serde_json::value::RawValue;

use super::members::members;

/// An error reply, as data (`docs/interop/qmp-spec`, "Error").
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ErrorReply {
    /// The class. Nearly all errors are [`ErrorClass::GenericError`].
    pub class: ErrorClass,
    /// The server's description, for people. It changes between versions.
    pub desc: String,
    /// The error object as it was received. For a failed command of the human
    /// monitor, its text.
    pub raw: Box<RawValue>,
}

/// The class of an error reply (`QapiErrorClass` in QEMU's schema).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorClass {
    /// Any error that has no other class.
    GenericError,
    /// The command does not exist or is not allowed now, or negotiation is not
    /// done.
    CommandNotFound,
    /// The device does not exist.
    DeviceNotFound,
    /// The device is not active.
    DeviceNotActive,
    /// KVM is not available.
    KvmMissingCap,
    /// Any other class, by its name.
    Other(String),
}

impl ErrorReply {
    pub(super) fn parse(raw: &RawValue) -> Result<Self, String> {
        let [class, desc] =
            members(raw, ["class", "desc"]).map_err(|error| format!("an error reply: {error}"))?;
        let text = |raw: Option<&RawValue>| serde_json::from_str::<String>(raw?.get()).ok();
        let Some(class) = text(class) else {
            return Err("an error reply without a class".to_owned());
        };
        Ok(Self {
            class: ErrorClass::new(&class),
            desc: text(desc).unwrap_or_default(),
            raw: raw.to_owned(),
        })
    }

    /// An error that the human monitor reported by this text.
    pub(crate) fn of_text(raw: Box<RawValue>) -> Self {
        let text: String = serde_json::from_str(raw.get()).unwrap_or_default();
        Self {
            class: ErrorClass::GenericError,
            desc: text.trim().to_owned(),
            raw,
        }
    }
}

impl fmt::Display for ErrorReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.desc, self.class.as_str())
    }
}

impl ErrorClass {
    fn new(name: &str) -> Self {
        let known = [
            Self::GenericError,
            Self::CommandNotFound,
            Self::DeviceNotFound,
            Self::DeviceNotActive,
            Self::KvmMissingCap,
        ];
        known
            .into_iter()
            .find(|class| class.as_str() == name)
            .unwrap_or_else(|| Self::Other(name.to_owned()))
    }

    /// The class by its name on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::GenericError => "GenericError",
            Self::CommandNotFound => "CommandNotFound",
            Self::DeviceNotFound => "DeviceNotFound",
            Self::DeviceNotActive => "DeviceNotActive",
            Self::KvmMissingCap => "KVMMissingCap",
            Self::Other(name) => name,
        }
    }
}
