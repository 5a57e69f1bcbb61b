//! From a builder to a machine that can be spoken with.
//!
//! ```text
//! Launch --engine--> Prepared (directory, log, sockets) -> process -> supervised -> greeted
//! ```
//!
//! Whatever fails, or is given up, on the way leaves nothing: what was made is
//! dropped, and a process that was started is ended by its supervisor, like
//! that of any machine.

use std::error::Error;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use qemu_qmp::engine::{Either, Engine, first, oneshot, race};
use qemu_qmp::wire::Settings;
use qemu_qmp::{Client, Cont, Disconnected, Driver, Transcript};

use crate::MachineBuilder;
use crate::channel::{Channels, Handles, Readiness};
use crate::command_line::CommandLine;
use crate::console::Console;
use crate::display::Canvas;
use crate::error::{LaunchError, LaunchFailure};
use crate::error_debug::debug_is_display;
use crate::input::Turns;
use crate::life::{Rung, Useless};
use crate::machine::{Inner, Machine};
use crate::prepared::{MonitorSide, Prepared, base_directory};
use crate::report::{ExitCause, ExitReport};
use crate::schema::MachineSchema;
use crate::supervisor::{Belongings, Request, Supervised, supervise};

/// A launch; made by [`MachineBuilder::launch`].
///
/// # Errors
/// [`LaunchError`], with the command line, how the process ended, and what it
/// printed. Nothing is left of the machine then.
///
/// # Cancel safety
/// If the future is dropped, the process is ended in the background, and
/// nothing is left of it.
#[derive(Debug)]
#[must_use = "nothing is launched until awaited or waited for"]
pub struct Launch {
    builder: MachineBuilder,
}

impl Launch {
    pub(crate) fn new(builder: MachineBuilder) -> Self {
        Self { builder }
    }
}

impl IntoFuture for Launch {
    type Output = Result<Machine, LaunchError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let attempt = Attempt {
                name: self.builder.name_or_new(),
                begun: Instant::now(),
            };
            let no_engine = |cause| LaunchFailure::Resources {
                action: "start a thread",
                cause,
            };
            let engine = match Engine::start() {
                Ok(engine) => engine,
                Err(error) => return Err(attempt.failed(no_engine(error))),
            };
            let (told, launched) = oneshot::channel();
            let name = attempt.name.clone();
            // The process must be started by the engine's thread: the kernel
            // ends it when the thread that started it ends.
            engine.spawn(async move {
                let mut told = told;
                let launch = launch(engine, &self.builder, attempt);
                if let Either::Left(result) = race(launch, told.closed()).await {
                    // If nobody wants it any more, it is dropped, and ends.
                    let _ = told.send(result.map(|vm| Undelivered(Some(vm))));
                }
            });
            let delivered = launched.await.map(|launched| {
                let vm = |mut vm: Undelivered| vm.0.take().expect("delivered once");
                launched.map(vm)
            });
            delivered.unwrap_or_else(|_| {
                let cause = io::Error::other("the engine dropped the launch");
                Err(Attempt {
                    name,
                    begun: Instant::now(),
                }
                .failed(no_engine(cause)))
            })
        })
    }
}

/// A machine on its way to who launched it. If that one gives up meanwhile, it
/// is ended without keeping them: they may be within an async task.
struct Undelivered(Option<Machine>);

impl Drop for Undelivered {
    fn drop(&mut self) {
        if let Some(vm) = &self.0 {
            vm.inner.end_in_background();
        }
    }
}

/// What every error of a launch tells.
struct Attempt {
    name: String,
    begun: Instant,
}

impl Attempt {
    fn failed(&self, failure: LaunchFailure) -> LaunchError {
        self.failed_with(failure, None, None)
    }

    fn failed_with(
        &self,
        failure: LaunchFailure,
        command_line: Option<CommandLine>,
        report: Option<Arc<ExitReport>>,
    ) -> LaunchError {
        let Self { name, begun } = self;
        LaunchError {
            name: name.clone(),
            failure: Box::new(failure),
            command_line,
            report,
            elapsed: begun.elapsed(),
        }
    }
}

