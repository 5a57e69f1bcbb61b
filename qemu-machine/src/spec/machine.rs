//! The description of a machine, as data.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use qemu_qmp::Deadlines;
use qemu_qmp::connect::ServerAddress;
use qemu_qmp::wire::Settings;

use super::command_line::{ChannelEnds, Ends, MonitorEnd, compose};
use super::{ChannelConfig, CommandLine, ConsoleConfig, DryRun, Firmware, GuestStart, Image, Tee};

/// Describes a machine: how QEMU is started, and how it is treated.
///
/// A [`MachineBuilder`](crate::MachineBuilder) fills it, and
/// `MachineBuilder::from(spec)` makes a builder from it. It can be read,
/// cloned, and launched many times. Nothing runs until
/// [`launch`](crate::MachineBuilder::launch).
///
/// # Examples
/// ```
/// use qemu_machine::Machine;
///
/// let builder = Machine::builder("qemu-system-x86_64").name("node").memory("256M");
/// let spec = builder.spec();
/// assert_eq!(spec.name(), Some("node"));
/// assert_eq!(spec.arguments(), ["-m", "256M"]);
/// ```
#[derive(Debug, Clone)]
pub struct MachineSpec {
    pub(crate) binary: OsString,
    pub(crate) wrapper: Vec<OsString>,
    pub(crate) name: Option<String>,
    pub(crate) is_published: bool,
    pub(crate) ends_owner: bool,
    pub(crate) monitor: Monitor,
    pub(crate) monitor_settings: Settings,
    pub(crate) transcript: Option<PathBuf>,
    pub(crate) machine_type: Option<OsString>,
    pub(crate) null_serials: usize,
    pub(crate) channels: Vec<ChannelConfig>,
    pub(crate) firmware: Option<Firmware>,
    pub(crate) image: Image,
    pub(crate) descriptors: Vec<AddedDescriptor>,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) environment: Vec<(OsString, Option<OsString>)>,
    pub(crate) working_directory: Option<PathBuf>,
    pub(crate) base_directory: Option<PathBuf>,
    pub(crate) log_directory: Option<PathBuf>,
    pub(crate) output_tee: Option<Tee>,
    pub(crate) launch_timeout: Option<Duration>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) quit_timeout: Option<Duration>,
    pub(crate) terminate_timeout: Duration,
    pub(crate) deadlines_suspended: bool,
}

/// How the monitor of a machine is reached.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Monitor {
    /// Over a socket that QEMU inherits. It has no path and no port, so no
    /// other process can connect.
    #[default]
    SocketPair,
    /// Over a unix socket, on which this process listens before QEMU starts.
    /// The path must not exist. It is removed when QEMU has connected.
    Unix(PathBuf),
    /// Over TCP, on which this process listens before QEMU starts. With port 0,
    /// the system chooses a free port.
    Tcp(SocketAddr),
    /// No monitor. Only a signal ends the machine. The launch succeeds when the
    /// process runs.
    Off,
}

/// A descriptor that QEMU gets from its start.
#[derive(Debug, Clone)]
pub(crate) struct AddedDescriptor {
    pub(crate) descriptor: Arc<OwnedFd>,
    pub(crate) set: u32,
    pub(crate) opaque: Option<String>,
}

impl MachineSpec {
    pub(crate) fn new(binary: OsString) -> Self {
        Self {
            binary,
            wrapper: Vec::new(),
            name: None,
            is_published: false,
            ends_owner: false,
            monitor: Monitor::default(),
            monitor_settings: Settings::default(),
            transcript: None,
            machine_type: None,
            null_serials: 0,
            channels: Vec::new(),
            firmware: None,
            image: Image::default(),
            descriptors: Vec::new(),
            arguments: Vec::new(),
            environment: Vec::new(),
            working_directory: None,
            base_directory: None,
            log_directory: None,
            output_tee: None,
            launch_timeout: Some(Duration::from_secs(30)),
            timeout: Some(Duration::from_secs(30)),
            quit_timeout: Some(Duration::from_secs(20)),
            terminate_timeout: Duration::from_secs(5),
            deadlines_suspended: false,
        }
    }

    /// The QEMU binary, as it was given.
    pub fn binary(&self) -> &OsStr {
        &self.binary
    }

    /// The command before the binary, with its arguments; empty for none.
    pub fn wrapper(&self) -> &[OsString] {
        &self.wrapper
    }

    /// The machine's name; `None` if each launch makes a new one.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Whether the machine is [published](crate::MachineBuilder::publish).
    pub fn is_published(&self) -> bool {
        self.is_published
    }

    /// How the monitor is reached.
    pub fn monitor(&self) -> &Monitor {
        &self.monitor
    }

