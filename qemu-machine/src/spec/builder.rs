//! The builder of a machine. Nothing runs until it is launched.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::image::{id_of, option_name};
use super::machine::AddedDescriptor;
use super::{
    ChannelConfig, ConsoleConfig, Drive, DryRun, Firmware, MachineSpec, Monitor, OptionGroup, Tee,
    UserNet,
};

/// Builds a machine: the command line of its QEMU, its channels, and its
/// timeouts.
///
/// Nothing happens before [`launch`](Self::launch). A builder can be cloned,
/// and launched many times. QEMU gets first the arguments that every machine
/// has, and then these, in the order of the calls. If two arguments contradict
/// each other, QEMU uses the later.
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
    /// Makes a builder for a machine that `binary` runs. The binary is searched
    /// for in `PATH`, unless its name has a slash.
    pub fn new(binary: impl Into<OsString>) -> Self {
        MachineSpec::new(binary.into()).into()
    }

    /// The description that this builder has filled so far.
    pub fn spec(&self) -> &MachineSpec {
        &self.spec
    }

    /// Returns the command line of a launch, without running it.
    pub fn dry_run(&self) -> DryRun {
        self.spec.dry_run()
    }

    /// Puts a command with its arguments before the binary: `gdb --args`,
    /// `valgrind`, `taskset`, `ip netns exec`.
    ///
    /// The command must become QEMU (`exec`). Or it must pass its descriptors
    /// on to QEMU and stay until QEMU ends (`setsid --wait`). The machine ends
    /// when the command ends. If that leaves QEMU behind, QEMU is killed and
    /// listed in [`ExitReport::survivors`](crate::ExitReport::survivors).
    pub fn wrapper<S: Into<OsString>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.spec.wrapper = words.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the name of the machine in errors and in the names of its logs.
    /// Without it, the name is made of this process id and a number.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.spec.name = Some(name.into());
        self
    }

    /// Publishes the machine by its name, so that other programs of this user
    /// can find and use it; see [`registry`](crate::registry).
    ///
    /// The launch fails if a living machine has the name, or if the name cannot
    /// be published: it is a folder's name, and part of a socket's path.
    pub fn publish(mut self) -> Self {
        self.spec.is_published = true;
        self
    }

    /// Declares that this process ends when the machine has ended.
    ///
    /// Another program that ends the published machine by
    /// [`shutdown`](crate::registry::PublishedMachine::shutdown) or
    /// [`kill`](crate::registry::PublishedMachine::kill) then waits for the end
    /// of this process, too. So all that this process does after the end of the
    /// machine is done.
    pub fn ends_owner(mut self) -> Self {
        self.spec.ends_owner = true;
        self
    }

    /// Sets how the monitor is reached, instead of over an inherited socket
    /// (`-chardev socket` and `-mon`).
    pub fn monitor(mut self, monitor: Monitor) -> Self {
        self.spec.monitor = monitor;
        self
    }

    /// Sets the limit of one reply of the monitor, instead of 256 MiB. A longer
    /// reply closes the connection, with an error.
    pub fn reply_limit_bytes(mut self, limit: usize) -> Self {
        self.spec.monitor_settings.line_limit_bytes = limit;
        self
    }

    /// Writes every message of the monitor to this file, both ways, from the
    /// greeting on; see [`Transcript`](crate::qmp::Transcript).
    ///
    /// If another machine is writing this file, the transcript goes to
    /// `NAME~2.EXT`; see
    /// [`Machine::transcript_path`](crate::Machine::transcript_path).
    pub fn transcript(mut self, path: impl Into<PathBuf>) -> Self {
        self.spec.transcript = Some(path.into());
        self
    }

    /// Adds another monitor (`-mon`), which
    /// [`Machine::monitor_named`](crate::Machine::monitor_named) returns. It
    /// has its own connection, so its commands never wait for commands on
    /// another monitor.
    pub fn add_monitor(mut self, name: impl Into<String>) -> Self {
        self.spec.channels.push(ChannelConfig::Monitor(name.into()));
        self
    }

    /// Adds a qtest channel (`-qtest`), which
    /// [`Machine::qtest`](crate::Machine::qtest) returns. The caller drives
    /// devices and memory from outside, and no guest code runs.
    ///
    /// QEMU starts with its accelerator `qtest`. A QEMU without it prints that,
    /// and starts with TCG and a paused guest. Accelerators from
    /// [`accel`](Self::accel) are not used.
    ///
    /// The clock of the accelerator `qtest` moves only while the machine runs.
    /// So the launch sends `cont`, if the machine has a monitor.
    pub fn qtest(mut self) -> Self {
        let is_qtest = |channel: &ChannelConfig| matches!(channel, ChannelConfig::Qtest);
        if !self.spec.channels.iter().any(is_qtest) {
            self.spec.channels.push(ChannelConfig::Qtest);
        }
        self
    }

    /// Gives the guest a port for its agent, which
    /// [`Machine::guest_agent`](crate::Machine::guest_agent) returns (`-device
    /// virtserialport`).
    ///
    /// The port is on a `virtio-serial` controller, which needs a machine with
    /// PCI. For other machines see
    /// [`guest_agent_controller`](Self::guest_agent_controller).
    pub fn guest_agent(self) -> Self {
        let is_agent = |channel: &ChannelConfig| matches!(channel, ChannelConfig::GuestAgent(_));
        if self.spec.channels.iter().any(is_agent) {
            return self;
        }
        self.guest_agent_controller(OptionGroup::new("virtio-serial"))
    }

    /// Does the same as [`guest_agent`](Self::guest_agent), with the port on
    /// this controller: `virtio-serial-device` on a machine with virtio-mmio
    /// (`microvm`, `virt` of Arm), `virtio-serial-ccw` on s390x. The `id` of
    /// the controller and the `bus` of the port are set here.
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

    /// Adds a human monitor that is connected to nothing (`-monitor null`).
    /// Without it, QEMU may add a human monitor itself.
    pub fn null_monitor(self) -> Self {
        self.args(["-monitor", "null"])
    }

    /// Sets the machine type (`-machine`): `q35`, `microvm`, `none` and others,
    /// with its own options after commas.
    pub fn machine(mut self, machine_type: impl Into<OsString>) -> Self {
        self.spec.machine_type = Some(machine_type.into());
        self
    }

    /// Adds this number of unconnected serial ports before the console
    /// (`-serial null`).
    pub fn null_serials(mut self, count: usize) -> Self {
        self.spec.null_serials = count;
        self
    }

    /// Sets the first console, which
    /// [`Machine::console`](crate::Machine::console) returns: `-serial` or
    /// `-device`, with a `-chardev`. A second call replaces it; for more
    /// consoles see [`add_console`](Self::add_console).
    pub fn console(mut self, console: ConsoleConfig) -> Self {
        self.spec
            .channels
            .retain(|channel| !channel.is_first_console());
        // It stands before the others, even if it is set last.
        self.spec
            .channels
            .insert(0, ChannelConfig::Console(None, console));
        self
    }

    /// Adds another console, which
    /// [`Machine::console_named`](crate::Machine::console_named) returns.
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

    /// Boots a firmware image that is part of this crate, such as
    /// [`guests::tiny`](crate::guests::tiny), instead of the default of the
    /// machine type (`-bios`).
    pub fn firmware(mut self, firmware: Firmware) -> Self {
        self.spec.firmware = Some(firmware);
        self
    }

    /// Prepares the machine to be frozen: then [`Machine::freeze`] makes a
    /// template of it.
    ///
    /// The memory of the guest is a file in the private directory of the
    /// machine (`-object memory-backend-file`). Each disk to which the guest
    /// can write becomes a qcow2 overlay there, over the image that was given,
    /// so the image must not change. The machine needs [`memory`](Self::memory).
    /// A PC also gets a generation id (`-device vmgenid`), by which Linux learns
    /// that it is a clone.
    ///
    /// A machine of a [template](crate::template::Template::machine) stays one:
    /// its launch copies the memory of the template, and loads the guest. So a
    /// template can be made in layers.
    ///
    /// The private directory is in [`base_dir`](Self::base_dir). For memory
    /// that never goes to a disk, see [`freezable_in`](Self::freezable_in).
    ///
    /// [`Machine::freeze`]: crate::Machine::freeze
    pub fn freezable(mut self) -> Self {
        self.spec.image = self.spec.image.freezable(None);
        self
    }

    /// Does the same as [`freezable`](Self::freezable), with the private
    /// directory below this one. On a file system in memory, such as
    /// `/dev/shm`, the memory of the guest never goes to a disk. A template
    /// that is kept must be on the same file system.
    pub fn freezable_in(mut self, directory: impl Into<PathBuf>) -> Self {
        self.spec.image = self.spec.image.freezable(Some(absolute(directory)));
        self
    }

    /// Passes a descriptor to QEMU from its start, in the descriptor set `set`
    /// (`-add-fd`). QEMU opens it as `/dev/fdset/SET`. `opaque` is a note that
    /// `query-fdsets` returns.
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

    /// Replaces the value of an option that has the same `id`, or adds the option.
    /// A clone can so have another network (`-netdev`) or shared folder
    /// (`-fsdev`) than its template.
    ///
    /// # Examples
    /// ```no_run
    /// use qemu_machine::spec::OptionGroup;
    /// use qemu_machine::template::Template;
    /// use qemu_machine::{Machine, Wait};
    ///
    /// # fn clone_at(template: &Template) -> Result<Machine, qemu_machine::Error> {
    /// let network = OptionGroup::new("user").set("id", "net0");
    /// let network = network.set("hostfwd", "tcp:127.0.0.1:8022-:22");
    /// let clone = template.machine();
    /// let clone = clone.replace_option("-netdev", network.as_os_str());
    /// Ok(clone.launch().wait()?)
    /// # }
    /// ```
    pub fn replace_option(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        let value = value.as_ref();
        let wanted = option_name(OsStr::new(name));
        let is_earlier = |words: &[OsString]| {
            wanted.is_some()
                && option_name(&words[0]) == wanted
                && id_of(&words[1]).is_some_and(|id| id_of(value) == Some(id))
        };
        match self.spec.arguments.windows(2).position(is_earlier) {
            Some(at) => value.clone_into(&mut self.spec.arguments[at + 1]),
            None => self = self.args([OsStr::new(name), value]),
        }
        self
    }

    /// Adds one argument, unchanged.
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.spec.arguments.push(argument.into());
        self
    }

    /// Adds arguments, unchanged.
    pub fn args<S: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.spec
            .arguments
            .extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Adds an option with a group as its value: `option("-device", …)`.
    pub fn option(self, name: &str, group: &OptionGroup) -> Self {
        self.args([OsStr::new(name), group.as_os_str()])
    }

    /// Adds a device (`-device`).
    pub fn device(self, device: &OptionGroup) -> Self {
        self.option("-device", device)
    }

    /// Sets the memory of the guest (`-m`): `256M`, `2G`.
    pub fn memory(self, size: impl AsRef<OsStr>) -> Self {
        self.args([OsStr::new("-m"), size.as_ref()])
    }

    /// Sets the number of processors (`-smp`).
    pub fn smp(self, processors: u32) -> Self {
        self.args(["-smp", &processors.to_string()])
    }

    /// Sets the model of the processors (`-cpu`): `max`, `host`.
    pub fn cpu(self, model: impl AsRef<OsStr>) -> Self {
        self.args([OsStr::new("-cpu"), model.as_ref()])
    }

    /// Sets the accelerators to try, the preferred first (`-accel`, once for
    /// each). QEMU uses the first that it can start.
    pub fn accel<S: AsRef<OsStr>>(mut self, preference: impl IntoIterator<Item = S>) -> Self {
        for accelerator in preference {
            self = self.args([OsStr::new("-accel"), accelerator.as_ref()]);
        }
        self
    }

    /// Boots a Linux kernel (`-kernel`).
    pub fn kernel(self, path: impl AsRef<Path>) -> Self {
        self.args([OsStr::new("-kernel"), path.as_ref().as_os_str()])
    }

    /// Sets the initial file system of the kernel (`-initrd`).
    pub fn initrd(self, path: impl AsRef<Path>) -> Self {
        self.args([OsStr::new("-initrd"), path.as_ref().as_os_str()])
    }

    /// Sets the command line of the kernel (`-append`).
    pub fn append(self, command_line: impl AsRef<OsStr>) -> Self {
        self.args([OsStr::new("-append"), command_line.as_ref()])
    }

    /// Boots a firmware file, instead of the default of the machine type
    /// (`-bios`).
    pub fn bios(self, path: impl AsRef<Path>) -> Self {
        self.args([OsStr::new("-bios"), path.as_ref().as_os_str()])
    }

    /// Makes QEMU wait for a guest instead of starting one (`-incoming defer`):
    /// for [`Machine::migrate_to`](crate::Machine::migrate_to) and
    /// [`Machine::load_from`](crate::Machine::load_from).
    pub fn incoming(self) -> Self {
        self.args(["-incoming", "defer"])
    }

    /// Adds a disk (`-drive`).
    pub fn drive(self, drive: Drive) -> Self {
        self.option("-drive", &drive.into_group())
    }

    /// Adds a network card on QEMU's user-mode network (`-netdev user` and
    /// `-device`).
    pub fn netdev_user(self, network: UserNet) -> Self {
        let (network, card) = network.into_groups();
        self.option("-netdev", &network).device(&card)
    }

    /// Sets a variable in the environment of QEMU. The other variables are
    /// those of this process.
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.spec.environment.push((key.into(), Some(value.into())));
        self
    }

    /// Removes a variable from the environment of QEMU.
    pub fn env_remove(mut self, key: impl Into<OsString>) -> Self {
        self.spec.environment.push((key.into(), None));
        self
    }

    /// Sets the working directory of QEMU, instead of the one of this process.
    /// Relative paths in arguments are relative to it; the path of the binary
    /// is not.
    pub fn current_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.spec.working_directory = Some(path.into());
        self
    }

    /// Sets the directory for the private log and the private directory of the
    /// machine, instead of the system's directory for temporary files.
    pub fn base_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.spec.base_directory = Some(absolute(path));
        self
    }

    /// Logs the output of QEMU itself to `NAME.log` in this directory, and
    /// keeps the log. Without it, the log is private, and is removed at the
    /// end.
    ///
    /// Each launch truncates the file. If machines of one name run at the same
    /// time, each has its own log: the second writes `NAME~2.log`; see
    /// [`Machine::log_path`](crate::Machine::log_path).
    pub fn log_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.spec.log_directory = Some(path.into());
        self
    }

    /// Also writes the output of QEMU itself to a writer, live:
    /// `.tee_output(std::io::stderr())`. [`Tee`] describes what happens if the
    /// writer is slow or fails.
    pub fn tee_output(mut self, to: impl Into<Tee>) -> Self {
        self.spec.output_tee = Some(to.into());
        self
    }

    /// Sets the default timeout of a launch, instead of 30 s.
    /// [`Launch::timeout`](crate::Launch::timeout) overrides it. `None` means
    /// no timeout.
    pub fn launch_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.spec.launch_timeout = timeout.into();
        self
    }

    /// Sets the default timeout of operations on the machine, instead of 30 s.
    /// The `timeout` of an operation overrides it. `None` means no timeout.
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

    /// Suspends all deadlines of the machine, including the deadline of the
    /// launch. Use it for QEMU under a debugger, with the debugger as the
    /// [`wrapper`](Self::wrapper). They continue after `resume` of
    /// [`Machine::deadlines`](crate::Machine::deadlines).
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

/// A directory of this process, for a QEMU with another working directory.
fn absolute(directory: impl Into<PathBuf>) -> PathBuf {
    let directory = directory.into();
    std::path::absolute(&directory).unwrap_or(directory)
}