async fn launch(
    engine: &'static Engine,
    builder: &MachineBuilder,
    attempt: Attempt,
) -> Result<Machine, LaunchError> {
    let Begun {
        inner,
        console,
        handles,
        connection,
        readiness,
        overdue,
    } = begin(engine, builder, &attempt)?;
    let mut stage = Stage {
        waited_for: "connection to its monitor",
    };
    let overdue = async {
        match overdue.await {
            Ok(()) => Hindrance::Overdue,
            // The process has ended in time, in whatever way.
            Err(_) => std::future::pending().await,
        }
    };
    let ended = async {
        inner.ended().await;
        Hindrance::Ended
    };
    let met = race(
        first(overdue, ended),
        meet(
            &inner, connection, &console, &handles, readiness, &mut stage,
        ),
    );
    let failure = match met.await {
        Either::Right(Ok(qmp)) => {
            return Ok(Machine {
                inner,
                qmp,
                console,
                handles: Arc::new(handles),
            });
        }
        Either::Right(Err(failure)) => {
            inner.request(Request::Useless(match failure {
                LaunchFailure::NoMonitor(Disconnected::ByServer) => Useless::Closed,
                _ => Useless::Broken,
            }));
            failure
        }
        Either::Left(Hindrance::Ended) => LaunchFailure::Exited,
        Either::Left(Hindrance::Overdue) => LaunchFailure::Timeout {
            limit: builder.launch_timeout.unwrap_or_default(),
            waited_for: stage.waited_for,
        },
    };
    let report = inner.settled().await;
    // By the error that follows.
    inner.is_told.store(true, Ordering::Relaxed);
    let killed = |report: &Arc<ExitReport>| report.cause == ExitCause::Requested(Rung::Kill);
    let failure = match failure {
        // That it closed its monitor was the first that was seen of its end.
        LaunchFailure::NoMonitor(Disconnected::ByServer)
            if report.as_ref().is_some_and(|it| !killed(it)) =>
        {
            LaunchFailure::Exited
        }
        failure => failure,
    };
    Err(attempt.failed_with(failure, Some(inner.command_line.clone()), report))
}

/// A machine whose process runs, and is supervised.
struct Begun {
    inner: Arc<Inner>,
    console: Console,
    handles: Handles,
    connection: MonitorConnection,
    readiness: Readiness,
    overdue: oneshot::Receiver<()>,
}

fn begin(
    engine: &'static Engine,
    builder: &MachineBuilder,
    attempt: &Attempt,
) -> Result<Begun, LaunchError> {
    let name = &attempt.name;
    let prepared = Prepared::new(builder, name).map_err(|error| attempt.failed(error))?;
    let command_line = CommandLine::new(prepared.words(builder));
    let process = match prepared.start(engine, builder, command_line.words()) {
        Ok(process) => process,
        Err(failure) => return Err(attempt.failed_with(failure, Some(command_line), None)),
    };
    let Prepared {
        directory,
        private_log,
        log,
        deadlines,
        heard,
        monitor,
        transcript,
        console,
        channels,
        output,
        ends,
    } = prepared;
    drop(ends);
    let Channels {
        served,
        handles,
        readiness,
        ..
    } = channels;
    let pid = process.pid();
    let printed = output.output().clone();
    let directory_path = directory.as_ref().map(|it| it.path().to_owned());
    let canvas = Arc::new(Canvas::new(base_directory(builder)));
    let process = Arc::new(process);
    let weak_process = Arc::downgrade(&process);
    let belongings = Belongings {
        name: name.clone(),
        process,
        started: Instant::now(),
        deadlines: deadlines.clone(),
        heard: heard.clone(),
        output,
        transcript: transcript.clone(),
        consoles: handles.all_consoles(&console),
        channels: served,
        directory,
        private_log,
        canvas: Arc::clone(&canvas),
        log: builder.log_directory.is_some().then(|| log.clone()),
    };
    let Supervised {
        requests,
        status,
        overdue,
    } = supervise(engine, belongings, builder.launch_timeout);
    let inner = Arc::new(Inner {
        engine,
        name: name.clone(),
        pid,
        process: weak_process,
        command_line,
        is_wrapped: !builder.wrapper.is_empty(),
        schema: MachineSchema::default(),
        turns: Turns::default(),
        canvas,
        directory: directory_path,
        log,
        output: printed,
        requests,
        status,
        deadlines,
        heard,
        quit_timeout: builder.quit_timeout,
        terminate_timeout: builder.terminate_timeout,
        is_told: AtomicBool::new(false),
        is_unwanted: AtomicBool::new(false),
    });
    Ok(Begun {
        inner,
        console,
        handles,
        connection: MonitorConnection {
            side: monitor,
            settings: builder.monitor_settings.clone(),
            transcript,
        },
        readiness,
        overdue,
    })
}

