//! The resources of a launch: directory, logs, channels, and the command line.
//!
//! Never leaves anything behind: a drop removes what was made.

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

use qemu_qmp::Deadlines;
use qemu_qmp::connect::Listener;
use qemu_qmp_engine::Engine;
use socket2::{Domain, Socket, Type};

use crate::console::{self, Console, ConsoleLog, ConsoleSinks};
use crate::launch::error::LaunchFailure;
use crate::launch::image_files;
use crate::life::ObservedState;
use crate::output::TranscriptFile;
use crate::output::tee::Feed;
use crate::output::{LogFile, OutputPipe};
use crate::process::runtime_dir::{PrivateDirectory, PrivateLog};
use crate::process::survivors::{Ends as ChannelPair, Lifelines};
use crate::process::{Process, Start, StartError};
use crate::spec::{ChannelEnds, Ends, MonitorEnd, compose};
use crate::spec::{FIRST_DESCRIPTOR, Monitor};

/// What a launch makes for the process, with both ends of each channel.
pub(crate) struct LaunchResources {
    pub(crate) directory: Option<PrivateDirectory>,
    /// The private log; `None` if the log is in a directory.
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

/// The ends of the process. They must be closed here once the process has them,
/// or no channel would ever end.
pub(crate) struct ProcessEnds {
    null: File,
    output_end: io::PipeWriter,
    monitor_end: Option<Socket>,
    channel_ends: Vec<Socket>,
    /// Open as long as a process of the machine lives.
    lifeline_end: Socket,
}

/// Our side of the monitor.
pub(crate) enum MonitorSide {
    /// No monitor; the other end of the socket is closed.
    Off(Socket),
    Connected(Socket),
    Listening(Listener),
}

impl LaunchResources {
    /// `layer` is the private directory, if it was made before.
    pub(crate) fn new(
        spec: &MachineSpec,
        name: &str,
        layer: Option<PrivateDirectory>,
    ) -> Result<Self, LaunchFailure> {
        let begun = Instant::now();
        if let Some(option) = spec.arguments.iter().find(|word| is_refused(word)) {
            let option = option.clone();
            return Err(LaunchFailure::Refused { option });
        }
        let directory = private_directory(spec, layer)?;
        let (private_log, log_file) = create_log(spec, directory.as_ref(), name)?;
        let log = log_file.path().to_owned();
        let transcript = spec.transcript.as_deref();
        let transcript_file = transcript
            .map(|path| file("write the transcript", path, TranscriptFile::create(path)))
            .transpose()?;
        let null = Path::new("/dev/null");
        let null = file("open", null, File::open(null))?;

        let (output, output_end) = io::pipe().map_err(no_sockets)?;
        let source = format!("QEMU's output of machine '{name}'");
        let output_tee = begin_tee(spec.output_tee.as_ref(), source, name)?;
        let output = OutputPipe::new(output, log_file, output_tee.clone()).map_err(no_sockets)?;
        let deadlines = spec.deadlines();
        let observed = ObservedState::new();
        let facts = MachineFacts {
            deadlines: deadlines.clone(),
            observed: observed.clone(),
            context: MachineContext::new(name, output.output().clone(), observed.clone()),
        };
        let mut sockets = Sockets {
            tees: output_tee.into_iter().collect(),
            ..Sockets::default()
        };
        for config in &spec.channels {
            sockets.add_channel(config, name, begun, &facts)?;
        }
        let (console, handles) = sockets.channels.handles(&facts);
        let (monitor, monitor_end) = sockets.add_monitor(&spec.monitor)?;
        let Sockets {
            channels,
            channel_ends,
            pairs,
            tees,
        } = sockets;
        let lifelines = Lifelines::new(output.pipe(), pairs);
        let (lifelines, lifeline_end) = lifelines.map_err(no_sockets)?;
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
        // Last, so that it does not shift a number in the command line.
        descriptors.push(ends.lifeline_end.as_fd());
        let start = Start {
            words,
            environment: &spec.environment,
            directory: spec.working_directory.as_deref(),
            descriptors: &descriptors,
        };
        let started = Process::start(engine, &start, self.lifelines.clone());
        started.map_err(|error| not_started(error, spec.working_directory.as_deref()))
    }
}

fn not_started(error: StartError, directory: Option<&Path>) -> LaunchFailure {
    match error {
        StartError::NotFound { program } => LaunchFailure::NotFound { program },
        StartError::NotExecutable { program, cause } => {
            let cause = cause.into();
            LaunchFailure::NotExecutable { program, cause }
        }
        StartError::Nul { word } => LaunchFailure::Nul { word },
        StartError::Arguments { cause } => LaunchFailure::ArgumentsTooLong {
            cause: cause.into(),
        },
        StartError::Directory { cause } => LaunchFailure::File {
            action: "enter the working directory",
            path: directory.unwrap_or(Path::new("")).to_owned(),
            cause: cause.into(),
        },
        StartError::Resources { cause } => LaunchFailure::Resources {
            action: "start a process",
            cause: cause.into(),
        },
    }
}

/// The sockets between this process and QEMU, and what writes from them.
#[derive(Default)]
struct Sockets {
    /// Our ends.
    channels: Channels,
    /// QEMU's ends.
    channel_ends: Vec<Socket>,
    /// The numbers of both ends of each socket.
    pairs: Vec<ChannelPair>,
    tees: Vec<Feed>,
}

impl Sockets {
    fn add_channel(
        &mut self,
        config: &ChannelConfig,
        machine: &str,
        begun: Instant,
        facts: &MachineFacts,
    ) -> Result<(), LaunchFailure> {
        let sinks = console_sinks(config, machine, begun)?;
        self.tees.extend(sinks.tee.clone());
        let (ours, theirs) = self.pair()?;
        self.channel_ends.push(theirs);
        let added = self.channels.add(config, ours, sinks, facts);
        added.map_err(no_sockets)
    }

