//! A published pool, as other programs see it.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use qemu_qmp_engine::{Elapsed, PacedSocket, operation, timeout_option};
use serde_json::Value;

use super::serve::{CONFIRMED, STATUS, STOP, TAKE};
use super::{PoolError, living, socket};
use crate::registry::lines::{self, connect, is_gone, on_engine};
use crate::registry::{self, PublishedMachine};

/// A pool that a program of this user has published; found by
/// [`find_pool`](super::find_pool) and [`pools`](super::pools).
///
/// # Examples
/// ```no_run
/// use qemu_machine::{Wait, registry};
///
/// let pool = registry::find_pool("tests")?;
/// let machine = pool.take().wait()?;
/// println!("{} is mine", machine.name());
/// machine.kill().wait()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct PublishedPool {
    name: String,
    folder: PathBuf,
}

/// The state of a pool, by its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStatus {
    /// The process that owns the pool and its machines.
    pub owner_pid: u32,
    /// The directory of its template.
    pub template: PathBuf,
    /// How many clones it keeps ready.
    pub size: u64,
    /// How many are ready now.
    pub ready: u64,
    /// The names of the machines that were taken, and run.
    pub taken: Vec<String>,
}

/// Takes a machine; made by [`PublishedPool::take`].
///
/// # Errors
/// [`PoolError::Refused`], if no clone was ready and none could be made. Otherwise
/// see [`PoolError`].
///
/// # Cancel safety
/// If the future is dropped, the machine ends.
#[derive(Debug, Clone)]
#[must_use = "nothing is taken until awaited or waited for"]
pub struct TakeMachine {
    pool: PublishedPool,
    timeout: Option<Duration>,
}

/// Asks for the state of a pool; made by [`PublishedPool::status`].
///
/// # Errors
/// See [`PoolError`].
///
/// # Cancel safety
/// Safe: it has no side effects.
#[derive(Debug, Clone)]
#[must_use = "nothing is asked until awaited or waited for"]
pub struct QueryPool {
    pool: PublishedPool,
    timeout: Option<Duration>,
}

/// Ends a pool and its machines; made by [`PublishedPool::stop`].
///
/// # Errors
/// See [`PoolError`]. A pool that ends at the same time has ended.
///
/// # Cancel safety
/// If the future is dropped after the owner got the request, the pool still ends.
#[derive(Debug, Clone)]
#[must_use = "nothing is ended until awaited or waited for"]
pub struct StopPool {
    pool: PublishedPool,
    timeout: Option<Duration>,
}

timeout_option!(TakeMachine, timeout);
timeout_option!(QueryPool, timeout);
timeout_option!(StopPool, timeout);

operation!(TakeMachine => Result<PublishedMachine, PoolError>);
operation!(QueryPool => Result<PoolStatus, PoolError>);
operation!(StopPool => Result<(), PoolError>);

impl PublishedPool {
    pub(super) fn new(name: String, folder: PathBuf) -> Self {
        Self { name, folder }
    }

    /// The pool's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder of the pool, with its socket.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether the owner lives.
    pub fn is_alive(&self) -> bool {
        living(self.folder.clone()).is_some()
    }

    /// Takes a clone that is ready. If none is, the owner makes one. It belongs to
    /// the caller, and is never handed out again; it ends with the pool.
    ///
    /// The default timeout is 2 minutes.
    pub fn take(&self) -> TakeMachine {
        TakeMachine {
            pool: self.clone(),
            timeout: Some(TAKING),
        }
    }

    /// Asks the owner for the state of the pool.
    pub fn status(&self) -> QueryPool {
        QueryPool {
            pool: self.clone(),
            timeout: Some(ANSWERING),
        }
    }

    /// Ends the pool and all of its machines, also those that were taken.
    pub fn stop(&self) -> StopPool {
        StopPool {
            pool: self.clone(),
            timeout: Some(ANSWERING),
        }
    }

    /// Does this on the engine, with a connection to the owner.
    async fn ask_owner<T, F>(
        self,
        limit: Option<Duration>,
        exchange: impl FnOnce(Self, PacedSocket) -> F + Send + 'static,
    ) -> Result<T, PoolError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, PoolError>> + Send + 'static,
    {
        let (name, pool) = (self.name.clone(), self.clone());
        let exchange = async move {
            let socket = connect(&socket(&pool.folder)).await;
            exchange(pool.clone(), socket.map_err(|error| pool.failed(error))?).await
        };
        let exchanged = on_engine(limit, exchange).await;
        match exchanged.map_err(|error| self.failed(error))? {
            Ok(done) => done,
            Err(Elapsed(limit)) => Err(PoolError::Timeout { name, limit }),
        }
    }

    /// Sends a request, and returns its answer.
    async fn ask(&self, socket: &PacedSocket, request: &str) -> Result<Value, PoolError> {
        let answer = lines::ask(socket, request).await;
        answer
            .map_err(|error| self.failed(error))?
            .map_err(|reason| PoolError::Refused {
                name: self.name.clone(),
                reason,
            })
    }

    fn failed(&self, cause: io::Error) -> PoolError {
        let name = self.name.clone();
        if is_gone(&cause) {
            PoolError::Ended { name }
        } else {
            PoolError::Io {
                name,
                cause: Arc::new(cause),
            }
        }
    }

    fn unexpected(&self) -> PoolError {
        self.failed(io::Error::other("its answer has an unexpected form"))
    }
}

impl TakeMachine {
    async fn run(self) -> Result<PublishedMachine, PoolError> {
        let take = async |pool: PublishedPool, socket: PacedSocket| {
            let taken = pool.ask(&socket, TAKE).await?;
            let name = taken.as_str().ok_or_else(|| pool.unexpected())?;
            let machine = registry::find(name).map_err(|error| PoolError::Refused {
                name: pool.name.clone(),
                reason: error.to_string(),
            })?;
            let confirmed = socket.write_all(CONFIRMED).await;
            confirmed.map_err(|error| pool.failed(error))?;
            Ok(machine)
        };
        self.pool.ask_owner(self.timeout, take).await
    }
}

impl QueryPool {
    async fn run(self) -> Result<PoolStatus, PoolError> {
        let ask = async |pool: PublishedPool, socket: PacedSocket| {
            let answer = pool.ask(&socket, STATUS).await?;
            PoolStatus::of_json(&answer).ok_or_else(|| pool.unexpected())
        };
        self.pool.ask_owner(self.timeout, ask).await
    }
}

impl StopPool {
    async fn run(self) -> Result<(), PoolError> {
        // The owner answers by the end of the connection.
        let stop = async |pool: PublishedPool, socket: PacedSocket| {
            pool.ask(&socket, STOP).await.map(drop)
        };
        match self.pool.ask_owner(self.timeout, stop).await {
            Err(PoolError::Ended { .. }) => Ok(()),
            result => result,
        }
    }
}

impl PoolStatus {
    fn of_json(value: &Value) -> Option<Self> {
        let taken = value["taken"].as_array()?.iter();
        Some(Self {
            owner_pid: u32::try_from(value["owner_pid"].as_u64()?).ok()?,
            template: value["template"].as_str()?.into(),
            size: value["size"].as_u64()?,
            ready: value["ready"].as_u64()?,
            taken: taken
                .map(|name| name.as_str().map(str::to_owned))
                .collect::<Option<_>>()?,
        })
    }
}

/// A clone may have to be made, and to be warmed.
const TAKING: Duration = Duration::from_secs(120);

const ANSWERING: Duration = Duration::from_secs(30);
