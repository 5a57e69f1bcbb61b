//! What a machine's QEMU can do: asked of it once for each binary.

use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use qemu_qmp::supervise::PeerContext;
use qemu_qmp::{ExecuteError, QuerySchema, Schema, Version};
use qemu_qmp_engine::{Elapsed, TurnLock, operation, timeout_option};

use crate::machine::Machine;

/// Reads what the machine's QEMU can do; made by [`Machine::schema`].
///
/// It is read once for each binary and kept, and who asks at the same time
/// waits for the same reading. It is read for each machine anew where the
/// program that runs cannot be told: behind a
/// [`wrapper`](crate::MachineBuilder::wrapper), or of another user.
///
/// # Errors
/// Each variant of [`SchemaError`] says when.
///
/// # Cancel safety
/// Nothing depends on it: if this future was reading for others, one of them
/// reads in its place.
#[derive(Debug, Clone)]
#[must_use = "nothing is read until awaited or waited for"]
pub struct ReadSchema {
    machine: Machine,
    timeout: Option<Duration>,
}

/// What a machine's QEMU can do is not known.
#[non_exhaustive]
pub enum SchemaError {
    /// QEMU could not be asked.
    Execute(ExecuteError),
    /// QEMU did not answer in time.
    Timeout {
        /// Whom it was asked of, such as `machine 'qemu-1'`.
        server: String,
        /// The deadline.
        limit: Duration,
        /// What QEMU and the console said last, in lines of their own.
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
                write!(f, "{server} did not tell its schema within {limit:?}{seen}")
            }
        }
    }
}

impl Error for SchemaError {}

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

/// The schema of one machine, once it was asked for. Machines never wait for
/// each other's: one that is stopped would have another pass its deadline.
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
    if let Some(schema) = program.as_ref().and_then(known) {
        return Ok(schema);
    }
    let ask = machine.monitor.execute(QuerySchema).timeout(None);
    let schema = Arc::new(ask.await?);
    Ok(match program {
        Some(program) => keep(program, schema),
        None => schema,
    })
}

/// What two processes have in common that have the same schema.
#[derive(Debug, PartialEq)]
struct Program {
    device: u64,
    inode: u64,
    size_bytes: u64,
    modified: (i64, i64),
    version: Version,
    /// A script that has QEMU for a child is told from others by its name.
    launched_as: OsString,
    /// What `-compat` says: it can hide what is deprecated.
    compatibility: Vec<OsString>,
}

impl Program {
    /// The program that runs now, whatever script has become it; `None` where
    /// that cannot be told.
    fn of(machine: &Machine) -> Option<Self> {
        let inner = &machine.inner;
        if inner.is_wrapped {
            return None;
        }
        // It has greeted, so it is QEMU by now.
        let version = machine.monitor.greeting()?.version.clone()?;
        let file = fs::metadata(format!("/proc/{}/exe", inner.pid)).ok()?;
        // Until after that, the id was not another process's.
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
    let said = words.windows(2).filter(|pair| is_option(&pair[0]));
    said.map(|pair| pair[1].clone()).collect()
}

fn known(program: &Program) -> Option<Arc<Schema>> {
    find(&lock(), program)
}

/// Keeps a schema, unless another has been kept of the same program meanwhile;
/// gives the one that is kept.
fn keep(program: Program, schema: Arc<Schema>) -> Arc<Schema> {
    let mut known = lock();
    if let Some(schema) = find(&known, &program) {
        return schema;
    }
    if known.len() == KEPT {
        known.remove(0);
    }
    known.push((program, Arc::clone(&schema)));
    schema
}

fn find(known: &Known, program: &Program) -> Option<Arc<Schema>> {
    let found = known.iter().find(|(it, _)| it == program);
    found.map(|(_, schema)| Arc::clone(schema))
}

fn lock() -> MutexGuard<'static, Known> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

type Known = Vec<(Program, Arc<Schema>)>;

/// The oldest first.
static KNOWN: Mutex<Known> = Mutex::new(Vec::new());

/// More binaries than a program has to do with at once.
const KEPT: usize = 16;

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
