//! A pool that other programs take machines from, by its name.
//!
//! ```text
//! program --take, stop--> registry::pool (engine) --> Host --> Pool
//! SharedPool (owner) -----------------------------------^
//! ```

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use qemu_qmp_engine::{Engine, Watched, operation};
use serde_json::{Value, json};

use super::{FreezeOffer, Pool, PoolBuilder, TemplateError};
use crate::Machine;
use crate::life::Ladder;
use crate::registry::pool::{PoolOwner, PoolPublication, Taken};
use crate::supervise::{Request, Status};

/// A pool that other programs of this user can find by its name, and take
/// machines from: [`registry::find_pool`](crate::registry::find_pool). Made by
/// [`PoolBuilder::publish`].
///
/// Its machines are published as `POOL-1`, `POOL-2` and so on. A machine that was
/// taken belongs to the program that took it. It ends when that program ends it,
/// or with this pool. The drop of the pool ends all of them, after a freeze that
/// is under way.
///
/// If [`PoolBuilder::machine`] makes them
/// [`freezable`](crate::MachineBuilder::freezable), the program that took one can
/// [`freeze`](crate::registry::PublishedMachine::freeze) it.
///
/// If this process dies, they end as every machine does.
///
/// # Examples
/// ```no_run
/// use qemu_machine::Wait;
/// use qemu_machine::template::Template;
///
/// # fn serve(template: &Template) -> Result<(), Box<dyn std::error::Error>> {
/// let pool = template.pool(2).publish("tests").wait()?;
/// println!("{} are ready", pool.pool().wait_until_filled().wait());
/// pool.wait_until_stopped().wait();
/// # Ok(())
/// # }
/// ```
pub struct SharedPool {
    host: Arc<Host>,
    publication: PoolPublication,
    name: String,
}

/// Starts a pool, and publishes it; made by [`PoolBuilder::publish`].
///
/// # Errors
/// [`TemplateError::Publish`], if a living pool has this name, or none can have
/// it. Otherwise as for [`PoolBuilder::start`].
///
/// # Cancel safety
/// If the future is dropped, nothing is published.
#[derive(Debug)]
#[must_use = "nothing is published until awaited or waited for"]
pub struct PublishPool {
    builder: PoolBuilder,
    name: String,
}

operation!(PublishPool => Result<SharedPool, TemplateError>);

/// The pool, for the clients.
struct Host {
    pool: Pool,
    engine: &'static Engine,
    /// Those that were taken, and run.
    taken: Watched<Vec<TakenMachine>>,
    is_stopped: Watched<bool>,
    this: std::sync::Weak<Self>,
}

/// A machine that was taken.
struct TakenMachine {
    vm: Machine,
    /// Lets the program that took it freeze it.
    offer: Option<FreezeOffer>,
}

impl PoolBuilder {
    /// Starts the pool, and publishes it by this name.
    pub fn publish(self, name: impl Into<String>) -> PublishPool {
        PublishPool {
            builder: self,
            name: name.into(),
        }
    }
}

impl PublishPool {
    async fn run(self) -> Result<SharedPool, TemplateError> {
        let Self { builder, name } = self;
        let mut publication = PoolPublication::prepare(&name)
            .await
            .map_err(TemplateError::Publish)?;
        let pool = builder.start_as(Some(name.clone()))?;
        let engine = pool.engine();
        let host = Arc::new_cyclic(|this| Host {
            pool,
            engine,
            taken: Watched::default(),
            is_stopped: Watched::default(),
            this: this.clone(),
        });
        let owner: Arc<dyn PoolOwner> = Arc::clone(&host) as _;
        publication.serve(engine, &owner);
        Ok(SharedPool {
            host,
            publication,
            name,
        })
    }
}

impl SharedPool {
    /// The pool's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The pool. A machine that is taken from it here is not listed as taken.
    pub fn pool(&self) -> &Pool {
        &self.host.pool
    }

    /// Waits until another program asks for the end of the pool:
    /// [`PublishedPool::stop`](crate::registry::PublishedPool::stop). The caller
    /// then drops it.
    pub async fn wait_until_stopped(&self) {
        let is_stopped = |&it: &bool| it.then_some(());
        self.host.is_stopped.until(is_stopped).await;
    }
}

impl Drop for SharedPool {
    fn drop(&mut self) {
        if !self.host.engine.is_of_this_process() {
            return;
        }
        self.publication.close();
        let mut taken = self.host.taken.change(std::mem::take);
        for it in &mut taken {
            it.offer = None;
        }
        for TakenMachine { vm, .. } in &taken {
            vm.inner.is_reported.store(true, Ordering::Relaxed);
            vm.inner.request(Request::End(Ladder::kill()));
        }
        self.host.pool.close();
    }
}

impl fmt::Debug for SharedPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("SharedPool");
        debug.field("name", &self.name);
        debug.field("pool", &self.host.pool).finish_non_exhaustive()
    }
}

impl PoolOwner for Host {
    fn take(&self) -> Pin<Box<dyn Future<Output = Result<Taken, String>> + Send>> {
        let (take, host) = (self.pool.take(), self.this.clone());
        Box::pin(async move {
            let taken = take.await.and_then(TakenMachine::of);
            let taken = taken.map_err(|error| error.to_string())?;
            Ok(Taken {
                name: taken.vm.name().to_owned(),
                keep: Box::new(move || {
                    if let Some(host) = host.upgrade() {
                        host.keep(taken);
                    }
                }),
            })
        })
    }

    fn status(&self) -> Value {
        let taken = |taken: &Vec<TakenMachine>| {
            let running = taken.iter().filter(|it| it.vm.is_running());
            let names = running.map(|it| it.vm.name().to_owned());
            names.collect::<Vec<_>>()
        };
        json!({
            "owner_pid": std::process::id(),
            "template": self.pool.template_path().to_string_lossy(),
            "size": self.pool.size(),
            "ready": self.pool.ready(),
            "taken": self.taken.look(taken),
        })
    }

    fn stop(&self) {
        self.is_stopped.set(true);
    }
}

impl TakenMachine {
    fn of(vm: Machine) -> Result<Self, TemplateError> {
        let is_freezable = vm.inner.freezable.is_some();
        let offer = is_freezable.then(|| vm.offer_freeze()).transpose()?;
        Ok(Self { vm, offer })
    }
}

impl Host {
    /// Keeps a machine until it ends.
    fn keep(&self, taken: TakenMachine) {
        let inner = &taken.vm.inner;
        // The taker ends it as it likes.
        inner.is_reported.store(true, Ordering::Relaxed);
        let (status, host) = (Arc::clone(&inner.status), self.this.clone());
        let frozen = taken.offer.as_ref().map(FreezeOffer::end);
        let name = taken.vm.name().to_owned();
        self.taken.change(|all| all.push(taken));
        self.engine.spawn(async move {
            let ended = |status: &Status| matches!(status, Status::Ended(_)).then_some(());
            status.until(ended).await;
            if let Some(frozen) = frozen {
                frozen.await;
            }
            if let Some(host) = host.upgrade() {
                let gone = |taken: &mut Vec<TakenMachine>| {
                    taken.extract_if(.., |it| it.vm.name() == name).collect()
                };
                let _gone: Vec<TakenMachine> = host.taken.change(gone);
            }
        });
    }
}
