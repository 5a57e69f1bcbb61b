//! From a builder to a machine that can be spoken with.
//!
//! ```text
//! Launch --engine--> Prepared (directory, log, sockets) -> process -> supervised -> greeted
//! ```
//!
//! Whatever fails, or is given up, on the way leaves nothing: what was made is
//! dropped, and a process that was started is ended by its supervisor, like
//! that of any machine.

use std::fs::File;
use std::future::{Future, IntoFuture};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use qemu_qmp::engine::{self, Either, Elapsed, Engine, race};
use qemu_qmp::wire::Settings;
use qemu_qmp::{Client, Disconnected, Driver, Listener};
use socket2::{Domain, Socket, Type};
use tokio::sync::oneshot;

use crate::MachineBuilder;
use crate::builder::{FIRST_DESCRIPTOR, Monitor};
use crate::command_line::{CommandLine, Ends, MonitorEnd, compose};
use crate::console::Console;
use crate::directory::PrivateDirectory;
use crate::error::{LaunchError, LaunchFailure};
use crate::life::{Ladder, Rung};
use crate::machine::{Inner, Machine};
use crate::output::{LogFile, Output};
use crate::process::{Process, Start, StartError};
use crate::report::{ExitCause, ExitReport};
use crate::supervisor::{Belongings, Request, supervise};

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
                    let _ = told.send(result);
                }
            });
            launched.await.unwrap_or_else(|_| {
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
    let prepared = Prepared::new(builder, &attempt.name).map_err(|error| attempt.failed(error))?;
    let command_line = CommandLine::new(prepared.words(builder));
    let process = match prepared.start(builder, command_line.words()) {
        Ok(process) => process,
        Err(failure) => return Err(attempt.failed_with(failure, Some(command_line), None)),
    };
    let Prepared {
        directory,
        log,
        monitor,
        console,
        output,
        null,
        output_end,
        monitor_end,
        console_end,
    } = prepared;
    // QEMU has them now. Held here too, none of its channels would ever end.
    drop((null, output_end, monitor_end, console_end));
    let inner = Arc::new({
        let pid = process.pid();
        let directory_path = directory
            .as_ref()
            .map(|directory| directory.path().to_owned());
        let (requests, status) = supervise(
            engine,
            Belongings {
                name: attempt.name.clone(),
                process: Arc::new(process),
                started: Instant::now(),
                output: output.clone(),
                console: console.clone(),
                directory,
                log: builder.log_directory.is_some().then(|| log.clone()),
            },
        );
        Inner {
            engine,
            name: attempt.name.clone(),
            pid,
            command_line,
            directory: directory_path,
            log,
            output,
            requests,
            status,
        }
    });
    let mut stage = Stage {
        waited_for: "connection to its monitor",
    };
    let ready = race(inner.ended(), meet(&inner, monitor, &mut stage));
    let failure = match engine::timeout(builder.launch_timeout, ready).await {
        Ok(Either::Right(Ok(qmp))) => {
            inner.request(Request::Ready);
            return Ok(Machine {
                inner,
                qmp,
                console,
            });
        }
        Ok(Either::Right(Err(failure))) => failure,
        Ok(Either::Left(_)) => LaunchFailure::Exited,
        Err(Elapsed(limit)) => LaunchFailure::Timeout {
            limit,
            waited_for: stage.waited_for,
        },
    };
    // A process that closed its monitor may be about to end by itself, with a
    // code that says more than a signal of ours would.
    let by_itself = match failure {
        LaunchFailure::NoMonitor(Disconnected::ByServer) => Some((Rung::Guest, Some(LAST_WORDS))),
        _ => None,
    };
    inner.request(Request::End(Ladder::new(by_itself)));
    let report = inner.settled().await;
    let killed = |report: &Arc<ExitReport>| report.cause == ExitCause::Requested(Rung::Kill);
    let failure = match failure {
        LaunchFailure::NoMonitor(_) if report.as_ref().is_some_and(|it| !killed(it)) => {
            LaunchFailure::Exited
        }
        failure => failure,
    };
    Err(attempt.failed_with(failure, Some(inner.command_line.clone()), report))
}

/// How long a process without a monitor may take to end by itself.
const LAST_WORDS: Duration = Duration::from_millis(500);

struct Stage {
    waited_for: &'static str,
}

/// Gets hold of the monitor, and waits until commands may be sent.
async fn meet(
    inner: &Inner,
    monitor: MonitorSide,
    stage: &mut Stage,
) -> Result<Client, LaunchFailure> {
    let resources = |cause| LaunchFailure::Resources {
        action: "set up the monitor",
        cause,
    };
    let (socket, attached) = match monitor {
        MonitorSide::Off(socket) => (socket, false),
        MonitorSide::Connected(socket) => (socket, true),
        MonitorSide::Listening(listener) => {
            (listener.accept_socket().await.map_err(resources)?, true)
        }
    };
    let (client, driver, mut ready) =
        Driver::new(socket, Settings::default()).map_err(resources)?;
    if !attached {
        driver.finish(&Disconnected::ServerEnded(Arc::new(NoMonitor)));
        return Ok(client);
    }
    inner.request(Request::Attach(client.clone(), driver));
    stage.waited_for = "greeting and negotiation on its monitor";
    if ready.wait().await {
        return Ok(client);
    }
    let cause = client.disconnected().unwrap_or(Disconnected::ByServer);
    if let Disconnected::ServerEnded(_) = cause {
        return Err(LaunchFailure::Exited);
    }
    Err(LaunchFailure::NoMonitor(cause))
}

/// What a command on the monitor of a machine without one is told.
#[derive(Debug, thiserror::Error)]
#[error("the machine was launched without a monitor")]
struct NoMonitor;

/// Everything that a process needs before it can be started: our ends, and
/// those that it gets.
struct Prepared {
    directory: Option<PrivateDirectory>,
    log: PathBuf,
    monitor: MonitorSide,
    console: Console,
    output: Output,
    null: File,
    output_end: io::PipeWriter,
    monitor_end: Option<Socket>,
    console_end: Option<Socket>,
}

enum MonitorSide {
    /// There is none; the socket's other end is closed.
    Off(Socket),
    Connected(Socket),
    Listening(Listener),
}

impl Prepared {
    fn new(builder: &MachineBuilder, name: &str) -> Result<Self, LaunchFailure> {
        let directory = match (&builder.log_directory, &builder.firmware) {
            (Some(_), None) => None,
            _ => Some(private_directory(builder)?),
        };
        if let (Some(firmware), Some(directory)) = (&builder.firmware, &directory) {
            let path = directory.path().join(firmware.file_name());
            file("write", &path, firmware.write_to(&path))?;
        }
        let log_directory = match (&builder.log_directory, &directory) {
            (Some(path), _) => path.as_path(),
            (None, Some(directory)) => directory.path(),
            (None, None) => Path::new("."),
        };
        let log = log_directory.join(format!("{}.log", name.replace('/', "_")));
        let log_file = file("write the log", &log, LogFile::create(&log))?;
        let console_log = match builder
            .console
            .as_ref()
            .and_then(|console| console.log.as_ref())
        {
            Some(path) => Some(file(
                "write the console's log",
                path,
                LogFile::create(path),
            )?),
            None => None,
        };
        let null = Path::new("/dev/null");
        let null = file("open", null, File::open(null))?;

        let sockets = |cause| LaunchFailure::Resources {
            action: "make the machine's channels",
            cause,
        };
        let (output, output_end) = io::pipe().map_err(sockets)?;
        let output = Output::new(output, log_file).map_err(sockets)?;
        let (console, console_end) = match &builder.console {
            None => (Console::absent(name), None),
            Some(config) => {
                let (ours, theirs) = pair().map_err(sockets)?;
                let console = Console::connected(name, ours, config, console_log);
                (console.map_err(sockets)?, Some(theirs))
            }
        };
        let (monitor, monitor_end) = match &builder.monitor {
            Monitor::Unix(path) => {
                let listener = Listener::unix(path).map_err(LaunchFailure::Monitor)?;
                (MonitorSide::Listening(listener), None)
            }
            Monitor::Tcp(address) => {
                let listener = Listener::tcp(*address).map_err(LaunchFailure::Monitor)?;
                (MonitorSide::Listening(listener), None)
            }
            Monitor::SocketPair => {
                let (ours, theirs) = pair().map_err(sockets)?;
                (MonitorSide::Connected(ours), Some(theirs))
            }
            Monitor::Off => (MonitorSide::Off(pair().map_err(sockets)?.0), None),
        };
        Ok(Self {
            directory,
            log,
            monitor,
            console,
            output,
            null,
            output_end,
            monitor_end,
            console_end,
        })
    }

    fn words(&self, builder: &MachineBuilder) -> Vec<std::ffi::OsString> {
        let (console, first_added) = builder.descriptor_numbers(self.monitor_end.is_some());
        let monitor = match &self.monitor {
            MonitorSide::Off(_) => MonitorEnd::Off,
            MonitorSide::Connected(_) => MonitorEnd::Descriptor(FIRST_DESCRIPTOR),
            MonitorSide::Listening(listener) => MonitorEnd::Address(listener.address()),
        };
        let directory = self
            .directory
            .as_ref()
            .map_or(Path::new(""), PrivateDirectory::path);
        compose(
            builder,
            &Ends {
                monitor,
                console,
                first_added,
                directory,
            },
        )
    }

    /// Starts the process, with its ends in the order of their numbers.
    fn start(
        &self,
        builder: &MachineBuilder,
        words: &[std::ffi::OsString],
    ) -> Result<Process, LaunchFailure> {
        let mut descriptors: Vec<BorrowedFd<'_>> = vec![
            self.null.as_fd(),
            self.output_end.as_fd(),
            self.output_end.as_fd(),
        ];
        descriptors.extend(
            self.monitor_end
                .iter()
                .chain(&self.console_end)
                .map(AsFd::as_fd),
        );
        descriptors.extend(
            builder
                .descriptors
                .iter()
                .map(|added| added.descriptor.as_fd()),
        );
        let start = Start {
            words,
            environment: &builder.environment,
            directory: builder.working_directory.as_deref(),
            descriptors: &descriptors,
        };
        Process::start(&start).map_err(|error| match error {
            StartError::NotFound { program } => LaunchFailure::NotFound { program },
            StartError::NotExecutable { program, cause } => {
                LaunchFailure::NotExecutable { program, cause }
            }
            StartError::Nul { word } => LaunchFailure::Nul { word },
            StartError::Arguments { cause } => LaunchFailure::ArgumentsTooLong { cause },
            StartError::Directory { cause } => LaunchFailure::File {
                action: "enter the working directory",
                path: builder.working_directory.clone().unwrap_or_default(),
                cause,
            },
            StartError::Resources { cause } => LaunchFailure::Resources {
                action: "start a process",
                cause,
            },
        })
    }
}

fn private_directory(builder: &MachineBuilder) -> Result<PrivateDirectory, LaunchFailure> {
    let base = builder
        .base_directory
        .clone()
        .unwrap_or_else(std::env::temp_dir);
    file(
        "make a directory in",
        &base,
        PrivateDirectory::create(&base),
    )
}

fn file<T>(action: &'static str, path: &Path, result: io::Result<T>) -> Result<T, LaunchFailure> {
    result.map_err(|cause| LaunchFailure::File {
        action,
        path: path.to_owned(),
        cause,
    })
}

fn pair() -> io::Result<(Socket, Socket)> {
    Socket::pair(Domain::UNIX, Type::STREAM, None)
}
