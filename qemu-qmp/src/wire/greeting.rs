//! The greeting, which a server sends when a connection opens.

use std::fmt;

use serde_json::Value;
use serde_json::value::RawValue;

use super::members::members;

/// The server's greeting (`docs/interop/qmp-spec`, "Server Greeting").
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Greeting {
    /// The version of QEMU; `None` if it has an unknown form.
    pub version: Option<Version>,
    /// The capabilities that the server offers, such as `oob`.
    pub capabilities: Vec<String>,
}

/// The version of QEMU.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Version {
    /// Major number, 10 in 10.0.2.
    pub major: u32,
    /// Minor number, 0 in 10.0.2.
    pub minor: u32,
    /// Micro number, 2 in 10.0.2.
    pub micro: u32,
    /// The packager's name of the build; often empty.
    pub package: String,
}

impl Greeting {
    pub(super) fn parse(raw: &RawValue) -> Result<Self, String> {
        // Parsed, it uses many times its length in memory.
        if raw.get().len() > LIMIT_BYTES {
            return Err(format!("a greeting longer than {LIMIT_BYTES} bytes"));
        }
        let [capabilities, version] = members(raw, ["capabilities", "version"])
            .map_err(|error| format!("a greeting: {error}"))?;
        let Some(Ok(Value::Array(capabilities))) =
            capabilities.map(|raw| serde_json::from_str(raw.get()))
        else {
            return Err("a greeting without capabilities".to_owned());
        };
        Ok(Self {
            version: version.and_then(Version::parse),
            // In a later version, a capability may not be a string.
            capabilities: capabilities
                .iter()
                .filter_map(|name| name.as_str().map(ToOwned::to_owned))
                .collect(),
        })
    }

    /// Whether the server offers out-of-band execution.
    pub fn offers_oob(&self) -> bool {
        self.capabilities.iter().any(|name| name == OOB)
    }
}

impl Version {
    fn parse(raw: &RawValue) -> Option<Self> {
        let version: Value = serde_json::from_str(raw.get()).ok()?;
        let number = |part: &str| u32::try_from(version["qemu"][part].as_u64()?).ok();
        Some(Self {
            major: number("major")?,
            minor: number("minor")?,
            micro: number("micro")?,
            package: version["package"].as_str().unwrap_or_default().to_owned(),
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.micro)
    }
}

/// About a thousand times the length of QEMU's greeting.
const LIMIT_BYTES: usize = 1 << 20;

/// The name of the out-of-band capability.
pub(super) const OOB: &str = "oob";
