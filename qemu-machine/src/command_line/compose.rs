//! The order of a command line: wrapper, binary, what every machine has, what
//! this one's builder was told.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use qemu_qmp::ServerAddress;

use super::OptionGroup;
use crate::MachineBuilder;
use crate::builder::ConsoleDevice;

/// Where the other ends of QEMU's channels are.
#[derive(Debug)]
pub(crate) struct Ends<'a> {
    pub(crate) monitor: MonitorEnd<'a>,
    /// QEMU's descriptor for the console; `None` puts it on the terminal.
    pub(crate) console: Option<usize>,
    /// QEMU's descriptor for the first of those that were added.
    pub(crate) first_added: usize,
    /// The machine's private directory.
    pub(crate) directory: &'a Path,
}

/// Where QEMU finds its monitor's peer.
#[derive(Debug)]
pub(crate) enum MonitorEnd<'a> {
    /// No monitor at all.
    Off,
    /// A connected socket, by QEMU's number for it.
    Descriptor(usize),
    /// A listening socket.
    Address(&'a ServerAddress),
    /// Nowhere yet: QEMU listens on a unix socket of this name.
    ByHand(&'a str),
}

pub(crate) fn compose(builder: &MachineBuilder, ends: &Ends<'_>) -> Vec<OsString> {
    let mut words = builder.wrapper.clone();
    words.push(builder.binary.clone());
    let mut option = |name: &str, value: &OsStr| words.extend([name.into(), value.to_owned()]);
    option("-display", OsStr::new("none"));
    option("-vga", OsStr::new("none"));
    if let Some(monitor) = monitor(&ends.monitor) {
        option("-chardev", monitor.as_os_str());
        option("-mon", OsStr::new("chardev=mon,mode=control"));
    }
    if let Some(machine) = &builder.machine_type {
        option("-machine", machine);
    }
    for _ in 0..builder.null_serials {
        option("-serial", OsStr::new("null"));
    }
    if let Some(console) = &builder.console {
        let chardev = match ends.console {
            Some(descriptor) => OptionGroup::new("socket")
                .set("id", "console0")
                .set("fd", descriptor.to_string()),
            None => OptionGroup::new("stdio").set("id", "console0"),
        };
        option("-chardev", chardev.as_os_str());
        match &console.device {
            ConsoleDevice::Serial => option("-serial", OsStr::new("chardev:console0")),
            ConsoleDevice::Model(device) => {
                option(
                    "-device",
                    device.clone().set("chardev", "console0").as_os_str(),
                );
            }
        }
    }
    if let Some(firmware) = &builder.firmware {
        option(
            "-bios",
            ends.directory.join(firmware.file_name()).as_os_str(),
        );
    }
    for (index, added) in builder.descriptors.iter().enumerate() {
        let group = OptionGroup::default()
            .set("fd", (ends.first_added + index).to_string())
            .set("set", added.set.to_string());
        let group = match &added.opaque {
            Some(opaque) => group.set("opaque", opaque),
            None => group,
        };
        option("-add-fd", group.as_os_str());
    }
    words.extend_from_slice(&builder.arguments);
    words
}

fn monitor(end: &MonitorEnd<'_>) -> Option<OptionGroup> {
    let group = OptionGroup::new("socket").set("id", "mon");
    Some(match end {
        MonitorEnd::Off => return None,
        MonitorEnd::Descriptor(number) => group.set("fd", number.to_string()),
        MonitorEnd::Address(ServerAddress::Unix(path)) => group.set("path", path),
        MonitorEnd::Address(ServerAddress::Tcp(address)) => group
            .set("host", address.ip().to_string())
            .set("port", address.port().to_string()),
        MonitorEnd::ByHand(name) => group
            .set("path", format!("{name}.qmp"))
            .switch("server", true)
            .switch("wait", false),
    })
}
