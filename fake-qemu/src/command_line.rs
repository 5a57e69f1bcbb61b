//! The options of QEMU that this program understands: socket chardevs, the QMP
//! monitor among them, and its own `-fake-script`. Other options are ignored,
//! because no script depends on them.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// The parsed options, in the order of the command line.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct CommandLine {
    pub(crate) chardevs: Vec<Chardev>,
    /// The chardev of the first `-mon …,mode=control`.
    pub(crate) monitor: Option<String>,
    /// Whether the guest is paused until `cont` (`-S`).
    pub(crate) is_held: bool,
    /// The chardevs of the serial ports. A launch queries them.
    pub(crate) serials: Vec<String>,
    script: Option<OsString>,
}

/// One `-chardev socket`.
#[derive(Debug, PartialEq)]
pub(crate) struct Chardev {
    pub(crate) id: String,
    pub(crate) address: Address,
    pub(crate) role: Role,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Address {
    Descriptor(RawFd),
    Path(PathBuf),
    Tcp { host: String, port: u16 },
}

/// The direction of the connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Role {
    /// This program connects, or the descriptor is already connected.
    Client,
    /// This program listens; with `wait`, the script starts when the peer has
    /// connected.
    Server { wait: bool },
}

impl CommandLine {
    /// Reads the arguments that follow the program's name.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let mut found = Self::default();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let bytes = argument.as_bytes();
            let name = bytes.strip_prefix(b"--").or(bytes.strip_prefix(b"-"));
            found.is_held |= name == Some(b"S");
            // The value of an unknown option has no dash, so the loop ignores it
            // too.
            let Some(name @ (b"chardev" | b"mon" | b"serial" | b"fake-script")) = name else {
                continue;
            };
            let value = arguments
                .next()
                .ok_or_else(|| format!("option {} has no value", argument.display()))?;
            match name {
                b"chardev" => found.add_chardev(&value)?,
                b"mon" => found.add_monitor(&value)?,
                b"serial" => found.add_serial(&value),
                _ => found.script = Some(value),
            }
        }
        Ok(found)
    }

    /// The script's text, from the option or the environment.
    pub(crate) fn script_text(&self) -> Result<String, String> {
        let source = self
            .script
            .clone()
            .or_else(|| std::env::var_os(SCRIPT_VARIABLE))
            .ok_or_else(|| format!("no script: give -fake-script or set {SCRIPT_VARIABLE}"))?;
        let source = source
            .into_string()
            .map_err(|_| "the script is not UTF-8; write other bytes as \\xNN".to_owned())?;
        match source.strip_prefix('@') {
            Some(path) => std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}")),
            None => Ok(source),
        }
    }

    fn add_chardev(&mut self, value: &OsString) -> Result<(), String> {
        let properties = Properties::parse(value);
        if properties.backend() != Some(b"socket") {
            return Ok(());
        }
        let wrong = |what: &str| format!("-chardev {}: {what}", value.display());
        let address = if let Some(descriptor) = properties.text("fd") {
            let descriptor = descriptor.parse().map_err(|_| wrong("fd is no number"))?;
            // Each descriptor has one owner; std owns 0, 1 and 2.
            if descriptor <= 2 || self.chardevs.iter().any(|c| c.address.is(descriptor)) {
                return Err(wrong("fd belongs to someone else"));
            }
            Address::Descriptor(descriptor)
        } else if let Some(path) = properties.bytes("path") {
            Address::Path(OsString::from_vec(path.to_vec()).into())
        } else if let Some(port) = properties.text("port") {
            let port = port.parse().map_err(|_| wrong("port is no number"))?;
            let host = properties.text("host").filter(|host| !host.is_empty());
            Address::Tcp {
                host: host.unwrap_or_else(|| "localhost".to_owned()),
                port,
            }
        } else {
            return Err(wrong("has none of fd, path and port"));
        };
        let role = if properties.flag("server", false) {
            Role::Server {
                wait: properties.flag("wait", true),
            }
        } else {
            Role::Client
        };
        let id = properties.text("id").ok_or_else(|| wrong("has no id"))?;
        self.chardevs.push(Chardev { id, address, role });
        Ok(())
    }

    fn add_monitor(&mut self, value: &OsString) -> Result<(), String> {
        let properties = Properties::parse(value);
        if properties.bytes("mode") == Some(b"control") && self.monitor.is_none() {
            // The first word may have no key, as in `-mon mon,mode=control`.
            let chardev = properties
                .text("chardev")
                .or_else(|| {
                    properties
                        .backend()
                        .map(|b| String::from_utf8_lossy(b).into_owned())
                })
                .ok_or_else(|| format!("-mon {}: has no chardev", value.display()))?;
            self.monitor = Some(chardev);
        }
        Ok(())
    }

    fn add_serial(&mut self, value: &OsString) {
        let value = value.to_string_lossy();
        self.serials
            .extend(value.strip_prefix("chardev:").map(str::to_owned));
    }
}

impl Address {
    fn is(&self, descriptor: RawFd) -> bool {
        *self == Address::Descriptor(descriptor)
    }
}

