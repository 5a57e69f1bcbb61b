//! Groups of options, in the form `first,key=value,…` that QEMU reads.
//!
//! A comma in a value is doubled, as the parser of QEMU requires (QEMU manual,
//! "Invocation", and `util/keyval.c`). Nothing else needs an escape.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// The value of an option that takes a group: `-device`, `-drive`, `-netdev`,
/// `-object` and the like.
///
/// # Examples
/// ```
/// use qemu_machine::spec::OptionGroup;
///
/// let device = OptionGroup::new("virtio-rng-pci").set("id", "rng0").set("rng", "a,b");
/// assert_eq!(device.as_os_str(), "virtio-rng-pci,id=rng0,rng=a,,b");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OptionGroup {
    text: OsString,
}

impl OptionGroup {
    /// Makes a group that starts with a value without a key, such as the model
    /// of a device. For a group without it, use
    /// [`OptionGroup::default()`](Default::default).
    pub fn new(first: impl AsRef<OsStr>) -> Self {
        Self {
            text: escape(first.as_ref()),
        }
    }

    /// Adds `key=value`.
    pub fn set(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        if !self.text.is_empty() {
            self.text.push(",");
        }
        self.text.push(key);
        self.text.push("=");
        self.text.push(escape(value.as_ref()));
        self
    }

    /// Adds `key=on` or `key=off`.
    pub fn switch(self, key: &str, on: bool) -> Self {
        self.set(key, if on { "on" } else { "off" })
    }

    /// A group that is in QEMU's form already.
    pub(crate) fn of_text(text: OsString) -> Self {
        Self { text }
    }

    /// The group, in the form that QEMU reads.
    pub fn as_os_str(&self) -> &OsStr {
        &self.text
    }
}

/// Doubles every comma.
fn escape(value: &OsStr) -> OsString {
    let mut bytes = Vec::with_capacity(value.len());
    for &byte in value.as_bytes() {
        if byte == b',' {
            bytes.push(b',');
        }
        bytes.push(byte);
    }
    OsString::from_vec(bytes)
}

/// A disk, for [`MachineBuilder::drive`](crate::MachineBuilder::drive).
#[derive(Debug, Clone)]
#[must_use = "a drive is nothing until it is given to a machine"]
pub struct Drive {
    group: OptionGroup,
}

impl Drive {
    /// Makes a disk whose content is a file. Without a
    /// [`format`](Self::format), QEMU guesses it, and does not let the guest
    /// write to the first sector of a raw disk.
    pub fn file(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        // A colon before the first slash would turn the start of the path into
        // a protocol.
        let bytes = path.as_os_str().as_bytes();
        let colon = bytes.iter().position(|&byte| byte == b':' || byte == b'/');
        let group = OptionGroup::default();
        let group = match colon.map(|index| bytes[index]) {
            Some(b':') => group.set("file", Path::new(".").join(path)),
            _ => group.set("file", path),
        };
        Self { group }
    }

    /// Sets the format of the image (`format=`): `raw`, `qcow2` and others.
    pub fn format(self, format: &str) -> Self {
        self.set("format", format)
    }

    /// Sets the interface of the disk (`if=`): `virtio`, `ide`, `none` and
    /// others.
    pub fn interface(self, interface: &str) -> Self {
        self.set("if", interface)
    }

    /// Sets whether the writes of the guest are discarded at the end
    /// (`snapshot=`).
    pub fn snapshot(self, on: bool) -> Self {
        self.set("snapshot", if on { "on" } else { "off" })
    }

    /// Sets whether the guest can only read (`readonly=`).
    pub fn read_only(self, on: bool) -> Self {
        self.set("readonly", if on { "on" } else { "off" })
    }

    /// Sets any other option of `-drive`.
    pub fn set(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.group = self.group.set(key, value);
        self
    }

    pub(crate) fn into_group(self) -> OptionGroup {
        self.group
    }
}

/// A network card on QEMU's user-mode network, for
/// [`MachineBuilder::netdev_user`](crate::MachineBuilder::netdev_user).
#[derive(Debug, Clone)]
#[must_use = "a network is nothing until it is given to a machine"]
pub struct UserNet {
    id: String,
    model: String,
    group: OptionGroup,
}

impl UserNet {
    /// Makes a `virtio-net-pci` card on its own network; `id` names the
    /// network.
    pub fn new(id: &str) -> Self {
        let group = OptionGroup::new("user").set("id", id);
        Self {
            id: id.to_owned(),
            model: "virtio-net-pci".to_owned(),
            group,
        }
    }

    /// Sets another model of card, such as `e1000`.
    pub fn model(mut self, model: &str) -> Self {
        model.clone_into(&mut self.model);
        self
    }

    /// Forwards TCP connections from an address of the host to a port of the
    /// guest (`hostfwd=`). With port 0, the system chooses a free port, which
    /// [`Machine::forwarded_port`](crate::Machine::forwarded_port) returns.
    pub fn forward_tcp(self, host: SocketAddr, guest_port: u16) -> Self {
        let rule = format!("tcp:{}:{}-:{guest_port}", host.ip(), host.port());
        self.set("hostfwd", rule)
    }

    /// Isolates the guest: it cannot reach the host or other networks
    /// (`restrict=on`).
    pub fn restrict(self) -> Self {
        self.set("restrict", "on")
    }

    /// Sets any other option of `-netdev user`.
    pub fn set(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.group = self.group.set(key, value);
        self
    }

    /// The network and its card.
    pub(crate) fn into_groups(self) -> (OptionGroup, OptionGroup) {
        (
            self.group,
            OptionGroup::new(self.model).set("netdev", self.id),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_are_doubled_and_nothing_else_is_touched() {
        let drive = Drive::file("/a,b/c=d e")
            .format("raw")
            .interface("none")
            .snapshot(true);
        let expected = "file=/a,,b/c=d e,format=raw,if=none,snapshot=on";
        assert_eq!(drive.into_group().as_os_str(), expected);
        let bytes = OsStr::from_bytes(b"/\xff,");
        let group = OptionGroup::default().set("file", bytes);
        assert_eq!(group.as_os_str().as_bytes(), b"file=/\xff,,");
    }

    #[test]
    fn a_file_name_with_a_colon_is_no_protocol() {
        let text = |path: &str| Drive::file(path).into_group().text.into_string().unwrap();
        assert_eq!(text("nbd:x"), "file=./nbd:x");
        assert_eq!(text("/tmp/nbd:x"), "file=/tmp/nbd:x");
        assert_eq!(text("plain"), "file=plain");
    }

    #[test]
    fn a_user_network_has_its_card() {
        let net = UserNet::new("n0")
            .forward_tcp(([127, 0, 0, 1], 0).into(), 22)
            .restrict();
        let (network, card) = net.into_groups();
        let expected = "user,id=n0,hostfwd=tcp:127.0.0.1:0-:22,restrict=on";
        assert_eq!(
            (network.as_os_str(), card.as_os_str()),
            (OsStr::new(expected), OsStr::new("virtio-net-pci,netdev=n0"))
        );
    }
}
