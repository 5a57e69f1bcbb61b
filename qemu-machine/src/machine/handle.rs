//! The handle on a machine.

use crate::machine::Handles;
use crate::machine::Inner;
use std::ffi::OsString;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use qemu_qmp::agent::GuestAgent;
use qemu_qmp::{Client, Deadlines};

use crate::console::Console;
use crate::display::Display;
use crate::input::{Input, Keyboard, Mouse};
use crate::life::ExitReport;
use crate::life::GuestState;
use crate::machine::forwarded_port::ForwardedPort;
use crate::machine::schema::ReadSchema;
use crate::qtest::Qtest;
use crate::spec::CommandLine;
use crate::spec::MachineBuilder;

/// A handle on a machine.
///
/// Cheap to clone. All clones are handles on the same machine.
///
/// When the last handle is dropped, the machine is ended: `quit`, then SIGTERM,
/// and SIGKILL after 3 s. The drop waits for the end, up to 5 s, even if the
/// background thread is blocked. It logs a warning about a forced end or a
/// failure, unless [`shutdown`](Self::shutdown) or
/// [`wait_for_exit`](Self::wait_for_exit) reported it. Call
/// [`shutdown`](Self::shutdown) before the drop to get the report, and not to
/// block an async task.
///
/// Every machine has a first monitor, a first console, a guest agent and a
/// qtest channel. If the builder did not ask for one, it is closed from the
/// start, and its operations fail with that reason. Access by name returns an
/// [`Option`].
///
/// If this process dies, for any reason, the kernel kills QEMU.
#[derive(Clone)]
pub struct Machine {
    pub(crate) inner: Arc<Inner>,
    pub(crate) monitor: Client,
    pub(crate) console: Console,
    pub(crate) handles: Arc<Handles>,
}

impl Machine {
    /// Makes a builder for a machine that this binary runs.
    pub fn builder(binary: impl Into<OsString>) -> MachineBuilder {
        MachineBuilder::new(binary)
    }

    /// The name of the machine.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The first monitor.
    pub fn monitor(&self) -> &Client {
        &self.monitor
    }

    /// The monitor with this name, from
    /// [`add_monitor`](MachineBuilder::add_monitor); `None` if there is none.
    pub fn monitor_named(&self, name: &str) -> Option<&Client> {
        let mut monitors = self.monitors();
        monitors.find_map(|(its_name, client)| (its_name == Some(name)).then_some(client))
    }

    /// All monitors with their names; the first has none.
    pub fn monitors(&self) -> impl Iterator<Item = (Option<&str>, &Client)> {
        let named = self.handles.monitors.iter();
        let named = named.map(|(name, client)| (Some(name.as_str()), client));
        std::iter::once((None, &self.monitor)).chain(named)
    }

