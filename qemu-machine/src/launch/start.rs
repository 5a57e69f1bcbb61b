//! Starts the process, and hands it over to its supervisor.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use qemu_qmp_engine::{Engine, oneshot};

use super::LaunchError;
use super::channels::{Channels, Readiness};
use super::handshake::MonitorConnection;
use super::operation::Attempt;
use super::resources::{LaunchResources, base_directory};
use super::serial_ports::SerialPort;
use crate::console::Console;
use crate::display::Canvas;
use crate::input::Turns;
use crate::life::ExitDevices;
use crate::machine::freezable::Freezable;
use crate::machine::migration::MigrationTurn;
use crate::machine::schema::MachineSchema;
use crate::machine::{Handles, Inner};
use crate::output::TranscriptFile;
use crate::process::Process;
use crate::process::runtime_dir::PrivateDirectory;
use crate::registry::Publication;
use crate::spec::{CommandLine, MachineSpec, Monitor};
use crate::supervise::{Resources, SupervisorHandle, supervise};

/// A machine whose process runs under its supervisor.
pub(super) struct StartedMachine {
    pub(super) inner: Arc<Inner>,
    pub(super) console: Console,
    pub(super) handles: Handles,
    pub(super) connection: MonitorConnection,
    pub(super) readiness: Readiness,
    pub(super) overdue: oneshot::Receiver<()>,
}

/// What the supervisor does not get.
struct CallerParts {
    console: Console,
    handles: Handles,
    connection: MonitorConnection,
    readiness: Readiness,
    log: PathBuf,
}

pub(super) fn start(
    engine: &'static Engine,
    spec: &MachineSpec,
    timeout: Option<Duration>,
    attempt: &Attempt,
    publication: Option<Publication>,
    layer: Option<PrivateDirectory>,
) -> Result<StartedMachine, LaunchError> {
    let name = &attempt.name;
    // Before anything opens the inputs.
    let freezable = Freezable::of(spec).map(Arc::new);
    let resources = LaunchResources::new(spec, name, layer);
    let resources = resources.map_err(|error| attempt.failed(error))?;
    let command_line = CommandLine::new(resources.words(spec));
    let process = match resources.start(engine, spec, command_line.words()) {
        Ok(process) => process,
        Err(failure) => return Err(attempt.failed_with(failure, Some(command_line), None)),
    };
    let (mut resources, parts) = split(spec, name, &command_line, process, resources);
    resources.publication = publication;
    let transcript = resources.transcript_file.as_ref();
    let directory = resources.directory.as_ref();
    let (pid, process) = (resources.process.pid(), Arc::downgrade(&resources.process));
    let transcript = transcript.map(|it| it.path().to_owned());
    let directory = directory.map(|it| it.path().to_owned());
    let (canvas, output) = (
        Arc::clone(&resources.canvas),
        resources.output.output().clone(),
    );
    let (deadlines, observed) = (resources.deadlines.clone(), resources.observed.clone());
    let SupervisorHandle {
        requests,
        status,
        overdue,
    } = supervise(engine, resources, timeout);
    let frozen = spec.image.template().map(|it| it.shell());
    let frozen = frozen.unwrap_or_default();
    if frozen.is_at_prompt {
        let has_asked = frozen.has_asked_for_cursor;
        parts.console.woke_with_shell_at_prompt(has_asked);
    }
    let inner = Arc::new(Inner {
        engine,
        name: name.clone(),
        pid,
        process,
        command_line,
        is_wrapped: !spec.wrapper.is_empty(),
        freezable,
        has_private_disks: spec.image.has_disks(&spec.arguments),
        is_prepared: AtomicBool::new(frozen.is_prepared),
        schema: MachineSchema::default(),
        turns: Turns::default(),
        migration_turn: MigrationTurn::default(),
        canvas,
        directory,
        log: parts.log,
        transcript,
        output,
        requests,
        status,
        deadlines,
        observed,
        quit_timeout: spec.quit_timeout,
        terminate_timeout: spec.terminate_timeout,
        is_reported: AtomicBool::new(false),
        is_unwanted: AtomicBool::new(false),
    });
    Ok(StartedMachine {
        inner,
        console: parts.console,
        handles: parts.handles,
        connection: parts.connection,
        readiness: parts.readiness,
        overdue,
    })
}

/// Splits the resources of a launch into what the supervisor gets and what the
/// caller gets. Closes QEMU's ends of the channels.
fn split(
    spec: &MachineSpec,
    name: &str,
    command_line: &CommandLine,
    process: Process,
    resources: LaunchResources,
) -> (Resources, CallerParts) {
    let LaunchResources {
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
        lifelines: _,
        ends: _,
    } = resources;
    let Channels {
        served, readiness, ..
    } = channels;
    let connection = MonitorConnection {
        side: monitor,
        settings: spec.monitor_settings.clone(),
        transcript: transcript_file.as_ref().map(TranscriptFile::transcript),
        serial_ports: SerialPort::of(spec),
    };
    let resources = Resources {
        name: name.to_owned(),
        process: Arc::new(process),
        started: Instant::now(),
        deadlines,
        observed,
        output,
        tees,
        transcript_file,
        consoles: handles.all_consoles(&console),
        channels: served,
        memory: directory
            .as_ref()
            .and_then(|it| spec.image.written_memory(it.path())),
        directory,
        private_log,
        canvas: Arc::new(Canvas::new(base_directory(spec))),
        publication: None,
        template_lock: spec.image.template().and_then(|it| it.lock()),
        log: spec.log_directory.is_some().then(|| log.clone()),
        exit_devices: ExitDevices::of(
            &command_line.words()[spec.wrapper.len()..],
            !matches!(spec.monitor, Monitor::Off),
        ),
    };
    let parts = CallerParts {
        console,
        handles,
        connection,
        readiness,
        log,
    };
    (resources, parts)
}
