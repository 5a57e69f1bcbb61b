//! The order of a command line: wrapper, binary, the options of every machine,
//! the options of this one.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use qemu_qmp::connect::ServerAddress;

use super::{GuestStart, OptionGroup};
use crate::spec::image::{MEMORY_ID, wants_generation_id};
use crate::spec::{ChannelConfig, ImagePlan, MachineSpec};

/// Where QEMU finds the other ends of its channels.
#[derive(Debug)]
pub(crate) struct Ends<'a> {
    pub(crate) monitor: MonitorEnd<'a>,
    pub(crate) channels: ChannelEnds<'a>,
    /// QEMU's number for the first added descriptor.
    pub(crate) first_added: usize,
    /// The machine's private directory.
    pub(crate) directory: &'a Path,
}

/// Where QEMU finds the peer of its monitor.
#[derive(Debug)]
pub(crate) enum MonitorEnd<'a> {
    /// No monitor at all.
    Off,
    /// A connected socket, with this number in QEMU.
    Descriptor(usize),
    /// A listening socket.
    Address(&'a ServerAddress),
    /// No peer yet: QEMU listens on a unix socket of this name.
    ByHand(&'a str),
}

/// Where QEMU finds the peers of its channels.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ChannelEnds<'a> {
    /// Connected sockets; the first has this number in QEMU.
    Descriptors(usize),
    /// No peers yet: the first console is the terminal. For the others, QEMU
    /// listens on unix sockets whose names start with this.
    ByHand(&'a str),
}

impl ChannelEnds<'_> {
    /// The character device of a channel, from its index among all.
    fn device(self, channel: &ChannelConfig, id: &str, place: usize) -> OptionGroup {
        let socket = OptionGroup::new("socket").set("id", id);
        match self {
            Self::Descriptors(number) => socket.set("fd", (number + place).to_string()),
            Self::ByHand(_) if channel.is_first_console() => {
                OptionGroup::new("stdio").set("id", id)
            }
            Self::ByHand(name) => listening(socket, &format!("{name}.{id}")),
        }
    }
}

pub(crate) fn compose(spec: &MachineSpec, ends: &Ends<'_>) -> Vec<OsString> {
    let mut words = spec.wrapper.clone();
    words.push(spec.binary.clone());
    let mut option = |name: &str, value: &OsStr| words.extend([name.into(), value.to_owned()]);
    option("-display", OsStr::new("none"));
    option("-vga", OsStr::new("none"));
    if let Some(monitor) = monitor(&ends.monitor) {
        option("-chardev", monitor.as_os_str());
        option("-mon", OsStr::new("chardev=mon,mode=control"));
    }
    if let Some(machine) = &spec.machine_type {
        option("-machine", machine);
    }
    for _ in 0..spec.null_serials {
        option("-serial", OsStr::new("null"));
    }
    for (place, channel) in spec.channels.iter().enumerate() {
        let id = channel.id(place);
        let device = ends.channels.device(channel, &id, place);
        option("-chardev", device.as_os_str());
        for (name, value) in channel.options(&id) {
            option(name, value.as_os_str());
        }
    }
    if let Some(firmware) = &spec.firmware {
        option(
            "-bios",
            ends.directory.join(firmware.file_name()).as_os_str(),
        );
    }
    for (index, added) in spec.descriptors.iter().enumerate() {
        let group = OptionGroup::default()
            .set("fd", (ends.first_added + index).to_string())
            .set("set", added.set.to_string());
        let group = match &added.opaque {
            Some(opaque) => group.set("opaque", opaque),
            None => group,
        };
        option("-add-fd", group.as_os_str());
    }
    let is_paused = match spec.guest_start() {
        GuestStart::Driven => true,
        // By hand, nothing would start it.
        GuestStart::Paused => matches!(ends.channels, ChannelEnds::Descriptors(_)),
        GuestStart::PausedByCaller
        | GuestStart::Incoming
        | GuestStart::Template
        | GuestStart::AtOnce => false,
    };
    if is_paused {
        words.push("-S".into());
    }
    if spec.guest_start() == GuestStart::Template {
        words.extend(["-incoming".into(), "defer".into()]);
    }
    match spec.image.plan(&spec.arguments) {
        // The launch refuses what cannot be planned.
        Some(Ok(plan)) => words.extend(with_image(spec, &plan, ends.directory)),
        _ => words.extend_from_slice(&spec.arguments),
    }
    words
}

