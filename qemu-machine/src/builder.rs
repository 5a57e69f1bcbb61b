//! What a machine shall be: inert until it is launched.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use qemu_qmp::wire::Settings;
use qemu_qmp::{Deadlines, ServerAddress};

use crate::channel::ChannelConfig;
use crate::command_line::{
    ChannelEnds, CommandLine, Drive, DryRun, Ends, GuestStart, MonitorEnd, OptionGroup, UserNet,
    compose,
};
use crate::console::ConsoleConfig;
use crate::guests::Firmware;
use crate::launch::Launch;
use crate::tee::Tee;

/// A machine to be: what QEMU is to be told, and how it is to be treated.
///
/// Nothing happens before [`launch`](Self::launch). A builder may be cloned,
/// and launched as often as wanted. Arguments stand on the command line in
/// the order in which they were given, after those that every machine has;
/// where two contradict each other, QEMU takes the later one.
///
/// # Examples
/// ```no_run
/// use qemu_machine::{Console, Machine, Wait};
///
/// let vm = Machine::builder("qemu-system-x86_64")
///     .memory("256M")
///     .kernel("vmlinuz")
///     .initrd("initramfs")
///     .append("console=ttyS0 quiet")
///     .console(Console::serial())
///     .launch()
///     .wait()?;
/// vm.console().expect("~ # ").wait()?;
/// vm.shutdown().wait()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it is launched"]
pub struct MachineBuilder {
    pub(crate) binary: OsString,
    pub(crate) wrapper: Vec<OsString>,
    pub(crate) name: Option<String>,
    pub(crate) monitor: Monitor,
    pub(crate) monitor_settings: Settings,
    pub(crate) transcript: Option<PathBuf>,
    pub(crate) machine_type: Option<OsString>,
    pub(crate) null_serials: usize,
    pub(crate) channels: Vec<ChannelConfig>,
    pub(crate) firmware: Option<Firmware>,
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
    /// Over a socket that QEMU inherits: no path, no port, and nobody else
    /// can get at it.
    #[default]
    SocketPair,
    /// Over a unix socket, on which we listen before QEMU starts. The path
    /// must not exist; it is removed as soon as QEMU has connected.
    Unix(PathBuf),
    /// Over TCP, on which we listen before QEMU starts. With port 0 the
    /// system chooses a free one.
    Tcp(SocketAddr),
    /// None: the machine can be ended by a signal only, and is taken as
    /// launched as soon as it runs.
    Off,
}

/// A descriptor that QEMU gets from its start.
#[derive(Debug, Clone)]
pub(crate) struct AddedDescriptor {
    pub(crate) descriptor: Arc<OwnedFd>,
    pub(crate) set: u32,
    pub(crate) opaque: Option<String>,
}

