//! The schema of the QEMU of a machine, read once for each binary.

use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use qemu_qmp::command::QuerySchema;
use qemu_qmp::error::ExecuteError;
use qemu_qmp::schema::Schema;
use qemu_qmp::supervise::PeerContext;
use qemu_qmp::wire::Version;
use qemu_qmp_engine::{Elapsed, TurnLock, operation, timeout_option};

use crate::machine::Machine;
use qemu_qmp::error::ErrorKind;

/// Reads the schema of the QEMU of the machine; made by [`Machine::schema`].
///
/// The schema is read once for each binary, and kept. Concurrent callers share
/// one reading. If the running program is not known, each machine reads it
/// again: behind a [`wrapper`](crate::MachineBuilder::wrapper), or as another
/// user.
///
/// # Errors
/// See the variants of [`SchemaError`].
///
/// # Cancel safety
/// Safe. If other callers share this reading, one of them continues it.
#[derive(Debug, Clone)]
#[must_use = "nothing is read until awaited or waited for"]
pub struct ReadSchema {
    machine: Machine,
    timeout: Option<Duration>,
}

/// The schema of the QEMU of a machine is not known.
#[derive(Clone)]
#[non_exhaustive]
pub enum SchemaError {
    /// QEMU refused the command, or did not answer.
    Execute(ExecuteError),
    /// No schema at the deadline.
    Timeout {
        /// The peer, such as `machine 'qemu-1'`.
        server: String,
        /// The deadline.
        limit: Duration,
        /// The last output of QEMU and the console, in separate lines.
        seen: String,
    },
}

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Execute(cause) => write!(f, "{cause}"),
            Self::Timeout {
                server,
                limit,
                seen,
            } => {
                write!(f, "{server}: no schema within {limit:?}{seen}")
            }
        }
    }
}

impl Error for SchemaError {}

impl SchemaError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Execute(cause) => cause.kind(),
            Self::Timeout { .. } => ErrorKind::Timeout,
        }
    }

    /// The error of the system behind it, if there is one.
    pub fn io_error(&self) -> Option<&io::Error> {
        match self {
            Self::Execute(cause) => cause.io_error(),
            Self::Timeout { .. } => None,
        }
    }
}

impl ReadSchema {
    pub(crate) fn new(machine: Machine) -> Self {
        Self {
            timeout: machine.deadlines().limit(),
            machine,
        }
    }
}

timeout_option!(ReadSchema, timeout);

operation!(ReadSchema => Result<Arc<Schema>, SchemaError>);

impl ReadSchema {
    async fn run(self) -> Result<Arc<Schema>, SchemaError> {
        let Self { machine, timeout } = self;
        let read = machine.inner.schema.read(&machine);
        match machine.deadlines().timeout(timeout, read).await {
            Ok(schema) => schema.map_err(SchemaError::Execute),
            Err(Elapsed(limit)) => Err(SchemaError::Timeout {
                server: machine.monitor.server(),
                limit,
                seen: machine.console.context().seen(),
            }),
        }
    }
}

/// The schema of one machine, if it was read. Machines never wait for each
/// other: a stopped machine would delay another past its deadline.
#[derive(Debug, Default)]
pub(crate) struct MachineSchema(TurnLock<Option<Arc<Schema>>>);

impl MachineSchema {
    async fn read(&self, machine: &Machine) -> Result<Arc<Schema>, ExecuteError> {
        let mut kept = self.0.lock().await;
        if let Some(schema) = &*kept {
            return Ok(Arc::clone(schema));
        }
        let schema = read(machine).await?;
        *kept = Some(Arc::clone(&schema));
        Ok(schema)
    }
}

async fn read(machine: &Machine) -> Result<Arc<Schema>, ExecuteError> {
    let program = Program::of(machine);
    if let Some(schema) = program.as_ref().and_then(cached) {
        return Ok(schema);
    }
    let ask = machine.monitor.execute(QuerySchema).timeout(None);
    let schema = Arc::new(ask.await?);
    Ok(match program {
        Some(program) => keep(program, schema),
        None => schema,
    })
}

/// The identity of a program: two processes with the same one have the same
/// schema.
#[derive(Debug, PartialEq)]
struct Program {
    device: u64,
    inode: u64,
    size_bytes: u64,
    modified: (i64, i64),
    version: Version,
    /// The name distinguishes scripts that run QEMU as a child.
    launched_as: OsString,
    /// The value of `-compat`, which can hide deprecated parts.
    compatibility: Vec<OsString>,
}

impl Program {
    /// The running program, even if a script has become it; `None` if it is not
    /// known.
    fn of(machine: &Machine) -> Option<Self> {
        let inner = &machine.inner;
        if inner.is_wrapped {
            return None;
        }
        // It sent the greeting, so the process is QEMU.
        let version = machine.monitor.greeting()?.version.clone()?;
        let file = fs::metadata(format!("/proc/{}/exe", inner.pid)).ok()?;
        // Until this check, no other process had the id.
        if !machine.is_running() {
            return None;
        }
        let words = machine.command_line().words();
        Some(Self {
            device: file.dev(),
            inode: file.ino(),
            size_bytes: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            version,
            launched_as: words.first()?.clone(),
            compatibility: compatibility(words),
        })
    }
}

fn compatibility(words: &[OsString]) -> Vec<OsString> {
    let is_option = |word: &OsStr| word == "-compat" || word == "--compat";
    let values = words.windows(2).filter(|pair| is_option(&pair[0]));
    values.map(|pair| pair[1].clone()).collect()
}

fn cached(program: &Program) -> Option<Arc<Schema>> {
    find(&lock(), program)
}

/// Keeps a schema, unless there is already one for the same program. Returns
/// the kept one.
fn keep(program: Program, schema: Arc<Schema>) -> Arc<Schema> {
    let mut cache = lock();
    if let Some(schema) = find(&cache, &program) {
        return schema;
    }
    if cache.len() == CACHE_SIZE {
        cache.remove(0);
    }
    cache.push((program, Arc::clone(&schema)));
    schema
}

fn find(cache: &Cache, program: &Program) -> Option<Arc<Schema>> {
    let found = cache.iter().find(|(it, _)| it == program);
    found.map(|(_, schema)| Arc::clone(schema))
}

fn lock() -> MutexGuard<'static, Cache> {
    CACHE.lock().unwrap_or_else(PoisonError::into_inner)
}

type Cache = Vec<(Program, Arc<Schema>)>;

/// The oldest first.
static CACHE: Mutex<Cache> = Mutex::new(Vec::new());

/// More binaries than a process uses at once.
const CACHE_SIZE: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hides_a_part_of_a_schema_is_found_in_the_command_line() {
        let words = [
            "qemu",
            "-compat",
            "deprecated-output=hide",
            "-S",
            "--compat",
            "x",
        ];
        let words: Vec<OsString> = words.into_iter().map(Into::into).collect();
        assert_eq!(compatibility(&words), ["deprecated-output=hide", "x"]);
        assert_eq!(compatibility(&words[4..5]), Vec::<OsString>::new());
    }
}
