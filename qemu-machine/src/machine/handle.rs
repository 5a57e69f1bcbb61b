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
/// Cheap to clone. When the last handle is dropped, the machine is ended
/// softly (`quit`, then SIGTERM) and, where that takes over 3 s, by force; the
/// drop waits for it, 5 s at the most, also where the background thread has no
/// turn, and warns in the log of an end that was forced, or a failure, unless
/// [`shutdown`](Self::shutdown) or [`wait_for_exit`](Self::wait_for_exit) has told of it. To
/// hear how it went, and not to block an async task, end it by
/// [`shutdown`](Self::shutdown) before.
///
/// Every machine has a first monitor, a first console, a guest agent and a
/// qtest channel. One that the builder did not ask for is closed from the
/// start: its operations fail, and say so. What has a name is an [`Option`].
///
/// If this process dies, by whatever cause, the kernel kills QEMU.
#[derive(Clone)]
pub struct Machine {
    pub(crate) inner: Arc<Inner>,
    pub(crate) monitor: Client,
    pub(crate) console: Console,
    pub(crate) handles: Arc<Handles>,
}

impl Machine {
    /// What a machine run by this binary shall be.
    pub fn builder(binary: impl Into<OsString>) -> MachineBuilder {
        MachineBuilder::new(binary)
    }

    /// What the machine is called.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The first monitor.
    pub fn monitor(&self) -> &Client {
        &self.monitor
    }

    /// The monitor of this name, from
    /// [`add_monitor`](MachineBuilder::add_monitor); `None` if none has it.
    pub fn monitor_named(&self, name: &str) -> Option<&Client> {
        let mut monitors = self.monitors();
        monitors.find_map(|(its_name, client)| (its_name == Some(name)).then_some(client))
    }

    /// All monitors with their names: first the one without a name.
    pub fn monitors(&self) -> impl Iterator<Item = (Option<&str>, &Client)> {
        let named = self.handles.monitors.iter();
        let named = named.map(|(name, client)| (Some(name.as_str()), client));
        std::iter::once((None, &self.monitor)).chain(named)
    }

    /// The agent in the guest. The launch does not wait for it, because the guest
    /// boots after that: its [`ready`](GuestAgent::ready) does.
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

    /// The console of this name, from
    /// [`add_console`](MachineBuilder::add_console); `None` if none has it.
    pub fn console_named(&self, name: &str) -> Option<&Console> {
        let mut consoles = self.consoles();
        consoles.find_map(|(its_name, console)| (its_name == Some(name)).then_some(console))
    }

    /// All consoles with their names: first the one without a name.
    pub fn consoles(&self) -> impl Iterator<Item = (Option<&str>, &Console)> {
        let named = self.handles.consoles.iter();
        let named = named.map(|(name, console)| (Some(name.as_str()), console));
        std::iter::once((None, &self.console)).chain(named)
    }

    /// The qtest channel.
    pub fn qtest(&self) -> &Qtest {
        &self.handles.qtest
    }

    /// The id of the process that was started, QEMU or its wrapper; `None`
    /// once it has ended.
    pub fn pid(&self) -> Option<u32> {
        self.is_running().then_some(self.inner.pid)
    }

    /// Whether the process has not ended.
    pub fn is_running(&self) -> bool {
        self.report().is_none()
    }

    /// How the machine ended; `None` while it has not.
    pub fn report(&self) -> Option<Arc<ExitReport>> {
        self.inner.report()
    }

    /// Whether the guest runs, and if not, why not: from QEMU's events, without
    /// asking. A machine without a monitor is taken to run; the guest of one
    /// that has ended is in its [`report`](Self::report).
    ///
    /// # Examples
    /// ```no_run
    /// use qemu_machine::{GuestState, Machine, Wait};
    ///
    /// # fn look(vm: &Machine) -> Result<(), Box<dyn std::error::Error>> {
    /// vm.monitor().execute_json("stop", ()).wait()?;
    /// // The guest is paused since 0.0 s: stopped by a command or a debugger
    /// assert!(matches!(vm.guest_state(), GuestState::Paused { .. }));
    /// # Ok(())
    /// # }
    /// ```
    pub fn guest_state(&self) -> GuestState {
        self.inner.observed.guest()
    }

    /// What was run.
    pub fn command_line(&self) -> &CommandLine {
        &self.inner.command_line
    }

    /// The last 64 KiB of what QEMU itself printed, now and after its end.
    pub fn output_tail(&self) -> Vec<u8> {
        self.inner.output.tail()
    }

    /// The log of what QEMU itself prints. Unless the builder was given a
    /// [directory](crate::MachineBuilder::log_dir) for it, it is removed at the
    /// machine's end.
    pub fn log_path(&self) -> &Path {
        &self.inner.log
    }

    /// The [transcript](crate::MachineBuilder::transcript) of the monitor; `None`
    /// where none is written.
    pub fn transcript_path(&self) -> Option<&Path> {
        self.inner.transcript.as_deref()
    }

    /// The machine's private directory, removed at its end; `None` where it
    /// needs none, as for its log alone.
    pub fn directory(&self) -> Option<&Path> {
        self.inner.directory.as_deref()
    }

    /// The deadlines of all that is waited for on this machine, by which they
    /// can be suspended: while a debugger holds QEMU, none of them shall pass.
    /// The times of [`shutdown`](Self::shutdown)'s rungs are among them, but
    /// not those of the drop of the last handle.
    pub fn deadlines(&self) -> &Deadlines {
        &self.inner.deadlines
    }

    /// Which TCP port of the host QEMU forwards to this port of the guest, on
    /// the user-mode network of this id: where the forward was given port 0,
    /// the system chose it.
    pub fn forwarded_port(&self, network: &str, guest_port: u16) -> ForwardedPort {
        ForwardedPort::new(self.monitor.clone(), network, guest_port)
    }

    /// Which commands and events this QEMU has, with all that they take and
    /// give, by its own account: ask that, and not its version, for what it can
    /// do.
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

    /// What the machine shows, if it was given a display.
    pub fn display(&self) -> Display {
        Display::new(
            self.inner.engine,
            self.monitor.clone(),
            self.console.context(),
            Arc::clone(&self.inner.canvas),
        )
    }

    /// The machine's keyboard.
    pub fn keyboard(&self) -> Keyboard {
        Keyboard::new(self.input())
    }

    /// The machine's mouse, or its tablet.
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