impl MachineBuilder {
    /// A machine run by `binary`, looked for in `PATH` unless it has a slash.
    pub fn new(binary: impl Into<OsString>) -> Self {
        Self {
            binary: binary.into(),
            wrapper: Vec::new(),
            name: None,
            monitor: Monitor::default(),
            monitor_settings: Settings::default(),
            transcript: None,
            machine_type: None,
            null_serials: 0,
            channels: Vec::new(),
            firmware: None,
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

    /// Launches the machine. Nothing happens before the result is awaited or
    /// waited for.
    pub fn launch(&self) -> Launch {
        Launch::new(self.clone())
    }

    /// What a launch would run.
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

    /// A command to put before the binary, with its arguments: `gdb --args`,
    /// `valgrind`, `taskset`, `ip netns exec`. It must become QEMU, or pass
    /// its descriptors on to it and stay until QEMU ends (`setsid --wait`). The
    /// machine ends when the wrapper ends: a QEMU that it leaves behind is killed,
    /// and named in [`ExitReport::survivors`](crate::ExitReport::survivors).
    pub fn wrapper<S: Into<OsString>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.wrapper = words.into_iter().map(Into::into).collect();
        self
    }

    /// What the machine is called in errors and in the names of its logs,
    /// instead of a name made of our process id and a number.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How the monitor is reached, instead of over an inherited socket.
    pub fn monitor(mut self, monitor: Monitor) -> Self {
        self.monitor = monitor;
        self
    }

    /// Takes replies of so many bytes instead of 256 MiB at most: a longer one
    /// ends the monitor's connection, by an error that says so.
    pub fn reply_limit_bytes(mut self, limit: usize) -> Self {
        self.monitor_settings.line_limit_bytes = limit;
        self
    }

    /// Writes every message of the monitor to this file, both ways and from the
    /// greeting on, as [`Transcript`](crate::qmp::Transcript) says. Where another
    /// machine is writing it, the file is `NAME~2.EXT`, as
    /// [`Machine::transcript_path`](crate::Machine::transcript_path) says.
    pub fn transcript(mut self, path: impl Into<PathBuf>) -> Self {
        self.transcript = Some(path.into());
        self
    }

    /// Adds a monitor to the first one, which
    /// [`Machine::monitor`](crate::Machine::monitor) gives by this name: a
    /// connection of its own, whose commands wait for nobody else's.
    pub fn add_monitor(mut self, name: impl Into<String>) -> Self {
        self.channels.push(ChannelConfig::Monitor(name.into()));
        self
    }

    /// A qtest channel, which [`Machine::qtest`](crate::Machine::qtest) gives:
    /// devices and memory are driven from outside, and the guest does not run.
    ///
    /// QEMU starts with its accelerator `qtest`, or, where it does not have it
    /// (which it then says on its output), with TCG and stopped. Accelerators
    /// that are set otherwise are not used. With the former, the machine is let
    /// run (`cont`), as its clock moves only then; without a monitor it is not.
    pub fn qtest(mut self) -> Self {
        let is_qtest = |channel: &ChannelConfig| matches!(channel, ChannelConfig::Qtest);
        if !self.channels.iter().any(is_qtest) {
            self.channels.push(ChannelConfig::Qtest);
        }
        self
    }

    /// Gives the guest a port for its agent, which
    /// [`Machine::guest_agent`](crate::Machine::guest_agent) speaks with. The
    /// port is on a `virtio-serial` controller, which needs a machine with PCI;
    /// for others see [`guest_agent_controller`](Self::guest_agent_controller).
    pub fn guest_agent(self) -> Self {
        let is_agent = |channel: &ChannelConfig| matches!(channel, ChannelConfig::GuestAgent(_));
        if self.channels.iter().any(is_agent) {
            return self;
        }
        self.guest_agent_controller(OptionGroup::new("virtio-serial"))
    }

    /// As [`guest_agent`](Self::guest_agent), with the port on this controller:
    /// `virtio-serial-device` on a machine with virtio-mmio (`microvm`, `virt`
    /// of Arm), `virtio-serial-ccw` on s390x. Its `id`, and the port's `bus`,
    /// are set by us.
    ///
    /// # Examples
    /// ```
    /// use qemu_machine::{Machine, OptionGroup};
    ///
    /// let builder = Machine::builder("qemu-system-aarch64")
    ///     .machine("virt")
    ///     .guest_agent_controller(OptionGroup::new("virtio-serial-device"));
    /// ```
    pub fn guest_agent_controller(mut self, controller: OptionGroup) -> Self {
        let mut channels = self.channels.iter_mut();
        let there = channels.find_map(|channel| match channel {
            ChannelConfig::GuestAgent(controller) => Some(controller),
            _ => None,
        });
        match there {
            Some(there) => *there = controller,
            None => self.channels.push(ChannelConfig::GuestAgent(controller)),
        }
        self
    }

    /// Adds a human monitor that is connected to nothing (`-monitor null`),
    /// which keeps QEMU from making one of its own.
    pub fn null_monitor(self) -> Self {
        self.args(["-monitor", "null"])
    }

    /// The machine's type: `q35`, `microvm`, `none` and so on, with its own
    /// options after commas.
    pub fn machine(mut self, machine_type: impl Into<OsString>) -> Self {
        self.machine_type = Some(machine_type.into());
        self
    }

    /// Puts so many serial ports that are connected to nothing before the
    /// console.
    pub fn null_serials(mut self, count: usize) -> Self {
        self.null_serials = count;
        self
    }

    /// A console to watch and to drive, which
    /// [`Machine::console`](crate::Machine::console) gives. Of several that
    /// are given the last one counts; for more than one see
    /// [`add_console`](Self::add_console).
    pub fn console(mut self, console: ConsoleConfig) -> Self {
        self.channels.retain(|channel| !channel.is_first_console());
        // Before all others, however late it is given.
        self.channels
            .insert(0, ChannelConfig::Console(None, console));
        self
    }

    /// Adds a console to the first one, which
    /// [`Machine::console_named`](crate::Machine::console_named) gives by this
    /// name.
    ///
    /// # Examples
    /// ```no_run
    /// use qemu_machine::{Console, Machine, Wait};
    ///
    /// let vm = Machine::builder("qemu-system-x86_64")
    ///     .console(Console::serial())
    ///     .add_console("firmware", Console::debugcon(0x402).log("firmware.log").log_times())
    ///     .launch()
    ///     .wait()?;
    /// vm.console_named("firmware").unwrap().expect("SeaBIOS").wait()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn add_console(mut self, name: impl Into<String>, console: ConsoleConfig) -> Self {
        self.channels
            .push(ChannelConfig::Console(Some(name.into()), console));
        self
    }

