//! Connects to the console of a machine that another program runs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use qemu_qmp::command::QueryStatus;
use qemu_qmp::error::{ConnectError, EventError};
use qemu_qmp::{Client, Deadlines, supervise};
use qemu_qmp_engine::{Engine, Task, operation, timeout_option};

use super::buffer::End;
use super::{Console, ConsoleSinks};
use crate::channel::{Channel, MachineContext, MachineFacts};
use crate::life::ObservedState;
use crate::output::Output;
use crate::spec::ConsoleConfig;

impl Console {
    /// Connects to a console on a unix socket: of a QEMU that another program
    /// runs (`-serial unix:PATH,server=on,wait=off`), or of a [published
    /// machine](crate::registry).
    ///
    /// # Examples
    /// ```no_run
    /// use qemu_machine::{Console, Wait};
    ///
    /// let console = Console::connect_unix("/run/vm/serial.sock").wait()?;
    /// console.send("\n").wait()?;
    /// console.expect("login: ").wait()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn connect_unix(path: impl AsRef<Path>) -> ConnectConsole {
        let path = path.as_ref();
        ConnectConsole {
            path: path.to_owned(),
            machine: path.display().to_string(),
            name: None,
            must_listen: false,
            config: Self::serial(),
            deadlines: Deadlines::default(),
            timeout: Deadlines::default().limit(),
            monitor: None,
        }
    }
}

/// Connects to a console; made by [`Console::connect_unix`].
///
/// The connection is closed when the last handle to the console is dropped.
///
/// # Errors
/// [`ConnectError`]: nothing listens there, or not within the timeout.
///
/// # Cancel safety
/// If the future is dropped, the connection is closed.
#[derive(Debug, Clone)]
#[must_use = "nothing is connected until awaited or waited for"]
pub struct ConnectConsole {
    path: PathBuf,
    machine: String,
    name: Option<String>,
    must_listen: bool,
    config: ConsoleConfig,
    deadlines: Deadlines,
    timeout: Option<Duration>,
    monitor: Option<PathBuf>,
}

impl ConnectConsole {
    /// Fails at once if nothing listens at the path. By default it waits until
    /// its [`timeout`](Self::timeout): QEMU creates its socket some time after
    /// its start.
    pub fn already_listening(mut self) -> Self {
        self.must_listen = true;
        self
    }

    /// Sets the ring, the screen and what searches ignore, as for a machine's
    /// console. Its device, its log and its tee have no effect here.
    pub fn config(mut self, config: ConsoleConfig) -> Self {
        self.config = config;
        self
    }

    /// Sets the deadlines of operations on the console, instead of 30 s.
    pub fn deadlines(mut self, deadlines: Deadlines) -> Self {
        self.deadlines = deadlines;
        self
    }

    /// Follows the guest on the monitor that listens at this path, so that a reset
    /// or a panic ends the waits on the console.
    pub(crate) fn following(mut self, monitor: PathBuf) -> Self {
        self.monitor = Some(monitor);
        self
    }

    /// Sets the names of the machine and the console in errors.
    pub(crate) fn named(mut self, machine: &str, console: Option<&str>) -> Self {
        machine.clone_into(&mut self.machine);
        self.name = console.map(str::to_owned);
        self
    }
}

timeout_option!(ConnectConsole, timeout);

operation!(ConnectConsole => Result<Console, ConnectError>);

impl ConnectConsole {
    async fn run(self) -> Result<Console, ConnectError> {
        // The timers below need it.
        let engine = Engine::start()?;
        let (path, must_listen) = (&self.path, self.must_listen);
        let socket =
            supervise::connect_unix(path, must_listen, &self.deadlines, self.timeout).await?;
        let observed = ObservedState::new();
        let mut monitor = None;
        if let Some(path) = &self.monitor {
            let connect = Client::connect_unix(path).already_listening();
            monitor = Some(connect.timeout(self.timeout).await?);
        }
        let machine = MachineFacts {
            deadlines: self.deadlines,
            observed: observed.clone(),
            context: MachineContext::new(&self.machine, Output::none(), observed.clone()),
        };
        let mut config = self.config;
        config.drained = true;
        let sinks = ConsoleSinks::default();
        let console = Console::connected(&machine, self.name, socket.into(), &config, sinks)?;
        let reader = console.clone();
        engine.spawn(async move {
            reader.read().await;
            reader.end(&End::Closed);
        });
        let following = monitor.map(|monitor| engine.spawn(follow(monitor, observed)));
        Ok(console.closing_when_dropped(engine, following))
    }
}

/// Has the events of the guest observed, until the monitor's connection ends.
async fn follow(monitor: Client, observed: ObservedState) {
    let mut events = monitor.events();
    loop {
        match events.next().timeout(None).await {
            Ok(event) => {
                let before = observed.resets();
                observed.take(&event);
                let resets = observed.resets();
                if resets > before {
                    // Its reply comes after the console's output before the reset.
                    let _ = monitor.execute(QueryStatus).await;
                    observed.settle_resets(resets);
                }
            }
            Err(EventError::Lagged { .. }) => {}
            Err(_) => return,
        }
    }
}

/// Closes the connection of a console that no machine here owns, when its last
/// handle is dropped. The task that reads it has no such handle.
#[derive(Debug)]
pub(super) struct ClosesWhenDropped {
    console: Console,
    engine: &'static Engine,
    following: Option<Task<()>>,
}

impl ClosesWhenDropped {
    pub(super) fn new(
        console: Console,
        engine: &'static Engine,
        following: Option<Task<()>>,
    ) -> Self {
        Self {
            console,
            engine,
            following,
        }
    }
}

impl Drop for ClosesWhenDropped {
    fn drop(&mut self) {
        // A forked process has a copy of the handle. It must not close the
        // parent's connection.
        if self.engine.is_of_this_process() {
            self.console.hang_up();
            if let Some(following) = &self.following {
                following.abort();
            }
        }
    }
}