/// The arguments, with the memory and the disks where they are planned.
fn with_image(spec: &MachineSpec, plan: &ImagePlan, directory: &Path) -> Vec<OsString> {
    let mut words = Vec::new();
    if let Some(memory) = spec.image.memory(plan.memory_bytes, directory) {
        words.extend(["-object".into(), memory.as_os_str().to_owned()]);
        let backend = OptionGroup::default().set("memory-backend", MEMORY_ID);
        words.extend(["-machine".into(), backend.as_os_str().to_owned()]);
    }
    if wants_generation_id(spec) {
        words.extend(["-device".into(), "vmgenid,guid=auto".into()]);
    }
    words.extend(plan.arguments(&spec.arguments, directory));
    words
}

fn monitor(end: &MonitorEnd<'_>) -> Option<OptionGroup> {
    let group = OptionGroup::new("socket").set("id", "mon");
    Some(match end {
        MonitorEnd::Off => return None,
        MonitorEnd::Descriptor(number) => group.set("fd", number.to_string()),
        MonitorEnd::Address(ServerAddress::Unix(path)) => group.set("path", path),
        // Without Nagle delay: QEMU loses delayed bytes if it ends with unread
        // input, even a line end.
        MonitorEnd::Address(ServerAddress::Tcp(address)) => group
            .set("host", address.ip().to_string())
            .set("port", address.port().to_string())
            .switch("nodelay", true),
        MonitorEnd::ByHand(name) => listening(group, &format!("{name}.qmp")),
    })
}