    /// Returns our side of the monitor, and QEMU's end if QEMU inherits it.
    fn add_monitor(
        &mut self,
        monitor: &Monitor,
    ) -> Result<(MonitorSide, Option<Socket>), LaunchFailure> {
        Ok(match monitor {
            Monitor::Unix(path) => {
                let listener = Listener::unix(path).map_err(LaunchFailure::Monitor)?;
                (MonitorSide::Listening(listener), None)
            }
            Monitor::Tcp(address) => {
                let listener = Listener::tcp(*address).map_err(LaunchFailure::Monitor)?;
                (MonitorSide::Listening(listener), None)
            }
            Monitor::SocketPair => {
                let (ours, theirs) = self.pair()?;
                (MonitorSide::Connected(ours), Some(theirs))
            }
            Monitor::Off => {
                let (ours, _closed) = pair().map_err(no_sockets)?;
                (MonitorSide::Off(ours), None)
            }
        })
    }

    fn pair(&mut self) -> Result<(Socket, Socket), LaunchFailure> {
        let (ours, theirs) = pair().map_err(no_sockets)?;
        self.pairs.extend(ChannelPair::of(&ours, &theirs));
        Ok((ours, theirs))
    }
}

fn no_sockets(cause: io::Error) -> LaunchFailure {
    LaunchFailure::Resources {
        action: "make the machine's channels",
        cause: cause.into(),
    }
}

/// The private directory, with the firmware, the memory and the overlays in it;
/// `None` if the machine needs none.
fn private_directory(
    spec: &MachineSpec,
    layer: Option<PrivateDirectory>,
) -> Result<Option<PrivateDirectory>, LaunchFailure> {
    let plan = image_files::plan(spec)?;
    let has_memory = spec.is_freezable();
    let has_disks = plan.as_ref().is_some_and(|plan| !plan.disks.is_empty());
    if spec.firmware.is_none() && !has_memory && !has_disks {
        return Ok(None);
    }
    let directory = if let Some(directory) = layer {
        directory
    } else {
        let base = image_files::base_directory(spec);
        file(
            "make a directory in",
            &base,
            PrivateDirectory::create(&base),
        )?
    };
    if let Some(firmware) = &spec.firmware {
        let path = directory.path().join(firmware.file_name());
        file("write", &path, firmware.write_to(&path))?;
    }
    if let Some(plan) = plan {
        image_files::create(spec, &plan, directory.path())?;
    }
    Ok(Some(directory))
}

/// Makes the log of the output of QEMU: in the directory of the caller, in the
/// private directory, or as a private file.
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

/// Whether this option makes QEMU leave the started process. Nothing could
/// report the end of such a QEMU, or its exit status.
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
    // The caller reads an undrained console, so it has no log and no tee. A
    // file is not touched.
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

/// Starts a tee, if there is one. `source` is its name in messages, and `label`
/// its name in lines.
fn begin_tee(
    tee: Option<&Tee>,
    source: String,
    label: &str,
) -> Result<Option<Feed>, LaunchFailure> {
    let Some(tee) = tee else {
        return Ok(None);
    };
    let failure = |cause: io::Error| match tee.path() {
        Some(path) => LaunchFailure::File {
            action: "append to",
            path: path.to_owned(),
            cause: cause.into(),
        },
        None => LaunchFailure::Resources {
            action: "start a thread for a tee",
            cause: cause.into(),
        },
    };
    tee::begin(tee, source, label).map(Some).map_err(failure)
}

/// The directory for private directories and logs.
pub(crate) fn base_directory(spec: &MachineSpec) -> PathBuf {
    let base = spec.base_directory.clone();
    base.unwrap_or_else(std::env::temp_dir)
}

fn file<T>(action: &'static str, path: &Path, result: io::Result<T>) -> Result<T, LaunchFailure> {
    result.map_err(|cause| LaunchFailure::File {
        action,
        path: path.to_owned(),
        cause: cause.into(),
    })
}

fn pair() -> io::Result<(Socket, Socket)> {
    Socket::pair(Domain::UNIX, Type::STREAM, None)
}