    /// A firmware that is part of this crate, such as
    /// [`guests::tiny`](crate::guests::tiny), in place of the machine's own.
    pub fn firmware(mut self, firmware: Firmware) -> Self {
        self.firmware = Some(firmware);
        self
    }

    /// A descriptor that QEMU gets from its start, as a member of the
    /// descriptor set `set`, which QEMU opens as `/dev/fdset/SET`.
    pub fn add_fd(
        mut self,
        descriptor: impl Into<OwnedFd>,
        set: u32,
        opaque: Option<&str>,
    ) -> Self {
        self.descriptors.push(AddedDescriptor {
            descriptor: Arc::new(descriptor.into()),
            set,
            opaque: opaque.map(ToOwned::to_owned),
        });
        self
    }

    /// One more argument, as it is.
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// More arguments, as they are.
    pub fn args<S: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// An option with a group as its value: `option("-device", …)`.
    pub fn option(self, name: &str, group: &OptionGroup) -> Self {
        self.args([OsStr::new(name), group.as_os_str()])
    }

    /// A device (`-device`).
    pub fn device(self, device: &OptionGroup) -> Self {
        self.option("-device", device)
    }

    /// The guest's memory (`-m`): `256M`, `2G`.
    pub fn memory(self, size: impl AsRef<OsStr>) -> Self {
        self.args([OsStr::new("-m"), size.as_ref()])
    }

    /// How many processors the guest has (`-smp`).
    pub fn smp(self, processors: u32) -> Self {
        self.args(["-smp", &processors.to_string()])
    }

    /// The processors' model (`-cpu`): `max`, `host`.
    pub fn cpu(self, model: impl AsRef<OsStr>) -> Self {
        self.args([OsStr::new("-cpu"), model.as_ref()])
    }

    /// The accelerators to try, the preferred one first: QEMU takes the first
    /// that it can start (`-accel`, once for each).
    pub fn accel<S: AsRef<OsStr>>(mut self, preference: impl IntoIterator<Item = S>) -> Self {
        for accelerator in preference {
            self = self.args([OsStr::new("-accel"), accelerator.as_ref()]);
        }
        self
    }

    /// A Linux kernel to boot (`-kernel`).
    pub fn kernel(self, path: impl AsRef<Path>) -> Self {
        self.args([OsStr::new("-kernel"), path.as_ref().as_os_str()])
    }

    /// The kernel's initial file system (`-initrd`).
    pub fn initrd(self, path: impl AsRef<Path>) -> Self {
        self.args([OsStr::new("-initrd"), path.as_ref().as_os_str()])
    }

    /// The kernel's command line (`-append`).
    pub fn append(self, command_line: impl AsRef<OsStr>) -> Self {
        self.args([OsStr::new("-append"), command_line.as_ref()])
    }

    /// A firmware file in place of the machine's own (`-bios`).
    pub fn bios(self, path: impl AsRef<Path>) -> Self {
        self.args([OsStr::new("-bios"), path.as_ref().as_os_str()])
    }

    /// Waits for a guest instead of starting one (`-incoming defer`): for
    /// [`Machine::migrate_to`](crate::Machine::migrate_to) and
    /// [`Machine::load_from`](crate::Machine::load_from).
    pub fn incoming(self) -> Self {
        self.args(["-incoming", "defer"])
    }

    /// A disk (`-drive`).
    pub fn drive(self, drive: Drive) -> Self {
        self.option("-drive", &drive.into_group())
    }