    /// The names of the monitors, without the first.
    pub fn monitor_names(&self) -> impl Iterator<Item = &str> {
        self.channels.iter().filter_map(|channel| match channel {
            ChannelConfig::Monitor(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// The consoles with their names; the first has none.
    pub fn consoles(&self) -> impl Iterator<Item = (Option<&str>, &ConsoleConfig)> {
        self.channels.iter().filter_map(|channel| match channel {
            ChannelConfig::Console(name, config) => Some((name.as_deref(), config)),
            _ => None,
        })
    }

    /// Whether the machine has a qtest channel.
    pub fn has_qtest(&self) -> bool {
        let is_qtest = |channel: &ChannelConfig| matches!(channel, ChannelConfig::Qtest);
        self.channels.iter().any(is_qtest)
    }

    /// Whether the machine has a port for a guest agent.
    pub fn has_guest_agent(&self) -> bool {
        let is_agent = |channel: &ChannelConfig| matches!(channel, ChannelConfig::GuestAgent(_));
        self.channels.iter().any(is_agent)
    }

    /// The machine type, with its options; `None` for QEMU's own default.
    pub fn machine_type(&self) -> Option<&OsStr> {
        self.machine_type.as_deref()
    }

    /// The embedded firmware; `None` for the default of the machine type.
    pub fn firmware(&self) -> Option<&Firmware> {
        self.firmware.as_ref()
    }

    /// Whether the guest can be frozen.
    pub fn is_freezable(&self) -> bool {
        self.image.is_freezable()
    }

    /// The arguments, in the order of the calls. They include those from
    /// `memory`, `kernel`, `drive` and others.
    pub fn arguments(&self) -> &[OsString] {
        &self.arguments
    }

    /// The variables of QEMU's environment that were set, or removed (`None`).
    pub fn environment(&self) -> &[(OsString, Option<OsString>)] {
        &self.environment
    }

    /// The working directory of QEMU; `None` for the one of this process.
    pub fn working_dir(&self) -> Option<&Path> {
        self.working_directory.as_deref()
    }

    /// The directory of the log of QEMU's output; `None` if the log is private.
    pub fn log_dir(&self) -> Option<&Path> {
        self.log_directory.as_deref()
    }

    /// The monitor's transcript; `None` if none is written.
    pub fn transcript(&self) -> Option<&Path> {
        self.transcript.as_deref()
    }

    /// The default timeout of a launch; `None` for no timeout.
    pub fn launch_timeout(&self) -> Option<Duration> {
        self.launch_timeout
    }

    /// The default timeout of operations; `None` for no timeout.
    pub fn default_timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// Returns the command line of a launch, without running it.
    pub fn dry_run(&self) -> DryRun {
        let address = match &self.monitor {
            Monitor::Unix(path) => Some(ServerAddress::Unix(path.clone())),
            Monitor::Tcp(address) => Some(ServerAddress::Tcp(*address)),
            Monitor::SocketPair | Monitor::Off => None,
        };
        let name = self.name.as_deref().unwrap_or("qemu");
        let (launched, by_hand) = match (&self.monitor, &address) {
            (Monitor::Off, _) => (MonitorEnd::Off, MonitorEnd::Off),
            (_, Some(address)) => (MonitorEnd::Address(address), MonitorEnd::ByHand(name)),
            (_, None) => (
                MonitorEnd::Descriptor(FIRST_DESCRIPTOR),
                MonitorEnd::ByHand(name),
            ),
        };
        let inherited = matches!(self.monitor, Monitor::SocketPair);
        let numbers = self.descriptor_numbers(inherited);
        let directory = Path::new("DIRECTORY");
        let ends = |monitor, channels| Ends {
            monitor,
            channels,
            first_added: numbers.added,
            directory,
        };
        DryRun::new(
            CommandLine::new(compose(
                self,
                &ends(launched, ChannelEnds::Descriptors(numbers.channels)),
            )),
            &compose(self, &ends(by_hand, ChannelEnds::ByHand(name))),
            &self.environment,
            self.working_directory.as_deref(),
        )
    }

    /// The deadlines of one machine.
    pub(crate) fn deadlines(&self) -> Deadlines {
        let deadlines = Deadlines::new(self.timeout);
        if self.deadlines_suspended {
            deadlines.suspend();
        }
        deadlines
    }

    /// How the guest starts.
    pub(crate) fn guest_start(&self) -> GuestStart {
        let has_monitor = !matches!(self.monitor, Monitor::Off);
        match GuestStart::new(has_monitor, &self.channels, &self.arguments) {
            // It takes a guest that was a clone.
            GuestStart::Incoming => GuestStart::Incoming,
            _ if self.image.template().is_some() => GuestStart::Template,
            start => start,
        }
    }

    pub(crate) fn descriptor_numbers(&self, monitor_is_inherited: bool) -> DescriptorNumbers {
        let channels = FIRST_DESCRIPTOR + usize::from(monitor_is_inherited);
        let added = channels + self.channels.len();
        DescriptorNumbers { channels, added }
    }

    /// The name of the machine, or a new name that no other machine of this
    /// process has.
    pub(crate) fn name_or_new(&self) -> String {
        static LAUNCHED: AtomicU64 = AtomicU64::new(1);
        self.name.clone().unwrap_or_else(|| {
            let number = LAUNCHED.fetch_add(1, Ordering::Relaxed);
            format!("qemu-{}-{number}", std::process::id())
        })
    }
}

/// QEMU's numbers for its descriptors.
pub(crate) struct DescriptorNumbers {
    /// The first channel.
    pub(crate) channels: usize,
    /// The first added descriptor.
    pub(crate) added: usize,
}

/// QEMU's first descriptor after its standard ones.
pub(crate) const FIRST_DESCRIPTOR: usize = 3;
