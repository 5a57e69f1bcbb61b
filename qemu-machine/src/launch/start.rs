//! The process started, and its supervision.

use crate::machine::migration::MigrationTurn;
use crate::machine::schema::MachineSchema;
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
use crate::machine::{Handles, Inner};
use crate::output::TranscriptFile;
use crate::spec::{CommandLine, MachineSpec, Monitor};
use crate::supervise::{Resources, SupervisorHandle, supervise};

/// A machine whose process runs, and is supervised.
pub(super) struct Started {
    pub(super) inner: Arc<Inner>,
    pub(super) console: Console,
    pub(super) handles: Handles,
    pub(super) connection: MonitorConnection,
    pub(super) readiness: Readiness,
    pub(super) overdue: oneshot::Receiver<()>,
}

pub(super) fn start(
    engine: &'static Engine,
    spec: &MachineSpec,
    timeout: Option<Duration>,
    attempt: &Attempt,
) -> Result<Started, LaunchError> {
    let name = &attempt.name;
    let prepared = LaunchResources::new(spec, name).map_err(|error| attempt.failed(error))?;
    let command_line = CommandLine::new(prepared.words(spec));
    let process = match prepared.start(engine, spec, command_line.words()) {
        Ok(process) => process,
        Err(failure) => return Err(attempt.failed_with(failure, Some(command_line), None)),
    };
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
        ends,
    } = prepared;
    let transcript = transcript_file.as_ref().map(TranscriptFile::transcript);
    drop(ends);
    let Channels {
        served, readiness, ..
    } = channels;
    let pid = process.pid();
    let printed = output.output().clone();
    let transcript_path = transcript_file.as_ref().map(|it| it.path().to_owned());
    let directory_path = directory.as_ref().map(|it| it.path().to_owned());
    let canvas = Arc::new(Canvas::new(base_directory(spec)));
    let process = Arc::new(process);
    let weak_process = Arc::downgrade(&process);
    let resources = Resources {
        name: name.clone(),
        process,
        started: Instant::now(),
        deadlines: deadlines.clone(),
        observed: observed.clone(),
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
    let SupervisorHandle {
        requests,
        status,
        overdue,
    } = supervise(engine, resources, timeout);
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
        observed,
        quit_timeout: spec.quit_timeout,
        terminate_timeout: spec.terminate_timeout,
        is_reported: AtomicBool::new(false),
        is_unwanted: AtomicBool::new(false),
    });
    Ok(Started {
        inner,
        console,
        handles,
        connection: MonitorConnection {
            side: monitor,
            settings: spec.monitor_settings.clone(),
            transcript,
            serial_ports: SerialPort::of(spec),
        },
        readiness,
        overdue,
    })
}