    /// A network card on QEMU's user-mode network (`-netdev user` and its
    /// `-device`).
    pub fn netdev_user(self, network: UserNet) -> Self {
        let (network, card) = network.into_groups();
        self.option("-netdev", &network).device(&card)
    }

    /// A variable of QEMU's environment, which else is ours.
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((key.into(), Some(value.into())));
        self
    }

    /// A variable of ours that QEMU shall not have.
    pub fn env_remove(mut self, key: impl Into<OsString>) -> Self {
        self.environment.push((key.into(), None));
        self
    }

    /// QEMU's working directory, instead of ours. Relative paths in arguments
    /// are relative to it; the binary is not.
    pub fn current_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.working_directory = Some(path.into());
        self
    }

    /// Where the machine's private log, or its directory where it needs one,
    /// is made, instead of the system's directory for temporary files.
    pub fn base_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.base_directory = Some(path.into());
        self
    }

    /// Where QEMU's own output is logged, as `NAME.log`, instead of a private
    /// log, which is removed at the end. The file is truncated at each launch.
    /// Machines of one name that run at the same time have a log each: that of
    /// the second is `NAME~2.log`, as
    /// [`Machine::log_path`](crate::Machine::log_path) says.
    pub fn log_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.log_directory = Some(path.into());
        self
    }

    /// Writes QEMU's own output to a writer too, as it comes:
    /// `.tee_output(std::io::stderr())`. [`Tee`] says how, and what becomes of a
    /// writer that is slow or fails.
    pub fn tee_output(mut self, to: impl Into<Tee>) -> Self {
        self.output_tee = Some(to.into());
        self
    }

    /// How long a launch may take until the machine can be spoken with,
    /// instead of 30 s.
    pub fn launch_timeout(mut self, timeout: Duration) -> Self {
        self.launch_timeout = Some(timeout);
        self
    }

    /// Lets a launch take as long as it takes, as for QEMU under a debugger.
    pub fn no_launch_timeout(mut self) -> Self {
        self.launch_timeout = None;
        self
    }

    /// How long every operation on the machine waits that does not say so
    /// itself, instead of 30 s: commands, events, the console, and
    /// [`Machine::exited`](crate::Machine::exited).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Has operations on the machine wait without end where they do not say
    /// otherwise themselves.
    pub fn no_timeout(mut self) -> Self {
        self.timeout = None;
        self
    }

    /// How long [`Machine::shutdown`](crate::Machine::shutdown) gives `quit`
    /// where it does not say so itself, instead of 20 s.
    pub fn quit_timeout(mut self, timeout: Duration) -> Self {
        self.quit_timeout = Some(timeout);
        self
    }

    /// How long [`Machine::shutdown`](crate::Machine::shutdown) gives SIGTERM
    /// where it does not say so itself, instead of 5 s.
    pub fn terminate_timeout(mut self, timeout: Duration) -> Self {
        self.terminate_timeout = timeout;
        self
    }

    /// Launches the machine with all its deadlines suspended, that of the
    /// launch included: for QEMU under a debugger, with the debugger as its
    /// [`wrapper`](Self::wrapper). They go on when
    /// [`Machine::deadlines`](crate::Machine::deadlines) are resumed.
    ///
    /// # Examples
    /// ```no_run
    /// use qemu_machine::{Machine, Wait};
    ///
    /// let vm = Machine::builder("qemu-system-x86_64")
    ///     .wrapper(["gdbserver", "localhost:1234"])
    ///     .suspend_deadlines()
    ///     .launch()
    ///     .wait()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn suspend_deadlines(mut self) -> Self {
        self.deadlines_suspended = true;
        self
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
        GuestStart::new(has_monitor, &self.channels, &self.arguments)
    }

    pub(crate) fn descriptor_numbers(&self, monitor_is_inherited: bool) -> DescriptorNumbers {
        let channels = FIRST_DESCRIPTOR + usize::from(monitor_is_inherited);
        let added = channels + self.channels.len();
        DescriptorNumbers { channels, added }
    }

    /// The name that was given, or a new one that no other machine of this
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
    /// The first of the channels'.
    pub(crate) channels: usize,
    /// The first of those that were added.
    pub(crate) added: usize,
}

/// QEMU's first descriptor after its standard ones.
pub(crate) const FIRST_DESCRIPTOR: usize = 3;
