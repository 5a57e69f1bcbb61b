//! The supervisor of one machine: a task on the engine that owns its process
//! and all that belongs to it, from the start of the process to its end.
//!
//! It carries out what [`life`] decides, and when the process has
//! ended it does, in this order: kill what is left of the process group, take
//! the exit status, read what is left in every channel, remove the private
//! directory, and then tell everyone who waits, with one and the same report.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use qemu_qmp::engine::{self, Either, Elapsed, Engine, Task, race};
use qemu_qmp::{Client, Disconnected, Driver, Events, Quit, SystemPowerdown};
use tokio::sync::{mpsc, watch};

use crate::console::Console;
use crate::directory::PrivateDirectory;
use crate::life::{self, Action, Ladder, Life, Rung, Shutdown};
use crate::output::Output;
use crate::process::Process;
use crate::report::ExitReport;

/// What is asked of a supervisor.
pub(crate) enum Request {
    /// The machine can be spoken with.
    Ready,
    /// This is its monitor.
    Attach(Client, Driver),
    /// The machine shall end.
    End(Ladder),
    /// A rung could not be tried, or was refused.
    Failed(Rung, String),
}

/// What is known of a machine.
#[derive(Debug, Clone)]
pub(crate) enum Status {
    Alive,
    /// Killed, and not ended in time.
    Unkillable,
    Ended(Arc<ExitReport>),
}

/// What belongs to a machine's process.
pub(crate) struct Belongings {
    pub(crate) name: String,
    pub(crate) process: Process,
    pub(crate) started: Instant,
    pub(crate) output: Output,
    pub(crate) console: Console,
    pub(crate) directory: Option<PrivateDirectory>,
    /// The log of QEMU's output, where it outlives the directory.
    pub(crate) log: Option<PathBuf>,
}

/// Supervises a process until its end. Gives where to ask, and where to look.
pub(crate) fn supervise(
    engine: &'static Engine,
    belongings: Belongings,
) -> (mpsc::UnboundedSender<Request>, watch::Receiver<Status>) {
    let (sender, requests) = mpsc::unbounded_channel();
    let (status, watched) = watch::channel(Status::Alive);
    let output = engine.spawn(belongings.output.clone().pump());
    let console = engine.spawn({
        let console = belongings.console.clone();
        async move {
            console.clone().pump().await;
            console.closed();
        }
    });
    let supervisor = Supervisor {
        engine,
        life: Life::new(),
        belongings,
        output,
        console,
        monitor: None,
        own_requests: sender.downgrade(),
        status,
    };
    engine.spawn(supervisor.run(requests));
    (sender, watched)
}

struct Supervisor {
    engine: &'static Engine,
    life: Life,
    belongings: Belongings,
    output: Task<()>,
    console: Task<()>,
    monitor: Option<Monitor>,
    /// For the answers to what is asked of the monitor; it does not keep the
    /// machine alive.
    own_requests: mpsc::WeakUnboundedSender<Request>,
    status: watch::Sender<Status>,
}

struct Monitor {
    client: Client,
    /// What QEMU says of its end and of the guest's state.
    events: Events,
    reader: Reader,
}

enum Reader {
    Running {
        task: Task<(Driver, Disconnected)>,
        hang_up: Box<dyn Fn() + Send + Sync>,
    },
    /// It has ended; who waits on the monitor is not told yet.
    Ended(Driver),
    Finished,
}

enum Input {
    Exited,
    Request(Request),
    MonitorEnded(Driver, Disconnected),
    Deadline,
}

impl Supervisor {
    async fn run(mut self, mut requests: mpsc::UnboundedReceiver<Request>) {
        loop {
            while let Some(action) = self.life.poll_action() {
                self.carry_out(action);
            }
            match self.next_input(&mut requests).await {
                Input::Exited => break,
                Input::Deadline => self.life.handle_timeout(Instant::now()),
                Input::Request(request) => self.requested(request),
                Input::MonitorEnded(driver, cause) => self.monitor_ended(driver, &cause),
            }
        }
        self.finish().await;
    }

    async fn next_input(&mut self, requests: &mut mpsc::UnboundedReceiver<Request>) -> Input {
        let deadline = self.life.deadline();
        let limit = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let exited = self.belongings.process.ended();
        let monitor_ended = reader_ended(self.monitor.as_mut());
        let request = async {
            match requests.recv().await {
                Some(request) => request,
                // Every handle is gone. Its drop has asked for the end.
                None => std::future::pending().await,
            }
        };
        // The end comes first: what else is ready then is a part of it.
        let input = race(exited, race(request, monitor_ended));
        match engine::timeout(limit, input).await {
            Ok(Either::Left(watched)) => {
                if let Err(error) = watched {
                    log::error!(
                        "machine '{}' cannot be watched: {error}",
                        self.belongings.name
                    );
                    self.belongings.process.kill();
                }
                Input::Exited
            }
            Ok(Either::Right(Either::Left(request))) => Input::Request(request),
            Ok(Either::Right(Either::Right((driver, cause)))) => Input::MonitorEnded(driver, cause),
            Err(Elapsed) => Input::Deadline,
        }
    }

