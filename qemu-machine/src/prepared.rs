//! Everything that a process needs before it can be started: its directory,
//! its logs, its channels, and its command line.
//!
//! Never leaves anything behind: what was made goes when this is dropped.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Instant;

use qemu_qmp::engine::Engine;
use qemu_qmp::{Deadlines, Listener, Transcript};
use socket2::{Domain, Socket, Type};

use crate::MachineBuilder;
use crate::builder::{FIRST_DESCRIPTOR, Monitor};
use crate::channel::{ChannelConfig, Channels};
use crate::command_line::{ChannelEnds, Ends, MonitorEnd, compose};
use crate::console::{Console, ConsoleLog, MachineFacts, MachineWitness};
use crate::error::LaunchFailure;
use crate::heard::Heard;
use crate::output::{LogFile, OutputPipe};
use crate::private::{PrivateDirectory, PrivateLog};
use crate::process::{Process, Start, StartError};

/// Our ends of what a process gets, and its own.
pub(crate) struct Prepared {
    pub(crate) directory: Option<PrivateDirectory>,
    /// The log, where it needs neither that nor a directory of the user's.
    pub(crate) private_log: Option<PrivateLog>,
    pub(crate) log: PathBuf,
    pub(crate) deadlines: Deadlines,
    pub(crate) heard: Heard,
    pub(crate) monitor: MonitorSide,
    pub(crate) transcript: Option<Transcript>,
    pub(crate) console: Console,
    pub(crate) channels: Channels,
    pub(crate) output: OutputPipe,
    pub(crate) ends: ProcessEnds,
}

/// What the process gets. Held here longer than until it has them, none of its
/// channels would ever end.
pub(crate) struct ProcessEnds {
    null: File,
    output_end: io::PipeWriter,
    monitor_end: Option<Socket>,
    channel_ends: Vec<Socket>,
}

/// Our side of the monitor.
pub(crate) enum MonitorSide {
    /// There is none; the socket's other end is closed.
    Off(Socket),
    Connected(Socket),
    Listening(Listener),
}

impl Prepared {
    pub(crate) fn new(builder: &MachineBuilder, name: &str) -> Result<Self, LaunchFailure> {
        let begun = Instant::now();
        let mut directory = None;
        if let Some(firmware) = &builder.firmware {
            let made = directory.insert(private_directory(builder)?);
            let path = made.path().join(firmware.file_name());
            file("write", &path, firmware.write_to(&path))?;
        }
        let log_name = name.replace('/', "_");
        let log_directory = builder.log_directory.as_deref();
        let log_directory = log_directory.or(directory.as_ref().map(PrivateDirectory::path));
        let (private_log, log_file) = if let Some(log_directory) = log_directory {
            let log = log_directory.join(format!("{log_name}.log"));
            (None, file("write the log", &log, LogFile::create(&log))?)
        } else {
            let base = base_directory(builder);
            let made = PrivateLog::create(&base, &log_name);
            let (log, made) = file("make a log in", &base, made)?;
            let log_file = LogFile::new(log.path(), made);
            (Some(log), log_file)
        };
        let log = log_file.path().to_owned();
        let transcript = builder.transcript.as_deref();
        let transcript = transcript
            .map(|path| file("write the transcript", path, Transcript::create(path)))
            .transpose()?;
        let null = Path::new("/dev/null");
        let null = file("open", null, File::open(null))?;

        let sockets = |cause| LaunchFailure::Resources {
            action: "make the machine's channels",
            cause,
        };
        let (output, output_end) = io::pipe().map_err(sockets)?;
        let output = OutputPipe::new(output, log_file).map_err(sockets)?;
        let deadlines = builder.deadlines();
        let heard = Heard::new();
        let facts = MachineFacts {
            deadlines: deadlines.clone(),
            heard: heard.clone(),
            witness: MachineWitness::new(name, output.output().clone(), heard.clone()),
        };
        let mut channel_ends = Vec::new();
        let mut channels = Channels::default();
        for config in &builder.channels {
            let log = console_log(config, begun)?;
            let (ours, theirs) = pair().map_err(sockets)?;
            channel_ends.push(theirs);
            channels.add(config, ours, log, &facts).map_err(sockets)?;
        }
        let console = channels.first_console(&facts);
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
            private_log,
            log,
            deadlines,
            heard,
            monitor,
            transcript,
            console,
            channels,
            output,
            ends: ProcessEnds {
                null,
                output_end,
                monitor_end,
                channel_ends,
            },
        })
    }

    pub(crate) fn words(&self, builder: &MachineBuilder) -> Vec<OsString> {
        let numbers = builder.descriptor_numbers(self.ends.monitor_end.is_some());
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
        builder: &MachineBuilder,
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
        Process::start(engine, &start).map_err(|error| match error {
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

fn console_log(
    config: &ChannelConfig,
    begun: Instant,
) -> Result<Option<ConsoleLog>, LaunchFailure> {
    let ChannelConfig::Console(_, config) = config else {
        return Ok(None);
    };
    // One whose reading is the caller's has none: a file is left as it is.
    let Some(path) = config.log_path().filter(|_| config.is_drained()) else {
        return Ok(None);
    };
    let log = ConsoleLog::create(path, config.is_stamped().then_some(begun));
    file("write the console's log", path, log).map(Some)
}

/// Where a machine's directories are made.
pub(crate) fn base_directory(builder: &MachineBuilder) -> PathBuf {
    let base = builder.base_directory.clone();
    base.unwrap_or_else(std::env::temp_dir)
}

fn private_directory(builder: &MachineBuilder) -> Result<PrivateDirectory, LaunchFailure> {
    let base = base_directory(builder);
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
