//! From a builder to a machine that can be spoken with.
//!
//! ```text
//! Launch --engine--> Prepared (directory, log, sockets) -> process -> supervised -> greeted -> run
//! ```
//!
//! QEMU holds the guest until it is greeted, so the outcome does not depend on
//! who is faster: once the guest was let run, the machine is launched, even if
//! it has ended by then.
//!
//! Whatever fails, or is given up, on the way leaves nothing: what was made is
//! dropped, and a process that was started is ended by its supervisor, like
//! that of any machine.

mod advice;
mod channels;
pub(crate) mod error;
mod resources;
mod serial_ports;

use self::serial_ports::SerialPort;
use crate::launch::channels::Channels;
use crate::launch::channels::Readiness;
use crate::machine::Handles;
use crate::spec::MachineBuilder;
use crate::spec::MachineSpec;
use crate::spec::Monitor;
use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::time::Instant;

use crate::console::Console;
use crate::display::Canvas;
use crate::input::Turns;
pub(crate) use crate::launch::error::{LaunchError, LaunchFailure};
use crate::launch::resources::{MonitorSide, Prepared, base_directory};
use crate::launch::serial_ports::all_have_devices;
use crate::life::PauseReason;
use crate::life::{ExitCause, ExitReport};
use crate::life::{ExitDevices, Rung, Useless};
use crate::machine::migration::MigrationTurn;
use crate::machine::schema::MachineSchema;
use crate::machine::{Inner, Machine};
use crate::output::TranscriptFile;
use crate::qtest::Qtest;
use crate::spec::{CommandLine, GuestStart};
use crate::supervise::{Belongings, Request, Supervised, supervise};
use qemu_qmp::supervise;
use qemu_qmp::wire::Settings;
use qemu_qmp::{Client, Cont, Disconnected, QueryStatus, Transcript};
use qemu_qmp_engine::debug_is_display;
use qemu_qmp_engine::{Either, Engine, first, oneshot, operation, race, timeout_option};

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
    spec: MachineSpec,
    timeout: Option<Duration>,
}

impl MachineBuilder {
    /// Launches the machine. Nothing happens before the result is awaited or
    /// waited for.
    pub fn launch(&self) -> Launch {
        let spec = self.spec().clone();
        Launch {
            timeout: spec.launch_timeout,
            spec,
        }
    }
}

timeout_option!(Launch, timeout);

operation!(Launch => Result<Machine, LaunchError>);