    /// The agent in the guest. The launch does not wait for it, because the
    /// guest boots later: call
    /// [`wait_until_ready`](GuestAgent::wait_until_ready).
    ///
    /// # Examples
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// use qemu_machine::{Machine, Wait};
    ///
    /// let vm = Machine::builder("qemu-system-x86_64")
    ///     .memory("1G")
    ///     .arg("disk.qcow2")
    ///     .guest_agent()
    ///     .launch()
    ///     .wait()?;
    /// let agent = vm.guest_agent();
    /// agent.wait_until_ready().timeout(Duration::from_secs(120)).wait()?;
    /// let output = agent.exec("systemctl").arg("is-system-running").wait()?;
    /// println!("{}", String::from_utf8_lossy(&output.stdout));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn guest_agent(&self) -> &GuestAgent {
        &self.handles.agent
    }

    /// The first console.
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// The console with this name, from
    /// [`add_console`](MachineBuilder::add_console); `None` if there is none.
    pub fn console_named(&self, name: &str) -> Option<&Console> {
        let mut consoles = self.consoles();
        consoles.find_map(|(its_name, console)| (its_name == Some(name)).then_some(console))
    }

    /// All consoles with their names; the first has none.
    pub fn consoles(&self) -> impl Iterator<Item = (Option<&str>, &Console)> {
        let named = self.handles.consoles.iter();
        let named = named.map(|(name, console)| (Some(name.as_str()), console));
        std::iter::once((None, &self.console)).chain(named)
    }

    /// The qtest channel.
    pub fn qtest(&self) -> &Qtest {
        &self.handles.qtest
    }

    /// The id of the started process, which is QEMU or its wrapper; `None`
    /// after its end.
    pub fn pid(&self) -> Option<u32> {
        self.is_running().then_some(self.inner.pid)
    }

    /// Whether the process still runs.
    pub fn is_running(&self) -> bool {
        self.report().is_none()
    }

    /// How the machine ended; `None` while it runs.
    pub fn report(&self) -> Option<Arc<ExitReport>> {
        self.inner.report()
    }

    /// Whether the guest runs, and if not, why. It comes from the events of
    /// QEMU, without a command. A machine without a monitor counts as running.
    /// After the end, see the [`report`](Self::report).
    ///
    /// # Examples
    /// ```no_run
    /// use qemu_machine::{GuestState, Machine, Wait};
    ///
    /// # fn look(vm: &Machine) -> Result<(), Box<dyn std::error::Error>> {
    /// vm.monitor().execute_json("stop", ()).wait()?;
    /// // the guest has been paused for 0.0s: stopped by a command or a debugger
    /// assert!(matches!(vm.guest_state(), GuestState::Paused { .. }));
    /// # Ok(())
    /// # }
    /// ```
    pub fn guest_state(&self) -> GuestState {
        self.inner.observed.guest()
    }

    /// The command line of the machine.
    pub fn command_line(&self) -> &CommandLine {
        &self.inner.command_line
    }

    /// The last 64 KiB of the output of QEMU itself, also after its end.
    pub fn output_tail(&self) -> Vec<u8> {
        self.inner.output.tail()
    }

    /// The log of the output of QEMU itself. It is removed at the end of the
    /// machine, unless the builder set a
    /// [directory](crate::MachineBuilder::log_dir) for it.
    pub fn log_path(&self) -> &Path {
        &self.inner.log
    }

    /// The [transcript](crate::MachineBuilder::transcript) of the monitor;
    /// `None` if none is written.
    pub fn transcript_path(&self) -> Option<&Path> {
        self.inner.transcript.as_deref()
    }

    /// The private directory of the machine, removed at its end; `None` if the
    /// machine needs none.
    pub fn directory(&self) -> Option<&Path> {
        self.inner.directory.as_deref()
    }

    /// The deadlines of all waits on this machine. Suspend them while a
    /// debugger stops QEMU. They include the timeouts of
    /// [`shutdown`](Self::shutdown), but not the limit of the drop of the last
    /// handle.
    pub fn deadlines(&self) -> &Deadlines {
        &self.inner.deadlines
    }

    /// Asks QEMU which TCP port of the host it forwards to this port of the
    /// guest, on the user-mode network with this id. A forward with host port 0
    /// gets a port that the system chooses.
    pub fn forwarded_port(&self, network: &str, guest_port: u16) -> ForwardedPort {
        ForwardedPort::new(self.monitor.clone(), network, guest_port)
    }

    /// Reads the schema of this QEMU: its commands and events with their
    /// arguments. Use it to find out what this QEMU supports, instead of its
    /// version.
    ///
    /// # Examples
    /// ```no_run
    /// use qemu_machine::{Machine, Wait};
    ///
    /// # fn ask(vm: &Machine) -> Result<(), Box<dyn std::error::Error>> {
    /// let schema = vm.schema().wait()?;
    /// if schema.has("blockdev-add/arg-type/driver/^nvme")? {
    ///     println!("it can drive the host's NVMe disks");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn schema(&self) -> ReadSchema {
        ReadSchema::new(self.clone())
    }

    /// The display of the machine, if it has one.
    pub fn display(&self) -> Display {
        Display::new(
            self.inner.engine,
            self.monitor.clone(),
            self.console.context(),
            Arc::clone(&self.inner.canvas),
        )
    }

    /// The keyboard of the machine.
    pub fn keyboard(&self) -> Keyboard {
        Keyboard::new(self.input())
    }

    /// The mouse or tablet of the machine.
    pub fn mouse(&self) -> Mouse {
        Mouse::new(self.input())
    }

    pub(super) fn input(&self) -> Input {
        Input {
            engine: self.inner.engine,
            qmp: self.monitor.clone(),
            context: Arc::new(self.console.context()),
            turns: self.inner.turns.clone(),
        }
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine")
            .field("name", &self.name())
            .field("pid", &self.pid())
            .finish_non_exhaustive()
    }
}
