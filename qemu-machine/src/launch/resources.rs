//! Everything that a process needs before it can be started: its directory,
//! its logs, its channels, and its command line.
//!
//! Never leaves anything behind: what was made goes when this is dropped.

use crate::channel::MachineContext;
use crate::channel::MachineFacts;
use crate::launch::channels::Channels;
use crate::machine::Handles;
use crate::output::tee;
use crate::spec::ChannelConfig;
use crate::spec::MachineSpec;
use crate::spec::Tee;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Instant;

use qemu_qmp::{Deadlines, Listener};
use qemu_qmp_engine::Engine;
use socket2::{Domain, Socket, Type};

use crate::console::{self, Console, ConsoleLog, ConsoleSinks};
use crate::launch::error::LaunchFailure;
use crate::life::ObservedState;
use crate::output::TranscriptFile;
use crate::output::tee::Feed;
use crate::output::{LogFile, OutputPipe};
use crate::process::runtime_dir::{PrivateDirectory, PrivateLog};
use crate::process::survivors::{Ends as ChannelPair, Lifelines};
use crate::process::{Process, Start, StartError};
use crate::spec::{ChannelEnds, Ends, MonitorEnd, compose};
use crate::spec::{FIRST_DESCRIPTOR, Monitor};

/// Our ends of what a process gets, and its own.
pub(crate) struct LaunchResources {
    pub(crate) directory: Option<PrivateDirectory>,
    /// The log, where it needs neither that nor a directory of the user's.
    pub(crate) private_log: Option<PrivateLog>,
    pub(crate) log: PathBuf,
    pub(crate) deadlines: Deadlines,
    pub(crate) observed: ObservedState,
    pub(crate) monitor: MonitorSide,
    pub(crate) transcript_file: Option<TranscriptFile>,
    pub(crate) console: Console,
    pub(crate) handles: Handles,
    pub(crate) channels: Channels,
    pub(crate) output: OutputPipe,
    pub(crate) tees: Vec<Feed>,
    pub(crate) lifelines: Lifelines,
    pub(crate) ends: ProcessEnds,
}

/// What the process gets. Held here longer than until it has them, none of its
/// channels would ever end.
pub(crate) struct ProcessEnds {
    null: File,
    output_end: io::PipeWriter,
    monitor_end: Option<Socket>,
    channel_ends: Vec<Socket>,
    /// Tells that a process of the machine lives.
    lifeline_end: Socket,
}

/// Our side of the monitor.
pub(crate) enum MonitorSide {
    /// There is none; the socket's other end is closed.
    Off(Socket),
    Connected(Socket),
    Listening(Listener),
}

impl LaunchResources {
    pub(crate) fn new(spec: &MachineSpec, name: &str) -> Result<Self, LaunchFailure> {
        let begun = Instant::now();
        if let Some(option) = spec.arguments.iter().find(|word| is_refused(word)) {
            let option = option.clone();
            return Err(LaunchFailure::Refused { option });
        }
        let mut directory = None;
        if let Some(firmware) = &spec.firmware {
            let made = directory.insert(private_directory(spec)?);
            let path = made.path().join(firmware.file_name());
            file("write", &path, firmware.write_to(&path))?;
        }
        let (private_log, log_file) = create_log(spec, directory.as_ref(), name)?;
        let log = log_file.path().to_owned();
        let transcript = spec.transcript.as_deref();
        let transcript_file = transcript
            .map(|path| file("write the transcript", path, TranscriptFile::create(path)))
            .transpose()?;
        let null = Path::new("/dev/null");
        let null = file("open", null, File::open(null))?;

        let sockets = |cause| LaunchFailure::Resources {
            action: "make the machine's channels",
            cause,
        };
        let (output, output_end) = io::pipe().map_err(sockets)?;
        let mut tees = Vec::new();
        let output_tee = begin_tee(
            spec.output_tee.as_ref(),
            format!("QEMU's output of machine '{name}'"),
            name,
        )?;
        tees.extend(output_tee.clone());
        let output = OutputPipe::new(output, log_file, output_tee).map_err(sockets)?;
        let deadlines = spec.deadlines();
        let observed = ObservedState::new();
        let facts = MachineFacts {
            deadlines: deadlines.clone(),
            observed: observed.clone(),
            context: MachineContext::new(name, output.output().clone(), observed.clone()),
        };
        let mut channel_ends = Vec::new();
        let mut pairs = Vec::new();
        let mut channels = Channels::default();
        for config in &spec.channels {
            let sinks = console_sinks(config, name, begun)?;
            tees.extend(sinks.tee.clone());
            let (ours, theirs) = pair().map_err(sockets)?;
            pairs.extend(ChannelPair::of(&ours, &theirs));
            channel_ends.push(theirs);
            channels.add(config, ours, sinks, &facts).map_err(sockets)?;
        }
        let (console, handles) = channels.handles(&facts);
        let (monitor, monitor_end) = match &spec.monitor {
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
                pairs.extend(ChannelPair::of(&ours, &theirs));
                (MonitorSide::Connected(ours), Some(theirs))
            }
            Monitor::Off => (MonitorSide::Off(pair().map_err(sockets)?.0), None),
        };
        let lifelines = Lifelines::new(output.pipe(), pairs);
        let (lifelines, lifeline_end) = lifelines.map_err(sockets)?;
        Ok(Self {
            directory,
            private_log,
            log,
            deadlines,
            observed,
            monitor,
            transcript_file,
            console,
            handles,
            channels,
            output,
            tees,
            lifelines,
            ends: ProcessEnds {
                null,
                output_end,
                monitor_end,
                channel_ends,
                lifeline_end,
            },
        })
    }

    pub(crate) fn words(&self, spec: &MachineSpec) -> Vec<OsString> {
        let numbers = spec.descriptor_numbers(self.ends.monitor_end.is_some());
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
            spec,
            &Ends {
                monitor,
                channels: ChannelEnds::Descriptors(numbers.channels),
                first_added: numbers.added,
                directory,
            },
        )
    }

    /// Starts the process, with its ends in the order of their numbers.
    pub(crate) fn start(
        &self,
        engine: &'static Engine,
        spec: &MachineSpec,
        words: &[OsString],
    ) -> Result<Process, LaunchFailure> {
        let ends = &self.ends;
        let mut descriptors: Vec<BorrowedFd<'_>> = vec![
            ends.null.as_fd(),
            ends.output_end.as_fd(),
            ends.output_end.as_fd(),
        ];
        descriptors.extend(
            ends.monitor_end
                .iter()
                .chain(&ends.channel_ends)
                .map(AsFd::as_fd),
        );
        descriptors.extend(
            spec.descriptors
                .iter()
                .map(|added| added.descriptor.as_fd()),
        );
        // Last, so that it takes the number of none that is on the command line.
        descriptors.push(ends.lifeline_end.as_fd());
        let start = Start {
            words,
            environment: &spec.environment,
            directory: spec.working_directory.as_deref(),
            descriptors: &descriptors,
        };
        Process::start(engine, &start, self.lifelines.clone()).map_err(|error| match error {
            StartError::NotFound { program } => LaunchFailure::NotFound { program },
            StartError::NotExecutable { program, cause } => {
                LaunchFailure::NotExecutable { program, cause }
            }
            StartError::Nul { word } => LaunchFailure::Nul { word },
            StartError::Arguments { cause } => LaunchFailure::ArgumentsTooLong { cause },
            StartError::Directory { cause } => LaunchFailure::File {
                action: "enter the working directory",
                path: spec.working_directory.clone().unwrap_or_default(),
                cause,
            },
            StartError::Resources { cause } => LaunchFailure::Resources {
                action: "start a process",
                cause,
            },
        })
    }
}

