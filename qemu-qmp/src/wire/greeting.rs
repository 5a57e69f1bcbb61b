//! What a server says of itself when a connection opens.

use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

/// The server's greeting (`docs/interop/qmp-spec`, "Server Greeting").
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Greeting {
    /// The version of QEMU; `None` if it was told in a form unknown to us.
    pub version: Option<Version>,
    /// The capabilities that the server offers, such as `oob`.
    pub capabilities: Vec<String>,
}

/// The version of QEMU that greeted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Version {
    /// Major number, 10 in 10.0.2.
    pub major: u32,
    /// Minor number, 0 in 10.0.2.
    pub minor: u32,
    /// Micro number, 2 in 10.0.2.
    pub micro: u32,
    /// What the packager calls it; often empty.
    pub package: String,
}

impl Greeting {
    pub(super) fn parse(raw: &RawValue) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Wire<'a> {
            #[serde(borrow)]
            version: Option<&'a RawValue>,
            #[serde(borrow)]
            capabilities: Vec<&'a RawValue>,
        }
        let wire: Wire<'_> = serde_json::from_str(raw.get()).map_err(|error| error.to_string())?;
        Ok(Self {
            version: wire.version.and_then(Version::parse),
            // A capability of a kind to come need not be a string.
            capabilities: wire
                .capabilities
                .iter()
                .filter_map(|name| serde_json::from_str(name.get()).ok())
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
        #[derive(Deserialize)]
        struct Wire {
            qemu: Triple,
            #[serde(default)]
            package: String,
        }
        #[derive(Deserialize)]
        struct Triple {
            major: u32,
            minor: u32,
            micro: u32,
        }
        let Wire {
            qemu:
                Triple {
                    major,
                    minor,
                    micro,
                },
            package,
        } = serde_json::from_str(raw.get()).ok()?;
        Some(Self {
            major,
            minor,
            micro,
            package,
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.micro)
    }
}

/// The name of the out-of-band capability.
pub(super) const OOB: &str = "oob";
