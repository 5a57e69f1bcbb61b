//! The handle on a machine that was launched.

use std::ffi::OsString;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use qemu_qmp::agent::GuestAgent;
use qemu_qmp::engine::{Elapsed, Engine, Watched};
use qemu_qmp::{Client, Deadlines, Witness};
use tokio::sync::mpsc;

use crate::builder::MachineBuilder;
use crate::channel::Handles;
use crate::command_line::CommandLine;
use crate::console::Console;
use crate::display::{Canvas, Display};
use crate::error::{ExitError, ShutdownError};
use crate::forwards::ForwardedPort;
use crate::guest_state::{GuestState, Hold};
use crate::heard::Heard;
use crate::input::{Input, Keyboard, Mouse, Turns};
use crate::life::{Ladder, Rung};
use crate::migration::MigrationTurn;
use crate::output::Output;
use crate::process::Process;
use crate::qtest::Qtest;
use crate::report::ExitReport;
use crate::schema::{MachineSchema, ReadSchema};
use crate::supervisor::{Request, Status};

/// A handle on a machine.
///
/// Cheap to clone. When the last handle is dropped, the machine is ended
/// softly (`quit`, then SIGTERM) and, where that takes over 3 s, by force; the
/// drop waits for it, 5 s at the most, also where the background thread has no
/// turn, and warns in the log of an end that was forced, or a failure, unless
/// [`shutdown`](Self::shutdown) or [`exited`](Self::exited) has told of it. To
/// hear how it went, and not to block an async task, end it by
/// [`shutdown`](Self::shutdown) before.
///
/// If this process dies, by whatever cause, the kernel kills QEMU.
#[derive(Clone)]
pub struct Machine {
    pub(crate) inner: Arc<Inner>,
    pub(crate) qmp: Client,
    pub(crate) console: Console,
    pub(crate) handles: Arc<Handles>,
}

