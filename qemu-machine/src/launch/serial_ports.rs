//! Checks that each console on a serial port has a device.
//!
//! QEMU accepts `-serial` options for ports that the machine does not have,
//! without a message. Nothing reads the input of such a console. All other
//! consoles have a `-device`, and QEMU does not start without it.

use crate::spec::ChannelConfig;
use crate::spec::MachineSpec;
use qemu_qmp::Client;
use qemu_qmp::error::ExecuteError;
use serde_json::Value;

use crate::launch::error::LaunchFailure;

/// A console on a serial port.
#[derive(Debug)]
pub(crate) struct SerialPort {
    /// The console's name; `None` for the first console.
    console: Option<String>,
    /// The id of its character device.
    chardev: String,
    /// The number of the serial port, counted from 1.
    number: usize,
}

impl SerialPort {
    /// The serial ports of a machine's consoles.
    pub(crate) fn of(spec: &MachineSpec) -> Vec<Self> {
        let mut ports = Vec::new();
        for (place, channel) in spec.channels.iter().enumerate() {
            if let ChannelConfig::Console(name, config) = channel
                && config.is_serial()
            {
                ports.push(Self {
                    console: name.clone(),
                    chardev: channel.id(place),
                    number: spec.null_serials + ports.len() + 1,
                });
            }
        }
        ports
    }

    fn failure(&self) -> LaunchFailure {
        LaunchFailure::NoSerialPort {
            console: self.console.clone(),
            number: self.number,
        }
    }
}

/// Asks QEMU whether each of these ports has a device. Returns `false` if the
/// connection ended before QEMU answered.
///
/// Asks nothing if there are no such ports. A question that QEMU refuses is no
/// failure.
pub(crate) async fn all_have_devices(
    client: &Client,
    ports: &[SerialPort],
) -> Result<bool, LaunchFailure> {
    if ports.is_empty() {
        return Ok(true);
    }
    let chardevs = match client.execute_json(QUERY_CHARDEV, ()).timeout(None).await {
        Ok(chardevs) => chardevs,
        Err(error) => return Ok(is_connected(&error)),
    };
    let Some(port) = first_without_device(ports, &chardevs) else {
        return Ok(true);
    };
    // With `--preconfig`, no machine has devices yet, and QEMU refuses this
    // command.
    match client.execute_json(QUERY_MEMORY, ()).timeout(None).await {
        Ok(_) => Err(port.failure()),
        Err(error) => Ok(is_connected(&error)),
    }
}

fn is_connected(error: &ExecuteError) -> bool {
    error.disconnected().is_none()
}

/// The first port without a device: no device has opened its character device,
/// by `ChardevInfo` of QEMU (`docs/interop/qemu-qmp-ref`). A serial port opens
/// it at once; only a `virtserialport` leaves that to the guest.
fn first_without_device<'a>(ports: &'a [SerialPort], chardevs: &Value) -> Option<&'a SerialPort> {
    let has_none = |port: &&SerialPort| {
        let mut chardevs = chardevs.as_array().into_iter().flatten();
        chardevs.any(|it| it["label"] == port.chardev && it["frontend-open"] == false)
    };
    ports.iter().find(has_none)
}

const QUERY_CHARDEV: &str = "query-chardev";

/// A short command that QEMU answers only when the machine has its devices.
const QUERY_MEMORY: &str = "query-memory-size-summary";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Console, Machine};

    #[test]
    fn ports_are_counted_over_serial_consoles_and_null_ports_alone() {
        let builder = Machine::builder("qemu")
            .null_serials(2)
            .console(Console::virtio())
            .add_monitor("other")
            .add_console("a", Console::serial())
            .add_console("debug", Console::debugcon(0xe9))
            .add_console("b", Console::serial());
        let ports = SerialPort::of(builder.spec());
        let found: Vec<_> = ports
            .iter()
            .map(|it| (it.console.as_deref(), it.chardev.as_str(), it.number))
            .collect();
        assert_eq!(
            found,
            [(Some("a"), "console2", 3), (Some("b"), "console4", 4)]
        );
    }

    #[test]
    fn only_a_chardev_that_qemu_knows_to_have_no_device_is_one_without() {
        let builder = Machine::builder("qemu")
            .console(Console::serial())
            .add_console("b", Console::serial());
        let ports = SerialPort::of(builder.spec());
        let without = |chardevs: &str| {
            let chardevs: Value = serde_json::from_str(chardevs).unwrap();
            first_without_device(&ports, &chardevs).map(|port| port.number)
        };
        let open = r#"{"label": "console0", "frontend-open": true, "filename": "x"}"#;
        let closed = r#"{"label": "console1", "frontend-open": false, "filename": "x"}"#;
        assert_eq!(without("[]"), None);
        assert_eq!(without(&format!("[{open}]")), None);
        assert_eq!(without(&format!("[{closed}, {open}]")), Some(2));
    }
}