/// A value such as `socket,id=mon,path=/a,,b,server=on`. A doubled comma is one
/// comma of the value.
struct Properties(Vec<Vec<u8>>);

impl Properties {
    fn parse(value: &OsString) -> Self {
        let mut parts = vec![Vec::new()];
        let mut bytes = value.as_bytes().iter().peekable();
        while let Some(&byte) = bytes.next() {
            if byte == b',' && bytes.next_if_eq(&&b',').is_none() {
                parts.push(Vec::new());
            } else if let Some(part) = parts.last_mut() {
                part.push(byte);
            }
        }
        Self(parts)
    }

    fn backend(&self) -> Option<&[u8]> {
        self.0
            .first()
            .map(Vec::as_slice)
            .filter(|first| !first.contains(&b'='))
    }

    fn bytes(&self, key: &str) -> Option<&[u8]> {
        self.0
            .iter()
            .find_map(|part| part.strip_prefix(key.as_bytes())?.strip_prefix(b"="))
    }

    fn text(&self, key: &str) -> Option<String> {
        self.bytes(key)
            .map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// A switch in QEMU's current form (`wait=off`) or its old form (`nowait`).
    fn flag(&self, key: &str, default: bool) -> bool {
        let negated = format!("no{key}");
        match self.bytes(key) {
            Some(value) => matches!(value, b"on" | b"yes" | b"true" | b"y"),
            None if self.0.iter().any(|part| part == key.as_bytes()) => true,
            None if self.0.iter().any(|part| part == negated.as_bytes()) => false,
            None => default,
        }
    }
}

/// The variable with the script if the command line has none.
const SCRIPT_VARIABLE: &str = "FAKE_QEMU_SCRIPT";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<CommandLine, String> {
        CommandLine::parse(arguments.iter().map(OsString::from))
    }

    fn one_chardev(value: &str) -> Chardev {
        parse(&["-chardev", value]).unwrap().chardevs.remove(0)
    }

    #[test]
    fn a_machines_command_line_is_understood() {
        let line = parse(&[
            "-display",
            "none",
            "-vga",
            "none",
            "-chardev",
            "socket,id=mon,fd=3",
            "-mon",
            "chardev=mon,mode=control",
            "-machine",
            "none",
            "-S",
            "-chardev",
            "socket,id=console0,fd=4",
            "-serial",
            "chardev:console0",
            "-fake-script",
            "exit 0",
        ])
        .unwrap();
        assert_eq!(line.monitor.as_deref(), Some("mon"));
        assert_eq!(line.serials, ["console0"]);
        let found: Vec<_> = line
            .chardevs
            .iter()
            .map(|c| (c.id.as_str(), &c.address))
            .collect();
        assert_eq!(
            found,
            [
                ("mon", &Address::Descriptor(3)),
                ("console0", &Address::Descriptor(4))
            ]
        );
        assert_eq!(line.script_text().unwrap(), "exit 0");
    }

    #[test]
    fn a_doubled_comma_is_one_comma_of_the_path() {
        let chardev = one_chardev("socket,id=m,path=/a,,b,,,,c,server=on");
        assert_eq!(chardev.address, Address::Path("/a,b,,c".into()));
        assert_eq!(chardev.role, Role::Server { wait: true });
    }

    #[test]
    fn a_host_and_a_port_are_an_address() {
        let chardev = one_chardev("socket,id=m,host=127.0.0.1,port=1234");
        assert_eq!(
            chardev.address,
            Address::Tcp {
                host: "127.0.0.1".into(),
                port: 1234
            }
        );
        assert_eq!(chardev.role, Role::Client);
    }

    #[test]
    fn both_forms_of_a_switch_are_understood() {
        for form in ["server=on,wait=off", "server,nowait"] {
            let chardev = one_chardev(&format!("socket,id=m,path=/a,{form}"));
            assert_eq!(chardev.role, Role::Server { wait: false }, "{form}");
        }
    }

    #[test]
    fn a_path_need_not_be_text() {
        let value = OsString::from_vec(b"socket,id=m,path=/\xff".to_vec());
        let line = CommandLine::parse([OsString::from("-chardev"), value]).unwrap();
        let path = OsString::from_vec(b"/\xff".to_vec());
        assert_eq!(line.chardevs[0].address, Address::Path(path.into()));
    }

    #[test]
    fn other_backends_and_human_monitors_are_let_pass() {
        let line = parse(&["-chardev", "null,id=n", "-mon", "chardev=n,mode=readline"]).unwrap();
        assert_eq!(line, CommandLine::default());
    }

    #[test]
    fn what_cannot_be_opened_is_refused() {
        for value in [
            "socket,id=m",
            "socket,fd=3",
            "socket,id=m,fd=x",
            "socket,id=m,fd=1",
        ] {
            assert!(parse(&["-chardev", value]).is_err(), "{value}");
        }
        assert!(parse(&["-chardev"]).is_err());
        let twice = [
            "-chardev",
            "socket,id=a,fd=3",
            "-chardev",
            "socket,id=b,fd=3",
        ];
        assert!(parse(&twice).is_err());
    }
}