/// Ends the machine when the last handle drops it (`last_handle`).
pub(crate) struct Inner {
    pub(crate) engine: &'static Engine,
    pub(crate) name: String,
    pub(crate) pid: u32,
    /// Its supervisor's, until the end is told.
    pub(crate) process: Weak<Process>,
    pub(crate) command_line: CommandLine,
    /// Whether something else was put before the binary.
    pub(crate) is_wrapped: bool,
    pub(crate) schema: MachineSchema,
    pub(crate) turns: Turns,
    pub(crate) migration_turn: MigrationTurn,
    pub(crate) canvas: Arc<Canvas>,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) log: PathBuf,
    pub(crate) output: Output,
    pub(crate) requests: mpsc::UnboundedSender<Request>,
    pub(crate) status: Arc<Watched<Status>>,
    pub(crate) deadlines: Deadlines,
    pub(crate) heard: Heard,
    pub(crate) quit_timeout: Option<Duration>,
    pub(crate) terminate_timeout: Duration,
    /// Whether somebody was told of the machine's end.
    pub(crate) is_told: AtomicBool,
    /// Whether nobody was ever given it: then nobody waits for its end.
    pub(crate) is_unwanted: AtomicBool,
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

    /// The monitor. That of a machine without one is closed from the start.
    pub fn qmp(&self) -> &Client {
        &self.qmp
    }

    /// The monitor of this name, from
    /// [`add_monitor`](MachineBuilder::add_monitor); `None` where there is
    /// none.
    pub fn monitor(&self, name: &str) -> Option<&Client> {
        let mut monitors = self.handles.monitors.iter();
        monitors.find_map(|(its_name, client)| (its_name == name).then_some(client))
    }

    /// The agent in the guest. The launch does not wait for it, as the guest
    /// boots after that: its [`ready`](GuestAgent::ready) does. That of a
    /// machine without [`MachineBuilder::guest_agent`] is closed from the
    /// start.
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
    /// agent.ready().timeout(Duration::from_secs(120)).wait()?;
    /// let output = agent.exec("systemctl").arg("is-system-running").wait()?;
    /// println!("{}", String::from_utf8_lossy(&output.stdout));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn guest_agent(&self) -> &GuestAgent {
        let witness = || self.console.witness();
        self.handles.agent(&self.inner.deadlines, witness)
    }

    /// The console. That of a machine without one has ended from the start.
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// The console of this name, from
    /// [`add_console`](MachineBuilder::add_console); `None` where there is
    /// none.
    pub fn console_named(&self, name: &str) -> Option<&Console> {
        let mut consoles = self.handles.consoles.iter();
        consoles.find_map(|(its_name, console)| (its_name == name).then_some(console))
    }

    /// The qtest channel, from [`qtest`](MachineBuilder::qtest); `None` where
    /// there is none.
    pub fn qtest(&self) -> Option<&Qtest> {
        self.handles.qtest.as_ref()
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
    /// vm.qmp().execute_json("stop", ()).wait()?;
    /// // The guest is paused since 0.0 s: stopped by a command or a debugger
    /// assert!(matches!(vm.guest_state(), GuestState::Paused { .. }));
    /// # Ok(())
    /// # }
    /// ```
    pub fn guest_state(&self) -> GuestState {
        self.inner.heard.guest()
    }

    /// What was run.
    pub fn command_line(&self) -> &CommandLine {
        &self.inner.command_line
    }

    /// The last 64 KiB of what QEMU itself printed, now and after its end.
    pub fn output(&self) -> Vec<u8> {
        self.inner.output.tail()
    }

    /// The log of what QEMU itself prints. Unless the builder was given a
    /// directory for it, it is removed at the machine's end.
    pub fn log_path(&self) -> &Path {
        &self.inner.log
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
        ForwardedPort::new(self.qmp.clone(), network, guest_port)
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
            self.qmp.clone(),
            self.console.witness(),
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

    fn input(&self) -> Input {
        Input {
            engine: self.inner.engine,
            qmp: self.qmp.clone(),
            witness: Arc::new(self.console.witness()),
            turns: Arc::clone(&self.inner.turns),
        }
    }

    /// Ends the machine softly, and by force where that fails. A machine that
    /// has ended already is left as it is.
    pub fn shutdown(&self) -> Shutdown {
        Shutdown {
            machine: self.clone(),
            guest: None,
            quit: Softly::for_or_without_end(self.inner.quit_timeout),
            terminate: self.inner.terminate_timeout,
        }
    }

    /// Kills the machine. What it had not written to its disks yet is lost.
    pub fn kill(&self) -> Shutdown {
        Shutdown {
            machine: self.clone(),
            guest: None,
            quit: Softly::Never,
            terminate: Duration::ZERO,
        }
    }

    /// Waits until the machine has ended by itself; sends nothing. For a guest
    /// that shall power off in time, or else be killed, see
    /// [`Shutdown::after_guest`].
    pub fn exited(&self) -> Exited {
        Exited {
            machine: self.clone(),
            timeout: self.inner.deadlines.limit(),
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

/// How long QEMU is given to do as `quit` tells it.
#[derive(Debug, Clone, Copy)]
enum Softly {
    For(Duration),
    WithoutEnd,
    Never,
}

impl Softly {
    fn for_or_without_end(limit: Option<Duration>) -> Self {
        limit.map_or(Self::WithoutEnd, Self::For)
    }
}

/// Ends a machine; made by [`Machine::shutdown`] and [`Machine::kill`].
///
/// What is tried, each for its time: `quit` on the monitor for 20 s, SIGTERM
/// for 5 s, SIGKILL; the builder may have said other times. The methods put
/// something before that, or change the times. If an end is under way already that is as hard, it is joined.
///
/// # Errors
/// [`ShutdownError::Forced`] where softer means were asked for and had failed,
/// [`ShutdownError::Failed`] where QEMU died of itself, before or meanwhile.
/// The machine has ended in both cases.
///
/// # Cancel safety
/// If the future is dropped after it was polled, the machine is ended all the
/// same.
#[derive(Debug, Clone)]
#[must_use = "nothing is ended until awaited or waited for"]
pub struct Shutdown {
    machine: Machine,
    /// What the guest is given first, and how long.
    guest: Option<(Rung, Option<Duration>)>,
    quit: Softly,
    terminate: Duration,
}

impl Shutdown {
    /// Waits first, so long, for the guest to power itself off; sends nothing
    /// meanwhile.
    pub fn after_guest(mut self, limit: Duration) -> Self {
        self.guest = Some((Rung::Guest, Some(limit)));
        self
    }

    /// Presses the guest's power button first, and gives it so long to power
    /// off.
    pub fn powerdown(mut self, limit: Duration) -> Self {
        self.guest = Some((Rung::Powerdown, Some(limit)));
        self
    }

    /// Gives `quit` so long instead of 20 s. A kill is not put off by it.
    pub fn timeout(self, limit: Duration) -> Self {
        self.softly(Softly::For(limit))
    }

    /// Waits for what `quit` does without end. A kill is not put off by it.
    pub fn no_timeout(self) -> Self {
        self.softly(Softly::WithoutEnd)
    }

    /// Gives SIGTERM so long instead of 5 s.
    pub fn terminate_timeout(mut self, limit: Duration) -> Self {
        self.terminate = limit;
        self
    }

    fn softly(mut self, quit: Softly) -> Self {
        if !matches!(self.quit, Softly::Never) {
            self.quit = quit;
        }
        self
    }

    fn ladder(&self) -> Ladder {
        let quit = match self.quit {
            Softly::For(limit) => Some((Rung::Quit, Some(limit))),
            Softly::WithoutEnd => Some((Rung::Quit, None)),
            Softly::Never => None,
        };
        let softly = quit.map(|quit| [quit, (Rung::Terminate, Some(self.terminate))]);
        Ladder::new(self.guest.into_iter().chain(softly.into_iter().flatten()))
    }
}

impl IntoFuture for Shutdown {
    type Output = Result<Arc<ExitReport>, ShutdownError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let inner = &self.machine.inner;
            inner.request(Request::End(self.ladder()));
            let settled = inner.settled().await;
            inner.is_told.store(true, Ordering::Relaxed);
            match settled {
                Some(report) if report.was_forced() => Err(ShutdownError::Forced(report)),
                Some(report) if report.is_failure() => Err(ShutdownError::Failed(report)),
                Some(report) => Ok(report),
                None => Err(ShutdownError::Unkillable {
                    name: inner.name.clone(),
                    pid: inner.pid,
                }),
            }
        })
    }
}

/// Waits for a machine's own end; made by [`Machine::exited`].
///
/// # Errors
/// [`ExitError::Timeout`]; or at once [`ExitError::GuestPanicked`] or
/// [`ExitError::GuestShutDown`], where QEMU holds such a guest. The machine
/// lives on.
///
/// # Cancel safety
/// Nothing depends on it.
#[derive(Debug, Clone)]
#[must_use = "nothing is waited for until awaited or waited for"]
pub struct Exited {
    machine: Machine,
    timeout: Option<Duration>,
}

impl Exited {
    /// Waits no longer than this instead of 30 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Waits without end.
    pub fn no_timeout(mut self) -> Self {
        self.timeout = None;
        self
    }
}

impl IntoFuture for Exited {
    type Output = Result<Arc<ExitReport>, ExitError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { machine, timeout } = self;
            let inner = &machine.inner;
            let name = || inner.name.clone();
            let seen = || machine.console.witness().seen();
            let outcome = inner.deadlines.timeout(timeout, inner.ended_or_held());
            match outcome.await {
                Ok(Ok(report)) => {
                    inner.is_told.store(true, Ordering::Relaxed);
                    Ok(report)
                }
                Ok(Err(Hold::Panicked)) => Err(ExitError::GuestPanicked {
                    name: name(),
                    seen: seen(),
                }),
                Ok(Err(Hold::ShutDown { reason })) => Err(ExitError::GuestShutDown {
                    name: name(),
                    reason,
                    seen: seen(),
                }),
                Err(Elapsed(limit)) => Err(ExitError::Timeout {
                    name: name(),
                    limit,
                    seen: seen(),
                }),
            }
        })
    }
}

