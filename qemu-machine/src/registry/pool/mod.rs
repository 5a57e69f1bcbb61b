//! Published pools: other programs of this user can take machines from them.
//!
//! ```text
//! $XDG_RUNTIME_DIR/qemu-machine/.pools/NAME/
//!   lock   locked by the owner as long as the pool lives
//!   pool   a socket: one request of a client, and its answer
//!
//! client --take--> owner     client <--name-- owner     client --1 byte--> owner
//! ```
//!
//! The client confirms that it has the name. Without that, the machine ends: a
//! client that is killed loses no machine that nobody knows about.

mod client;
mod error;
mod serve;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use qemu_qmp_engine::Engine;

pub use client::{PoolStatus, PublishedPool, QueryPool, StopPool, TakeMachine};
pub use error::PoolError;
use serve::Server;
pub(crate) use serve::{PoolOwner, Taken};

use super::claim::{self, Claim};
use super::places::Places;
use super::serve::bound;
use super::{RegistryError, file_name, folders, name, sweep_in};

/// The published pools of this user that are alive, sorted by name.
///
/// # Errors
/// As for [`list`](super::list).
pub fn pools() -> Result<Vec<PublishedPool>, RegistryError> {
    let mut pools: Vec<PublishedPool> = Vec::new();
    for directory in pool_places().existing()? {
        for folder in folders(directory)? {
            if let Some(pool) = living(folder)
                && !pools.iter().any(|it| it.name() == pool.name())
            {
                pools.push(pool);
            }
        }
    }
    pools.sort_by(|a, b| a.name().cmp(b.name()));
    Ok(pools)
}

/// The published pool with this name.
///
/// # Errors
/// [`RegistryError::NoPool`] has the names of the living pools. Otherwise as for
/// [`list`](super::list).
pub fn find_pool(name: &str) -> Result<PublishedPool, RegistryError> {
    let mut pools = pools()?;
    if let Some(index) = pools.iter().position(|it| it.name() == name) {
        return Ok(pools.swap_remove(index));
    }
    Err(RegistryError::NoPool {
        name: name.to_owned(),
        names: pools.iter().map(|it| it.name().to_owned()).collect(),
    })
}

/// Removes what dead owners of pools left. Returns the names.
pub(super) fn sweep() -> Result<Vec<String>, RegistryError> {
    sweep_in(&pool_places())
}

/// The folder of a pool, which this process owns. A drop removes it.
#[derive(Debug)]
pub(crate) struct PoolPublication {
    claim: Claim,
    /// Until it is served.
    socket: Option<socket2::Socket>,
    server: Option<Server>,
}

impl PoolPublication {
    /// Claims the name of a pool.
    pub(crate) async fn prepare(name: &str) -> Result<Self, RegistryError> {
        name::check_pool(name)?;
        Places::of_this_user().make_own()?;
        let places = pool_places();
        let directory = places.make_own()?;
        let path = name::socket_path(&directory.join(name), SOCKET)?;
        let taken = |owner_pid| RegistryError::PoolNameTaken {
            name: name.to_owned(),
            owner_pid,
        };
        let claim = Claim::take(directory, name).await;
        let claim = claim.map_err(|error| match error {
            RegistryError::NameTaken { owner_pid, .. } => taken(owner_pid),
            error => error,
        })?;
        let mut elsewhere = places.existing()?.into_iter().skip(1);
        if elsewhere.any(|it| claim::is_owned(&it.join(name))) {
            return Err(taken(None));
        }
        // What it cannot remove, a later one does.
        let _ = sweep_in(&places);
        let socket = bound(&path)?;
        Ok(Self {
            claim,
            socket: Some(socket),
            server: None,
        })
    }

    /// Serves the clients.
    pub(crate) fn serve(&mut self, engine: &'static Engine, owner: &Arc<dyn PoolOwner>) {
        if let Some(socket) = self.socket.take() {
            self.server = Some(Server::begin(engine, socket, owner));
        }
    }

    /// Serves no more clients. Those that asked for the end of the pool wait
    /// until this is dropped.
    pub(crate) fn close(&mut self) {
        if let Some(server) = &mut self.server {
            server.close();
        }
    }
}

impl Drop for PoolPublication {
    fn drop(&mut self) {
        // If it cannot be removed now, a later sweep removes it.
        let _ = self.claim.remove();
    }
}

/// The directories of this user's pools. No machine's name begins with a dot.
fn pool_places() -> Places {
    Places::of_this_user().below(".pools")
}

/// The pool of this folder, if its owner lives.
fn living(folder: PathBuf) -> Option<PublishedPool> {
    let name = file_name(&folder)?;
    claim::is_owned(&folder).then(|| PublishedPool::new(name, folder))
}

fn socket(folder: &Path) -> PathBuf {
    folder.join(SOCKET)
}

const SOCKET: &str = "pool";