/// The log of QEMU's output: in the caller's directory, in the private one, or
/// alone.
fn create_log(
    spec: &MachineSpec,
    directory: Option<&PrivateDirectory>,
    name: &str,
) -> Result<(Option<PrivateLog>, LogFile), LaunchFailure> {
    let name = name.replace('/', "_");
    let log_directory = spec.log_directory.as_deref();
    if let Some(log_directory) = log_directory.or(directory.map(PrivateDirectory::path)) {
        let log = log_directory.join(format!("{name}.log"));
        return Ok((None, file("write the log", &log, LogFile::create(&log))?));
    }
    let base = base_directory(spec);
    let made = PrivateLog::create(&base, &name);
    let (log, made) = file("make a log in", &base, made)?;
    let log_file = LogFile::new(log.path(), made);
    Ok((Some(log), log_file))
}

/// Whether this is an option by which QEMU leaves the process that was
/// started: nobody could tell when it ends, or what it exits with.
fn is_refused(word: &OsStr) -> bool {
    word == "-daemonize" || word == "--daemonize"
}

fn console_sinks(
    config: &ChannelConfig,
    machine: &str,
    begun: Instant,
) -> Result<ConsoleSinks, LaunchFailure> {
    let ChannelConfig::Console(name, config) = config else {
        return Ok(ConsoleSinks::default());
    };
    // One whose reading is the caller's has none: a file is left as it is.
    if !config.is_drained() {
        return Ok(ConsoleSinks::default());
    }
    let create = |path: &Path| {
        let log = ConsoleLog::create(path, config.is_stamped().then_some(begun));
        file("write the console's log", path, log)
    };
    let name = name.as_deref();
    let label = name.map_or_else(|| machine.to_owned(), |name| format!("{machine}/{name}"));
    Ok(ConsoleSinks {
        log: config.log_path().map(create).transpose()?,
        tee: begin_tee(config.tee_to(), console::what(machine, name), &label)?,
    })
}

/// Begins to write to a tee, where there is one. Messages call the source so, and
/// lines are named by the label.
fn begin_tee(
    tee: Option<&Tee>,
    source: String,
    label: &str,
) -> Result<Option<Feed>, LaunchFailure> {
    let Some(tee) = tee else {
        return Ok(None);
    };
    let failure = |cause| match tee.path() {
        Some(path) => LaunchFailure::File {
            action: "append to",
            path: path.to_owned(),
            cause,
        },
        None => LaunchFailure::Resources {
            action: "start a thread for a tee",
            cause,
        },
    };
    tee::begin(tee, source, label).map(Some).map_err(failure)
}

/// Where a machine's directories are made.
pub(crate) fn base_directory(spec: &MachineSpec) -> PathBuf {
    let base = spec.base_directory.clone();
    base.unwrap_or_else(std::env::temp_dir)
}

fn private_directory(spec: &MachineSpec) -> Result<PrivateDirectory, LaunchFailure> {
    let base = base_directory(spec);
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
