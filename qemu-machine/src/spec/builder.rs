//! What a machine shall be: inert until it is launched.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::machine::AddedDescriptor;
use super::{
    ChannelConfig, ConsoleConfig, Drive, DryRun, Firmware, MachineSpec, Monitor, OptionGroup, Tee,
    UserNet,
};

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
    spec: MachineSpec,
}

impl MachineBuilder {
    /// A machine run by `binary`, searched in `PATH` unless it has a slash.
    pub fn new(binary: impl Into<OsString>) -> Self {
        MachineSpec::new(binary.into()).into()
    }

    /// What has been asked for so far.
    pub fn spec(&self) -> &MachineSpec {
        &self.spec
    }

    /// What a launch would run.
    pub fn dry_run(&self) -> DryRun {
        self.spec.dry_run()
    }

    /// A command to put before the binary, with its arguments: `gdb --args`,
    /// `valgrind`, `taskset`, `ip netns exec`. It must become QEMU, or pass
    /// its descriptors on to it and stay until QEMU ends (`setsid --wait`). The
    /// machine ends when the wrapper ends: a QEMU that it leaves behind is killed,
    /// and named in [`ExitReport::survivors`](crate::ExitReport::survivors).
    pub fn wrapper<S: Into<OsString>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.spec.wrapper = words.into_iter().map(Into::into).collect();
        self
    }

    /// What the machine is called in errors and in the names of its logs,
    /// instead of a name made of our process id and a number.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.spec.name = Some(name.into());
        self
    }

    /// How the monitor is reached, instead of over an inherited socket.
    pub fn monitor(mut self, monitor: Monitor) -> Self {
        self.spec.monitor = monitor;
        self
    }

    /// Takes replies of so many bytes instead of 256 MiB at most: a longer one
    /// ends the monitor's connection, by an error that says so.
    pub fn reply_limit_bytes(mut self, limit: usize) -> Self {
        self.spec.monitor_settings.line_limit_bytes = limit;
        self
    }

    /// Writes every message of the monitor to this file, both ways and from the
    /// greeting on, as [`Transcript`](crate::qmp::Transcript) says. Where another
    /// machine is writing it, the file is `NAME~2.EXT`, as
    /// [`Machine::transcript_path`](crate::Machine::transcript_path) says.
    pub fn transcript(mut self, path: impl Into<PathBuf>) -> Self {
        self.spec.transcript = Some(path.into());
        self
    }

    /// Adds a monitor to the first one, which
    /// [`Machine::monitor`](crate::Machine::monitor) gives by this name: a
    /// connection of its own, whose commands wait for nobody else's.
    pub fn add_monitor(mut self, name: impl Into<String>) -> Self {
        self.spec.channels.push(ChannelConfig::Monitor(name.into()));
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
        if !self.spec.channels.iter().any(is_qtest) {
            self.spec.channels.push(ChannelConfig::Qtest);
        }
        self
    }

    /// Gives the guest a port for its agent, which
    /// [`Machine::guest_agent`](crate::Machine::guest_agent) speaks with. The
    /// port is on a `virtio-serial` controller, which needs a machine with PCI;
    /// for others see [`guest_agent_controller`](Self::guest_agent_controller).
    pub fn guest_agent(self) -> Self {
        let is_agent = |channel: &ChannelConfig| matches!(channel, ChannelConfig::GuestAgent(_));
        if self.spec.channels.iter().any(is_agent) {
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
    /// use qemu_machine::Machine;
    /// use qemu_machine::spec::OptionGroup;
    ///
    /// let builder = Machine::builder("qemu-system-aarch64")
    ///     .machine("virt")
    ///     .guest_agent_controller(OptionGroup::new("virtio-serial-device"));
    /// ```
    pub fn guest_agent_controller(mut self, controller: OptionGroup) -> Self {
        let mut channels = self.spec.channels.iter_mut();
        let there = channels.find_map(|channel| match channel {
            ChannelConfig::GuestAgent(controller) => Some(controller),
            _ => None,
        });
        match there {
            Some(there) => *there = controller,
            None => self
                .spec
                .channels
                .push(ChannelConfig::GuestAgent(controller)),
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
        self.spec.machine_type = Some(machine_type.into());
        self
    }

    /// Puts so many serial ports that are connected to nothing before the
    /// console.
    pub fn null_serials(mut self, count: usize) -> Self {
        self.spec.null_serials = count;
        self
    }

    /// A console to watch and to drive, which
    /// [`Machine::console`](crate::Machine::console) gives. Of several that
    /// are given the last one counts; for more than one see
    /// [`add_console`](Self::add_console).
    pub fn console(mut self, console: ConsoleConfig) -> Self {
        self.spec
            .channels
            .retain(|channel| !channel.is_first_console());
        // Before all others, however late it is given.
        self.spec
            .channels
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
        self.spec
            .channels
            .push(ChannelConfig::Console(Some(name.into()), console));
        self
    }

    /// A firmware that is part of this crate, such as
    /// [`guests::tiny`](crate::guests::tiny), in place of the machine's own.
    pub fn firmware(mut self, firmware: Firmware) -> Self {
        self.spec.firmware = Some(firmware);
        self
    }

    /// Passes a descriptor to QEMU from its start, in the descriptor set `set`,
    /// which QEMU opens as `/dev/fdset/SET`. `opaque` is a note, which QEMU
    /// returns by `query-fdsets`.
    pub fn add_fd(
        mut self,
        set: u32,
        descriptor: impl Into<OwnedFd>,
        opaque: Option<&str>,
    ) -> Self {
        self.spec.descriptors.push(AddedDescriptor {
            descriptor: Arc::new(descriptor.into()),
            set,
            opaque: opaque.map(ToOwned::to_owned),
        });
        self
    }

    /// One more argument, as it is.
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.spec.arguments.push(argument.into());
        self
    }

    /// More arguments, as they are.
    pub fn args<S: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.spec
            .arguments
            .extend(arguments.into_iter().map(Into::into));
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
        self.spec.environment.push((key.into(), Some(value.into())));
        self
    }

    /// A variable of ours that QEMU shall not have.
    pub fn env_remove(mut self, key: impl Into<OsString>) -> Self {
        self.spec.environment.push((key.into(), None));
        self
    }

    /// QEMU's working directory, instead of ours. Relative paths in arguments
    /// are relative to it; the binary is not.
    pub fn current_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.spec.working_directory = Some(path.into());
        self
    }

    /// Where the machine's private log, or its directory where it needs one,
    /// is made, instead of the system's directory for temporary files.
    pub fn base_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.spec.base_directory = Some(path.into());
        self
    }

    /// Where QEMU's own output is logged, as `NAME.log`, instead of a private
    /// log, which is removed at the end. The file is truncated at each launch.
    /// Machines of one name that run at the same time have a log each: that of
    /// the second is `NAME~2.log`, as
    /// [`Machine::log_path`](crate::Machine::log_path) says.
    pub fn log_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.spec.log_directory = Some(path.into());
        self
    }

    /// Writes QEMU's own output to a writer too, as it comes:
    /// `.tee_output(std::io::stderr())`. [`Tee`] says how, and what becomes of a
    /// writer that is slow or fails.
    pub fn tee_output(mut self, to: impl Into<Tee>) -> Self {
        self.spec.output_tee = Some(to.into());
        self
    }

    /// Sets the timeout of a launch that has none of its own
    /// ([`Launch::timeout`](crate::Launch::timeout)), instead of 30 s. `None` removes it.
    pub fn launch_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.spec.launch_timeout = timeout.into();
        self
    }

    /// Sets the timeout of operations on the machine that have none of their
    /// own, instead of 30 s. `None` removes it.
    pub fn default_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.spec.timeout = timeout.into();
        self
    }

    /// Sets how long [`Machine::shutdown`](crate::Machine::shutdown) waits after
    /// `quit`, instead of 20 s. `None` waits until QEMU exits.
    pub fn quit_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.spec.quit_timeout = timeout.into();
        self
    }

    /// Sets how long [`Machine::shutdown`](crate::Machine::shutdown) waits after
    /// SIGTERM, instead of 5 s.
    pub fn terminate_timeout(mut self, timeout: Duration) -> Self {
        self.spec.terminate_timeout = timeout;
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
        self.spec.deadlines_suspended = true;
        self
    }
}

impl From<MachineSpec> for MachineBuilder {
    fn from(spec: MachineSpec) -> Self {
        Self { spec }
    }
}
