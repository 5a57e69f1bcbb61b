//! Describes a channel: a socket whose other end QEMU has from its start.

use super::{ConsoleConfig, DeviceWithController, OptionGroup};

/// Describes a channel.
#[derive(Debug, Clone)]
pub(crate) enum ChannelConfig {
    /// A console with this name; the first has none.
    Console(Option<String>, ConsoleConfig),
    /// Another monitor, with this name.
    Monitor(String),
    /// The qtest channel. A machine has at most one.
    Qtest,
    /// The port of the guest agent, on this controller.
    GuestAgent(OptionGroup),
}

impl ChannelConfig {
    /// The id of its character device, from its index among the channels.
    pub(crate) fn id(&self, place: usize) -> String {
        match self {
            Self::Console(..) => format!("console{place}"),
            Self::Monitor(_) => format!("mon{place}"),
            Self::Qtest => "qtest".to_owned(),
            Self::GuestAgent(_) => format!("agent{place}"),
        }
    }

    /// Whether it is the machine's first console.
    pub(crate) fn is_first_console(&self) -> bool {
        matches!(self, Self::Console(None, _))
    }

    /// What connects its character device with the machine.
    pub(crate) fn options(&self, id: &str) -> Vec<(&'static str, OptionGroup)> {
        match self {
            Self::Console(_, config) => config.options(id),
            Self::Monitor(_) => {
                let monitor = OptionGroup::default().set("chardev", id);
                vec![("-mon", monitor.set("mode", "control"))]
            }
            // QEMU's own log of the channel would repeat every byte. QEMU uses
            // the first accelerator that its binary has.
            Self::Qtest => vec![
                ("-qtest", OptionGroup::new(format!("chardev:{id}"))),
                ("-qtest-log", OptionGroup::new("none")),
                ("-accel", OptionGroup::new("qtest")),
                ("-accel", OptionGroup::new("tcg")),
            ],
            Self::GuestAgent(controller) => agent_devices(id, controller),
        }
    }

    /// Whether the guest stays paused until it is started.
    pub(crate) fn starts_paused(&self) -> bool {
        matches!(self, Self::Qtest)
    }
}

/// The port on its controller, for the character device with this id.
fn agent_devices(id: &str, controller: &OptionGroup) -> Vec<(&'static str, OptionGroup)> {
    let port = DeviceWithController {
        device: OptionGroup::new("virtserialport")
            .set("id", id)
            .set("name", "org.qemu.guest_agent.0"),
        controller: Some(controller.clone()),
    };
    port.options(id)
}

#[cfg(test)]
mod tests {
    use crate::Machine;
    use crate::spec::OptionGroup;

    const PORT: &str = "-device virtserialport,id=agent0,name=org.qemu.guest_agent.0,\
                        bus=agent0-controller.0,chardev=agent0 -S";

    #[test]
    fn the_port_has_a_controller_and_the_name_that_agents_look_for() {
        let builder = Machine::builder("qemu").guest_agent().guest_agent();
        let words = builder.dry_run().command_line.to_string();
        let expected = format!(
            "-chardev socket,id=agent0,fd=4 -device virtio-serial,id=agent0-controller {PORT}"
        );
        assert!(words.ends_with(&expected), "{words}");
    }

    #[test]
    fn the_controller_may_be_another_whenever_it_is_given() {
        let ccw = || OptionGroup::new("virtio-serial-ccw").set("devno", "fe.0.0002");
        let builder = || Machine::builder("qemu");
        for builder in [
            builder().guest_agent_controller(ccw()),
            builder().guest_agent().guest_agent_controller(ccw()),
            builder().guest_agent_controller(ccw()).guest_agent(),
        ] {
            let words = builder.dry_run().command_line.to_string();
            let controller = "-device virtio-serial-ccw,devno=fe.0.0002,id=agent0-controller";
            assert!(words.ends_with(&format!("{controller} {PORT}")), "{words}");
        }
    }
}