/// What the monitor's connection is made of.
struct MonitorConnection {
    side: MonitorSide,
    settings: Settings,
    transcript: Option<Transcript>,
}

/// What keeps a machine from being met.
enum Hindrance {
    /// It has taken too long, and is being killed.
    Overdue,
    Ended,
}

struct Stage {
    waited_for: &'static str,
}

/// Gets hold of the monitor, and waits until commands may be sent. A launch
/// that is overdue meanwhile is never met.
async fn meet(
    inner: &Inner,
    monitor: MonitorConnection,
    console: &Console,
    handles: &Handles,
    mut readiness: Readiness,
    stage: &mut Stage,
) -> Result<Client, LaunchFailure> {
    let resources = |cause| LaunchFailure::Resources {
        action: "set up the monitor",
        cause,
    };
    let MonitorConnection {
        side,
        settings,
        transcript,
    } = monitor;
    let (socket, attached) = match side {
        MonitorSide::Off(socket) => (socket, false),
        MonitorSide::Connected(socket) => (socket, true),
        MonitorSide::Listening(listener) => {
            (listener.accept_socket().await.map_err(resources)?, true)
        }
    };
    let (deadlines, witness) = (inner.deadlines.clone(), Arc::new(console.witness()));
    let (client, driver, mut ready) =
        Driver::new(socket, settings, deadlines, witness, transcript).map_err(resources)?;
    if attached {
        inner.request(Request::Attach(client.clone(), driver));
        stage.waited_for = "greeting and negotiation on its monitor";
    } else {
        driver.finish(&Disconnected::ServerEnded(Arc::new(NoMonitor)));
    }
    let mut met = !attached || ready.wait().await;
    let mut last = &client;
    if met {
        for (other, ready) in &mut readiness {
            stage.waited_for = "greeting and negotiation on its other monitors";
            last = other;
            met = ready.wait().await;
            if !met {
                break;
            }
        }
    }
    if met && let Some(qtest) = &handles.qtest {
        stage.waited_for = "answer on its qtest channel";
        qtest.ask_for_clock().await;
        // Only of a machine that runs does the clock move.
        if attached && qtest.controls_clock() {
            last = &client;
            met = match client.execute(Cont {}).no_timeout().await {
                Ok(_) => true,
                Err(error) if error.disconnected().is_some() => false,
                Err(error) => return Err(LaunchFailure::NotRun(error)),
            };
        }
    }
    if met {
        let (answer, answered) = oneshot::channel();
        inner.request(Request::Ready(answer));
        return match answered.await {
            Ok(()) => Ok(client),
            Err(_) => std::future::pending().await,
        };
    }
    let cause = last.disconnected().unwrap_or(Disconnected::ByServer);
    if let Disconnected::ServerEnded(_) = cause {
        return Err(LaunchFailure::Exited);
    }
    Err(LaunchFailure::NoMonitor(cause))
}

/// What a command on the monitor of a machine without one is told.
struct NoMonitor;

impl fmt::Display for NoMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the machine was launched without a monitor")
    }
}

impl Error for NoMonitor {}

debug_is_display!(NoMonitor);