impl Launch {
    async fn run(self) -> Result<Machine, LaunchError> {
        let attempt = Attempt {
            name: self.spec.name_or_new(),
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
            let launch = launch(engine, &self.spec, self.timeout, attempt);
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
    spec: &MachineSpec,
    timeout: Option<Duration>,
    attempt: Attempt,
) -> Result<Machine, LaunchError> {
    let Begun {
        inner,
        console,
        handles,
        connection,
        readiness,
        overdue,
    } = begin(engine, spec, timeout, &attempt)?;
    let start = spec.guest_start();
    let mut stage = Stage {
        waited_for: "connection to its monitor",
        client: None,
        guest_ran: start == GuestStart::AtOnce,
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
            &inner, connection, &console, &handles, start, readiness, &mut stage,
        ),
    );
    let failure = match met.await {
        Either::Right(Ok(())) => None,
        Either::Right(Err(failure)) => {
            inner.request(Request::Useless(match failure {
                LaunchFailure::NoMonitor(Disconnected::ByServer) => Useless::Closed,
                _ => Useless::Broken,
            }));
            Some(failure)
        }
        Either::Left(Hindrance::Ended) => Some(LaunchFailure::Exited),
        Either::Left(Hindrance::Overdue) => Some(LaunchFailure::Timeout {
            limit: timeout.unwrap_or_default(),
            waited_for: stage.waited_for,
        }),
    };
    let launched = |inner, qmp| Machine {
        inner,
        qmp,
        console,
        handles: Arc::new(handles),
    };
    let (failure, qmp) = match (failure, stage.client) {
        (None, Some(qmp)) => return Ok(launched(inner, qmp)),
        (failure, qmp) => (failure.unwrap_or(LaunchFailure::Exited), qmp),
    };
    let report = inner.settled().await;
    let by_itself = |report: &Arc<ExitReport>| report.cause != ExitCause::Requested(Rung::Kill);
    let exited = match failure {
        LaunchFailure::Exited => true,
        // That it closed its monitor was the first that was seen of its end.
        LaunchFailure::NoMonitor(Disconnected::ByServer) => report.as_ref().is_some_and(by_itself),
        _ => false,
    };
    let left_behind = |report: &Arc<ExitReport>| !report.survivors.is_empty();
    let is_left_behind = report.as_ref().is_some_and(left_behind);
    if let Some(qmp) = qmp.filter(|_| exited && stage.guest_ran && !is_left_behind) {
        // The guest had its time, and used it to end the machine. A wrapper that
        // left QEMU behind is a failed launch, however late it ended.
        return Ok(launched(inner, qmp));
    }
    // By the error that follows.
    inner.is_reported.store(true, Ordering::Relaxed);
    let failure = if exited {
        LaunchFailure::Exited
    } else {
        failure
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
    spec: &MachineSpec,
    timeout: Option<Duration>,
    attempt: &Attempt,
) -> Result<Begun, LaunchError> {
    let name = &attempt.name;
    let prepared = Prepared::new(spec, name).map_err(|error| attempt.failed(error))?;
    let command_line = CommandLine::new(prepared.words(spec));
    let process = match prepared.start(engine, spec, command_line.words()) {
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
        transcript_file,
        console,
        channels,
        output,
        tees,
        lifelines: _,
        ends,
    } = prepared;
    let transcript = transcript_file.as_ref().map(TranscriptFile::transcript);
    drop(ends);
    let Channels {
        served,
        handles,
        readiness,
        serial_ports,
        ..
    } = channels;
    let pid = process.pid();
    let printed = output.output().clone();
    let transcript_path = transcript_file.as_ref().map(|it| it.path().to_owned());
    let directory_path = directory.as_ref().map(|it| it.path().to_owned());
    let canvas = Arc::new(Canvas::new(base_directory(spec)));
    let process = Arc::new(process);
    let weak_process = Arc::downgrade(&process);
    let belongings = Belongings {
        name: name.clone(),
        process,
        started: Instant::now(),
        deadlines: deadlines.clone(),
        heard: heard.clone(),
        output,
        tees,
        transcript_file,
        consoles: handles.all_consoles(&console),
        channels: served,
        directory,
        private_log,
        canvas: Arc::clone(&canvas),
        log: spec.log_directory.is_some().then(|| log.clone()),
        exit_devices: ExitDevices::of(
            &command_line.words()[spec.wrapper.len()..],
            !matches!(spec.monitor, Monitor::Off),
        ),
    };
    let Supervised {
        requests,
        status,
        overdue,
    } = supervise(engine, belongings, timeout);
    let inner = Arc::new(Inner {
        engine,
        name: name.clone(),
        pid,
        process: weak_process,
        command_line,
        is_wrapped: !spec.wrapper.is_empty(),
        schema: MachineSchema::default(),
        turns: Turns::default(),
        migration_turn: MigrationTurn::default(),
        canvas,
        directory: directory_path,
        log,
        transcript: transcript_path,
        output: printed,
        requests,
        status,
        deadlines,
        heard,
        quit_timeout: spec.quit_timeout,
        terminate_timeout: spec.terminate_timeout,
        is_reported: AtomicBool::new(false),
        is_unwanted: AtomicBool::new(false),
    });
    Ok(Begun {
        inner,
        console,
        handles,
        connection: MonitorConnection {
            side: monitor,
            settings: spec.monitor_settings.clone(),
            transcript,
            serial_ports,
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
    /// Those that the consoles need.
    serial_ports: Vec<SerialPort>,
}

/// What keeps a machine from being met.
enum Hindrance {
    /// It has taken too long, and is being killed.
    Overdue,
    Ended,
}

/// How far a launch has come.
struct Stage {
    waited_for: &'static str,
    /// The monitor.
    client: Option<Client>,
    /// Whether the guest was let run.
    guest_ran: bool,
}

/// Gets hold of the monitor, waits until commands may be sent, and lets the
/// guest run. A launch that is overdue before that is never met.
async fn meet(
    inner: &Inner,
    monitor: MonitorConnection,
    console: &Console,
    handles: &Handles,
    start: GuestStart,
    mut readiness: Readiness,
    stage: &mut Stage,
) -> Result<(), LaunchFailure> {
    let resources = |cause| LaunchFailure::Resources {
        action: "set up the monitor",
        cause,
    };
    let MonitorConnection {
        side,
        settings,
        transcript,
        serial_ports,
    } = monitor;
    let (socket, attached) = match side {
        MonitorSide::Off(socket) => (socket.into(), false),
        MonitorSide::Connected(socket) => (socket.into(), true),
        MonitorSide::Listening(listener) => {
            (supervise::accept(listener).await.map_err(resources)?, true)
        }
    };
    let (deadlines, context) = (inner.deadlines.clone(), Arc::new(console.context()));
    let (client, reader, mut ready) =
        supervise::monitor(socket, settings, deadlines, context, transcript).map_err(resources)?;
    let client = stage.client.insert(client).clone();
    if attached {
        inner.request(Request::Attach(client.clone(), reader));
        stage.waited_for = "greeting and negotiation on its monitor";
    } else {
        let cause = Disconnected::ServerEnded(Arc::new(NoMonitor));
        reader.end(&cause).notify();
    }
    let mut met =
        !attached || (ready.wait().await && all_have_devices(&client, &serial_ports).await?);
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
    }
    if met && attached {
        stage.waited_for = "answer on its monitor";
        last = &client;
        met = begin_guest(inner, &client, handles, start, &mut stage.guest_ran).await?;
    }
    if met {
        let (answer, answered) = oneshot::channel();
        inner.request(Request::Ready(answer));
        return match answered.await {
            Ok(()) => Ok(()),
            Err(_) => std::future::pending().await,
        };
    }
    let cause = last.disconnected().unwrap_or(Disconnected::ByServer);
    if let Disconnected::ServerEnded(_) = cause {
        return Err(LaunchFailure::Exited);
    }
    Err(LaunchFailure::NoMonitor(cause))
}

/// Lets the guest run, or finds out why it does not; `false` where the monitor
/// is lost.
async fn begin_guest(
    inner: &Inner,
    client: &Client,
    handles: &Handles,
    start: GuestStart,
    guest_ran: &mut bool,
) -> Result<bool, LaunchFailure> {
    let qtest = handles.qtest.as_ref();
    match start {
        GuestStart::AtOnce => {}
        GuestStart::HeldByCaller => inner.heard.begin(PauseReason::NotStarted),
        // Without QEMU's accelerator for it, the guest stays held. Only of a
        // machine that runs does the clock move.
        GuestStart::Driven if !qtest.is_some_and(Qtest::controls_clock) => {
            inner.heard.begin(PauseReason::NotStarted);
        }
        GuestStart::Driven | GuestStart::Held => {
            *guest_ran = start == GuestStart::Held;
            if let Err(error) = client.execute(Cont).timeout(None).await
                && error.disconnected().is_none()
            {
                *guest_ran = false;
                return Err(LaunchFailure::NotRun(error));
            }
        }
        GuestStart::Incoming => {
            // A server that does not say is taken to run the guest.
            let status = client.execute(QueryStatus).timeout(None).await;
            let status = status.map(|it| PauseReason::of_run_state(&it.status));
            if let Ok(Some(reason)) = status {
                inner.heard.begin(reason);
            }
        }
    }
    Ok(client.disconnected().is_none())
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