    fn requested(&mut self, request: Request) {
        match request {
            Request::Ready => self.life.ready(),
            Request::Attach(client, driver) => self.attach(client, driver),
            Request::End(ladder) => self.life.end(Instant::now(), ladder),
            Request::Failed(rung, why) => self.life.failed(Instant::now(), rung, why),
        }
    }

    fn attach(&mut self, client: Client, mut driver: Driver) {
        let events = client.events_named(["SHUTDOWN", "GUEST_PANICKED"]);
        let hang_up = Box::new(driver.ender());
        let task = self.engine.spawn(async move {
            let cause = driver.run().await;
            (driver, cause)
        });
        self.monitor = Some(Monitor {
            client,
            events,
            reader: Reader::Running { task, hang_up },
        });
    }

    /// QEMU closes its monitor just before it ends; then those who wait on it
    /// shall be told of the end. It may also close it and live on.
    fn monitor_ended(&mut self, driver: Driver, cause: &Disconnected) {
        let Some(monitor) = &mut self.monitor else {
            return;
        };
        if self.belongings.process.is_ending() {
            monitor.reader = Reader::Ended(driver);
        } else {
            log::warn!(
                "machine '{}' lives on without a monitor: {cause}",
                self.belongings.name
            );
            driver.finish(cause);
            monitor.reader = Reader::Finished;
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Try(Rung::Guest) => {}
            Action::Try(rung @ (Rung::Powerdown | Rung::Quit)) => self.tell_monitor(rung),
            Action::Try(Rung::Terminate) => self.belongings.process.terminate(),
            Action::Try(Rung::Kill) => self.belongings.process.kill(),
            Action::GiveUpWaiting => {
                self.status.send_replace(Status::Unkillable);
            }
        }
    }

    fn tell_monitor(&mut self, rung: Rung) {
        let Some(Monitor { client, .. }) = &self.monitor else {
            let why = "there is no monitor".to_owned();
            self.life.failed(Instant::now(), rung, why);
            return;
        };
        let (client, answers) = (client.clone(), self.own_requests.clone());
        self.engine.spawn(async move {
            // Whether it was heard shows in the machine's end, not in a reply.
            let told = match rung {
                Rung::Powerdown => client.execute(SystemPowerdown {}).no_timeout().await,
                _ => client.execute(Quit {}).no_timeout().await,
            };
            if let (Err(error), Some(answers)) = (told, answers.upgrade()) {
                let _ = answers.send(Request::Failed(rung, error.to_string()));
            }
        });
    }

    /// The process has ended: see the module's documentation for the order.
    async fn finish(mut self) {
        let ended = Instant::now();
        self.life.exited(ended);
        let Belongings {
            name,
            mut process,
            started,
            output,
            console,
            directory,
            log,
        } = self.belongings;
        let status = process.reap();

        let mut driver = None;
        let (mut shutdown, mut guest_panicked) = (None, false);
        if let Some(Monitor {
            mut events, reader, ..
        }) = self.monitor
        {
            driver = match reader {
                Reader::Running { task, hang_up } => {
                    hang_up();
                    task.await.map(|(driver, _)| driver)
                }
                Reader::Ended(driver) => Some(driver),
                Reader::Finished => None,
            };
            while let Some(event) = events.try_next() {
                match event.name() {
                    "SHUTDOWN" => shutdown = Some(Shutdown::parse(&event)),
                    _ => guest_panicked = true,
                }
            }
        }
        console.hang_up();
        let _ = self.console.await;
        self.output.abort();
        output.drain();

        let mut trouble: Vec<String> = [output.trouble(), console.trouble()]
            .into_iter()
            .flatten()
            .collect();
        if let Some(directory) = directory {
            let path = directory.path().to_owned();
            if let Err(error) = directory.remove() {
                trouble.push(format!("{} cannot be removed: {error}", path.display()));
            }
        }

        let rungs = self.life.into_reports();
        let report = Arc::new(ExitReport {
            name,
            pid: process.pid(),
            status,
            cause: life::cause(&rungs, shutdown.as_ref()),
            rungs,
            shutdown_reason: shutdown.map(|shutdown| shutdown.reason),
            guest_panicked,
            uptime: ended.saturating_duration_since(started),
            output_tail: output.tail(),
            console_tail: console.tail(),
            log,
            trouble,
        });
        log::debug!("{report}");
        self.status.send_replace(Status::Ended(Arc::clone(&report)));
        console.machine_ended(&report);
        if let Some(driver) = driver {
            driver.finish(&Disconnected::ServerEnded(report));
        }
    }
}

/// Waits for the end of a reader that runs; without one, for ever.
async fn reader_ended(monitor: Option<&mut Monitor>) -> (Driver, Disconnected) {
    match monitor {
        Some(Monitor {
            reader: Reader::Running { task, .. },
            ..
        }) => match task.await {
            Some(ended) => ended,
            // Nobody aborts it.
            None => std::future::pending().await,
        },
        _ => std::future::pending().await,
    }
}