fn listening(socket: OptionGroup, path: &str) -> OptionGroup {
    socket
        .set("path", path)
        .switch("server", true)
        .switch("wait", false)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::spec::{MachineBuilder, Monitor};
    use crate::{Console, Machine, guests};

    fn words(builder: &MachineBuilder) -> String {
        builder.dry_run().command_line.to_string()
    }

    // P2, P3
    #[test]
    fn the_order_is_wrapper_binary_base_and_then_what_was_given() {
        let builder = Machine::builder("qemu")
            .wrapper(["nice", "-n1"])
            .arg("-S")
            .null_monitor()
            .machine("q35")
            .null_serials(2)
            .console(Console::serial())
            .add_fd(7, File::open("/dev/null").unwrap(), Some("a,b"))
            .memory("1G");
        assert_eq!(
            words(&builder),
            "nice -n1 qemu -display none -vga none -chardev socket,id=mon,fd=3 \
             -mon chardev=mon,mode=control -machine q35 -serial null -serial null \
             -chardev socket,id=console0,fd=4 -serial chardev:console0 \
             -add-fd fd=5,set=7,opaque=a,,b -S -monitor null -m 1G"
        );
    }

    #[test]
    fn a_monitor_elsewhere_leaves_its_number_to_the_next() {
        let builder = Machine::builder("qemu").console(Console::device(
            OptionGroup::new("isa-debugcon").set("iobase", "0xe9"),
        ));
        let console = "-chardev socket,id=console0,fd=3 \
                       -device isa-debugcon,iobase=0xe9,chardev=console0";
        assert_eq!(
            words(&builder.clone().monitor(Monitor::Off)),
            format!("qemu -display none -vga none {console}")
        );
        let mon = "-mon chardev=mon,mode=control";
        assert_eq!(
            words(&builder.clone().monitor(Monitor::Unix("/a,b".into()))),
            format!(
                "qemu -display none -vga none -chardev socket,id=mon,path=/a,,b {mon} {console} -S"
            )
        );
        assert_eq!(
            words(&builder.monitor(Monitor::Tcp(([127, 0, 0, 1], 99).into()))),
            format!(
                "qemu -display none -vga none -chardev socket,id=mon,host=127.0.0.1,port=99,nodelay=on {mon} \
                 {console} -S"
            )
        );
    }

    #[test]
    fn every_channel_has_a_number_of_its_own() {
        let builder = Machine::builder("qemu")
            .add_fd(7, File::open("/dev/null").unwrap(), None)
            .add_monitor("watch")
            .console(Console::serial());
        let watch = |end| format!("-chardev socket,id=mon1,{end} -mon chardev=mon1,mode=control");
        assert_eq!(
            words(&builder),
            format!(
                "qemu -display none -vga none -chardev socket,id=mon,fd=3 \
                 -mon chardev=mon,mode=control -chardev socket,id=console0,fd=4 \
                 -serial chardev:console0 {} -add-fd fd=6,set=7 -S",
                watch("fd=5")
            )
        );
        let by_hand = builder.name("vm").dry_run().shell_line;
        let path = watch("path=vm.mon1,server=on,wait=off");
        assert!(by_hand.contains(&path), "{by_hand}");
    }

    // P3
    #[test]
    fn consoles_stand_in_their_order_each_with_its_device() {
        let builder = Machine::builder("qemu")
            .monitor(Monitor::Off)
            .add_console("kernel", Console::virtio())
            .add_console("firmware", Console::debugcon(0x402))
            .console(Console::debugcon(0xe9))
            .console(Console::serial());
        assert_eq!(
            words(&builder),
            "qemu -display none -vga none -chardev socket,id=console0,fd=3 \
             -serial chardev:console0 -chardev socket,id=console1,fd=4 \
             -device virtio-serial,id=console1-controller \
             -device virtconsole,bus=console1-controller.0,chardev=console1 \
             -chardev socket,id=console2,fd=5 \
             -device isa-debugcon,iobase=0x402,chardev=console2"
        );
        let by_hand = builder.name("vm").dry_run().shell_line;
        let path = "socket,id=console1,path=vm.console1,server=on,wait=off";
        assert!(by_hand.contains(path), "{by_hand}");
        assert!(by_hand.contains("-chardev stdio,id=console0"), "{by_hand}");
    }

    #[test]
    fn semihosting_is_a_console_by_an_option_of_its_own() {
        let builder = Machine::builder("qemu-system-arm")
            .monitor(Monitor::Off)
            .machine("lm3s6965evb")
            .console(Console::serial())
            .add_console("program", Console::semihosting());
        assert_eq!(
            words(&builder),
            "qemu-system-arm -display none -vga none -machine lm3s6965evb \
             -chardev socket,id=console0,fd=3 -serial chardev:console0 \
             -chardev socket,id=console1,fd=4 \
             -semihosting-config enable=on,target=native,chardev=console1"
        );
    }

    #[test]
    fn a_qtest_channel_is_one_and_has_the_guest_not_run() {
        let builder = Machine::builder("qemu").qtest().qtest().memory("1G");
        let channel = |end| {
            format!(
                "-chardev socket,id=qtest,{end} -qtest chardev:qtest -qtest-log none \
                 -accel qtest -accel tcg -S -m 1G"
            )
        };
        assert_eq!(
            words(&builder),
            format!(
                "qemu -display none -vga none -chardev socket,id=mon,fd=3 \
                 -mon chardev=mon,mode=control {}",
                channel("fd=4")
            )
        );
        let by_hand = builder.name("vm").dry_run().shell_line;
        let channel = channel("path=vm.qtest,server=on,wait=off");
        assert!(by_hand.ends_with(&channel), "{by_hand}");
    }

    #[test]
    fn by_hand_the_console_is_the_terminal_and_the_monitor_a_path() {
        let builder = Machine::builder("qemu")
            .name("vm one")
            .firmware(guests::tiny())
            .console(Console::serial())
            .env("A", "b c")
            .env_remove("D")
            .current_dir("/tmp");
        assert_eq!(
            builder.dry_run().shell_line,
            "(cd /tmp && exec env -u D 'A=b c' qemu -display none -vga none \
             -chardev 'socket,id=mon,path=vm one.qmp,server=on,wait=off' \
             -mon chardev=mon,mode=control -chardev stdio,id=console0 -serial chardev:console0 \
             -bios DIRECTORY/tiny.bin)"
        );
    }
}
