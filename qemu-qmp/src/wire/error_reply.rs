//! A command that the server refused.

use std::fmt;

use serde_json::value::RawValue;

use super::members::members;

/// An error reply, as data (`docs/interop/qmp-spec`, "Error").
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ErrorReply {
    /// What kind of error it is. Nearly all are [`ErrorClass::GenericError`].
    pub class: ErrorClass,
    /// The server's words, for people; they change between versions.
    pub desc: String,
    /// The error object as it was received; the text of a command of the monitor
    /// for people.
    pub raw: Box<RawValue>,
}

/// The class of an error reply (`QapiErrorClass` in QEMU's schema).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorClass {
    /// An error without a class of its own.
    GenericError,
    /// The command does not exist, is not allowed now, or negotiation is due.
    CommandNotFound,
    /// A device is not there.
    DeviceNotFound,
    /// A device is not active.
    DeviceNotActive,
    /// KVM is not there.
    KvmMissingCap,
    /// A class that this crate does not know.
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

    /// An error that the monitor for people reported by this text.
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
