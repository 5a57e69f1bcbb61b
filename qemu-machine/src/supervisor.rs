//! The supervisor of one machine: a task on the engine that owns its process
//! and all that belongs to it, from the start of the process to its end.
//!
//! It carries out what [`life`] decides, and when the process has ended it
//! does, in this order: kill what is left of the process group, take
//! the exit status, read what is left in every channel, remove the private
//! directory, tell who waits on the console and the monitor, let go of every
//! descriptor, and then tell who waits for the end: all with one and the same
//! report.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use qemu_qmp::engine::{self, Engine, Task, first};
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
    pub(crate) process: Arc<Process>,
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
    let process = Arc::clone(&belongings.process);
    let exit = engine.spawn(async move { process.ended().await });
    let output = engine.spawn(belongings.output.clone().pump());
    let console = belongings.console.clone();
    let console = engine.spawn(async move {
        console.pump().await;
        // QEMU tells of its end on the monitor before it closes its console.
        // After this that has been read.
        engine::yield_now().await;
    });
    let supervisor = Supervisor {
        engine,
        life: Life::new(),
        belongings,
        exit,
        output,
        console: Some(console),
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
    exit: Task<io::Result<()>>,
    output: Task<()>,
    /// Until its end was heard.
    console: Option<Task<()>>,
    monitor: Option<Monitor>,
    /// For the answers to what is asked of the monitor; it does not keep the
    /// machine alive.
    own_requests: mpsc::WeakUnboundedSender<Request>,
    status: watch::Sender<Status>,
}

struct Monitor {
    client: Client,
    /// What QEMU says of its end and of the guest's state, not heard yet.
    events: Events,
    shutdown: Option<Shutdown>,
    guest_panicked: bool,
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
    ConsoleEnded,
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
                Input::ConsoleEnded => self.console_ended(),
            }
        }
        self.finish(requests).await;
    }

    async fn next_input(&mut self, requests: &mut mpsc::UnboundedReceiver<Request>) -> Input {
        let deadline = self.life.deadline();
        let limit = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let exit = async {
            if let Some(Err(error)) = (&mut self.exit).await {
                log::error!(
                    "machine '{}' cannot be watched: {error}",
                    self.belongings.name
                );
                self.belongings.process.kill();
            }
            Input::Exited
        };
        let monitor = async {
            let (driver, cause) = reader_ended(self.monitor.as_mut()).await;
            Input::MonitorEnded(driver, cause)
        };
        let console = async {
            let Some(console) = &mut self.console else {
                return std::future::pending().await;
            };
            console.await;
            Input::ConsoleEnded
        };
        let request = async {
            match requests.recv().await {
                Some(request) => Input::Request(request),
                // Every handle is gone. Its drop has asked for the end.
                None => std::future::pending().await,
            }
        };
        // The exit first: what else has ended then is a part of it.
        let input = first(exit, first(first(monitor, console), request));
        engine::timeout(limit, input)
            .await
            .unwrap_or(Input::Deadline)
    }

    fn requested(&mut self, request: Request) {
        match request {
            Request::Ready => self.life.ready(),
            Request::Attach(client, driver) => self.attach(client, driver),
            // A process that has ended did so before it was asked to.
            Request::End(_) if self.belongings.process.has_ended() => {}
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
            shutdown: None,
            guest_panicked: false,
            reader: Reader::Running { task, hang_up },
        });
    }

    fn monitor_ended(&mut self, driver: Driver, cause: &Disconnected) {
        let ending = self.is_ending();
        let Some(monitor) = &mut self.monitor else {
            return;
        };
        if ending {
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

    fn console_ended(&mut self) {
        self.console = None;
        if !self.is_ending() {
            self.belongings.console.closed();
        }
    }

    /// Whether the end is near. QEMU closes its monitor and its console before
    /// it ends, and may also close them and live on; those who wait on them
    /// shall be told of the end, and not of its symptom. QEMU announces its
    /// end, and the kernel knows of one that was not announced.
    fn is_ending(&mut self) -> bool {
        let announced = self.monitor.as_mut().is_some_and(|monitor| {
            monitor.hear();
            monitor.shutdown.is_some()
        });
        announced || self.belongings.process.is_ending()
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
    async fn finish(mut self, requests: mpsc::UnboundedReceiver<Request>) {
        let ended = Instant::now();
        self.life.exited(ended);
        let Belongings {
            name,
            process,
            started,
            output,
            console,
            directory,
            log,
        } = self.belongings;
        let status = process.reap();

        let mut driver = None;
        let (mut shutdown, mut guest_panicked) = (None, false);
        if let Some(monitor) = &mut self.monitor {
            driver = match std::mem::replace(&mut monitor.reader, Reader::Finished) {
                Reader::Running { task, hang_up } => {
                    hang_up();
                    task.await.map(|(driver, _)| driver)
                }
                Reader::Ended(driver) => Some(driver),
                Reader::Finished => None,
            };
            monitor.hear();
            (shutdown, guest_panicked) = (monitor.shutdown.take(), monitor.guest_panicked);
        }
        console.hang_up();
        if let Some(console) = self.console {
            console.await;
        }
        self.output.abort();
        self.output.await;
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
            cause: life::cause(status, &rungs, shutdown.as_ref()),
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
        // It is so from now on for who looks, but who waits is told last: when
        // they hear of it, none of our descriptors is left either.
        self.status.send_if_modified(|status| {
            *status = Status::Ended(Arc::clone(&report));
            false
        });
        console.machine_ended(&report);
        if let Some(driver) = driver {
            driver.finish(&Disconnected::ServerEnded(report));
        }
        drop((process, output, console, self.monitor, requests));
        self.status.send_modify(|_| {});
    }
}

impl Monitor {
    /// Takes in what QEMU has said by now.
    fn hear(&mut self) {
        while let Some(event) = self.events.try_next() {
            match event.name() {
                "SHUTDOWN" => self.shutdown = Some(Shutdown::parse(&event)),
                _ => self.guest_panicked = true,
            }
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