impl Inner {
    pub(crate) fn request(&self, request: Request) {
        // It fails only where the machine has ended.
        let _ = self.requests.send(request);
    }

    pub(crate) fn report(&self) -> Option<Arc<ExitReport>> {
        self.status.look(|status| match status {
            Status::Ended(report) => Some(Arc::clone(report)),
            _ => None,
        })
    }

    /// Waits for the machine's end.
    pub(crate) async fn ended(&self) -> Arc<ExitReport> {
        let ended = |status: &Status| match status {
            Status::Ended(report) => Some(Arc::clone(report)),
            _ => None,
        };
        self.status.until(ended).await
    }

    /// Waits for the machine's end, or until QEMU holds its guest for good.
    async fn ended_or_held(&self) -> Result<Arc<ExitReport>, Hold> {
        let either = |status: &Status| match status {
            Status::Ended(report) => Some(Ok(Arc::clone(report))),
            // The monitor may have reported already that it goes on.
            Status::Held(_) => self.heard.hold().map(Err),
            _ => None,
        };
        self.status.until(either).await
    }

    /// Waits for the machine's end, or until there is no sense in waiting.
    pub(crate) async fn settled(&self) -> Option<Arc<ExitReport>> {
        let settled = |status: &Status| match status {
            Status::Ended(report) => Some(Some(Arc::clone(report))),
            Status::Unkillable => Some(None),
            _ => None,
        };
        self.status.until(settled).await
    }

    /// Has the machine killed, and the drop of its last handle not wait for it.
    pub(crate) fn end_in_background(&self) {
        if !self.engine.is_of_this_process() {
            return;
        }
        self.is_unwanted.store(true, Ordering::Relaxed);
        self.request(Request::End(Ladder::kill()));
    }
}
