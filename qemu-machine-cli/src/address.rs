//! The address of a server, as a verb takes it.

use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use qemu_machine::qmp::connect::ServerAddress;
use qemu_machine::registry::{self, PublishedMachine};

/// A machine's name, a unix socket's path, or a host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// The name of a published machine, or else a socket in this directory.
    Name(String),
    Unix(PathBuf),
    Tcp(String),
}

/// What is served at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    Monitor,
    Agent,
}

impl FromStr for Address {
    type Err = String;

    /// Reads `unix:PATH` and `tcp:HOST:PORT`. Other text is `HOST:PORT` if it has
    /// a port and no slash, a path if it has a slash, and a name otherwise.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.into()));
        }
        let has_port = |text: &str| {
            let port = text.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
            matches!(port, Some(Ok(_)))
        };
        match text.strip_prefix("tcp:") {
            Some(address) if has_port(address) => Ok(Self::Tcp(address.to_owned())),
            Some(address) => Err(format!("'{address}' has no port: HOST:PORT is needed")),
            None if text.is_empty() => Err("an address cannot be empty".to_owned()),
            None if text.contains('/') => Ok(Self::Unix(text.into())),
            None if has_port(text) => Ok(Self::Tcp(text.to_owned())),
            None => Ok(Self::Name(text.to_owned())),
        }
    }
}

impl Address {
    /// A text that is the same for the same server, from every directory.
    pub(crate) fn identity(&self) -> String {
        match self {
            Self::Name(name) if Path::new(name).exists() => Self::Unix(name.into()).identity(),
            Self::Name(name) => name.clone(),
            Self::Unix(path) => {
                let full = path.canonicalize().unwrap_or_else(|_| path.clone());
                full.display().to_string()
            }
            Self::Tcp(address) => address.clone(),
        }
    }

    /// The published machine that this is the name of, if it is one.
    pub(crate) fn machine(&self) -> Option<PublishedMachine> {
        match self {
            Self::Name(name) => registry::find(name).ok(),
            Self::Unix(_) | Self::Tcp(_) => None,
        }
    }

    /// The address for the library; a name is looked up here.
    pub(crate) fn resolve(&self, service: Service) -> Result<ServerAddress, String> {
        match self {
            Self::Name(name) => named(name, service).map(ServerAddress::Unix),
            Self::Unix(path) => Ok(ServerAddress::Unix(path.clone())),
            Self::Tcp(address) => {
                // An empty host is this host, as in QEMU.
                let full = match address.strip_prefix(':') {
                    Some(port) => format!("localhost:{port}"),
                    None => address.clone(),
                };
                let mut found = full
                    .to_socket_addrs()
                    .map_err(|error| format!("cannot find {address}: {error}"))?;
                let first = found.next();
                let first = first.ok_or_else(|| format!("{address} has no address"))?;
                Ok(ServerAddress::Tcp(first))
            }
        }
    }
}

/// The socket of a published machine, or the one in this directory.
fn named(name: &str, service: Service) -> Result<PathBuf, String> {
    match registry::find(name) {
        Ok(machine) => socket(&machine, service),
        Err(_) if Path::new(name).exists() => Ok(name.into()),
        Err(error) => {
            let name = name.escape_debug();
            Err(format!("{error}; nor is there a socket '{name}'"))
        }
    }
}

fn socket(machine: &PublishedMachine, service: Service) -> Result<PathBuf, String> {
    let file = match service {
        Service::Monitor => "qmp",
        Service::Agent if machine.entry().has_guest_agent => "agent",
        Service::Agent => {
            let name = machine.name();
            return Err(format!(
                "machine '{name}' has no port for a guest agent; run it with --agent"
            ));
        }
    };
    Ok(machine.folder().join(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_a_path_and_a_port_are_told_apart() {
        let unix = |path: &str| Ok(Address::Unix(path.into()));
        let tcp = |address: &str| Ok(Address::Tcp(address.to_owned()));
        let name = |name: &str| Ok(Address::Name(name.to_owned()));
        let table = [
            ("qmp.sock", name("qmp.sock")),
            ("./qmp.sock", unix("./qmp.sock")),
            ("unix:qmp.sock", unix("qmp.sock")),
            ("/run/vm:1/qmp:4444", unix("/run/vm:1/qmp:4444")),
            ("unix:localhost:4444", unix("localhost:4444")),
            ("localhost:4444", tcp("localhost:4444")),
            ("[::1]:4444", tcp("[::1]:4444")),
            (":4444", tcp(":4444")),
            ("tcp:host:1", tcp("host:1")),
            ("vm:qmp", name("vm:qmp")),
        ];
        for (text, address) in table {
            assert_eq!(text.parse(), address, "{text}");
        }
        assert!("".parse::<Address>().is_err());
        assert!("tcp:host".parse::<Address>().is_err());
    }
}
