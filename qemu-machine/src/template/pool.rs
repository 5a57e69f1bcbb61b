//! Clones that are ready before they are asked for.
//!
//! ```text
//!            +--------- refill (engine): launch -> wake -> warm-up --------+
//!            v                                                            |
//! ready: [Machine, Machine, …] --take--> caller          fewer than wanted, and room
//!            | empty
//!            +--take: launch -> wake -> warm-up, in the caller's task
//! ```
//!
//! A machine is handed out once, and never taken back.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use qemu_qmp::Events;
use qemu_qmp_engine::{self as engine, Either, Engine, Watched, operation, race, timeout_option};

use super::{Template, TemplateError};
use crate::Machine;
use crate::life::Ladder;
use crate::machine::Inner;
use crate::process::space;
use crate::spec::MachineBuilder;
use crate::supervise::Request;

/// Clones of a template that are kept ready in the background: launched, awake
/// and warm. Its drop ends those that were not handed out.
///
/// If this process dies, the clones end as every machine does.
///
/// # Examples
/// ```no_run
/// use qemu_machine::template::Template;
/// use qemu_machine::Wait;
///
/// # fn tests(template: &Template) -> Result<(), Box<dyn std::error::Error>> {
/// let pool = template.pool(2).warm_up(|vm| async move {
///     vm.wake().await?;
///     Ok(())
/// });
/// let pool = pool.start()?;
/// for _ in 0..10 {
///     let vm = pool.take().wait()?;
///     let mut shell = vm.console().shell().wait()?;
///     shell.run("true").wait()?;
///     vm.kill().wait()?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
}

/// Describes a pool; made by [`Template::pool`].
#[must_use = "a pool does nothing until it is started"]
pub struct PoolBuilder {
    template: Template,
    size: usize,
    warm_up: Option<WarmUp>,
    machine: Option<Describe>,
    at_once: usize,
}

type Describe = Box<dyn Fn(MachineBuilder) -> MachineBuilder + Send + Sync>;
type WarmUp = Box<dyn Fn(Machine) -> BoxFuture<Result<(), BoxError>> + Send + Sync>;
type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type BoxError = Box<dyn Error + Send + Sync>;

impl Template {
    /// Makes a pool that keeps `size` clones ready.
    pub fn pool(&self, size: usize) -> PoolBuilder {
        PoolBuilder {
            template: self.clone(),
            size,
            warm_up: None,
            machine: None,
            at_once: thread::available_parallelism().map_or(1, |it| it.get().div_ceil(2)),
        }
    }
}

impl PoolBuilder {
    /// Runs this in each clone before it is ready: wakes it, and runs the
    /// programs that the caller will run. Under TCG, their translated code is
    /// there then.
    pub fn warm_up<F, R>(mut self, warm_up: F) -> Self
    where
        F: Fn(Machine) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        self.warm_up = Some(Box::new(move |vm| Box::pin(warm_up(vm))));
        self
    }

    /// Describes each clone further: its logs, its environment, the backends of
    /// its network.
    pub fn machine<F>(mut self, describe: F) -> Self
    where
        F: Fn(MachineBuilder) -> MachineBuilder + Send + Sync + 'static,
    {
        self.machine = Some(Box::new(describe));
        self
    }

    /// Sets how many clones are made at the same time, instead of one for two
    /// processors.
    pub fn at_once(mut self, count: usize) -> Self {
        self.at_once = count.max(1);
        self
    }

    /// Starts the pool. It fills in the background.
    ///
    /// # Errors
    /// [`TemplateError::File`], if this process cannot start a thread.
    pub fn start(self) -> Result<Pool, TemplateError> {
        self.start_as(None)
    }

    /// The same. If it has a name, its clones are published as `NAME-NUMBER`.
    pub(super) fn start_as(self, name: Option<String>) -> Result<Pool, TemplateError> {
        let engine = Engine::start().map_err(|cause| TemplateError::File {
            action: "start a thread for the pool of",
            path: self.template.path().to_owned(),
            cause: cause.into(),
        })?;
        let shared = Arc::new(Shared {
            engine,
            template: self.template,
            size: self.size,
            at_once: self.at_once,
            warm_up: self.warm_up,
            machine: self.machine,
            name,
            launched: AtomicU64::new(0),
            state: Watched::new(State::default()),
        });
        refill(&shared);
        Ok(Pool { shared })
    }
}

impl Pool {
    /// Takes a clone that is ready. If none is, it makes one.
    pub fn take(&self) -> Take {
        Take {
            shared: Arc::clone(&self.shared),
            timeout: self.shared.template.launch_timeout(),
        }
    }

    /// Waits until the pool is full, or until it cannot make more clones.
    /// Returns how many are ready.
    pub async fn wait_until_filled(&self) -> usize {
        let (size, state) = (self.shared.size, &self.shared.state);
        let filled = |state: &State| {
            let is_done = state.ready.len() >= size || state.making == 0;
            is_done.then_some(state.ready.len())
        };
        state.until(filled).await
    }

    /// How many clones are ready.
    pub fn ready(&self) -> usize {
        let is_running = |state: &State| state.ready.iter().filter(|it| it.is_running()).count();
        self.shared.state.look(is_running)
    }

    /// How many clones it keeps ready.
    pub(super) fn size(&self) -> usize {
        self.shared.size
    }

    pub(super) fn template_path(&self) -> &Path {
        self.shared.template.path()
    }

    pub(super) fn engine(&self) -> &'static Engine {
        self.shared.engine
    }

    /// Ends the clones that are ready, and makes no more.
    pub(super) fn close(&self) {
        let ready = self.shared.state.change(|state| {
            state.is_closed = true;
            std::mem::take(&mut state.ready)
        });
        for vm in &ready {
            vm.inner.is_reported.store(true, Ordering::Relaxed);
            vm.inner.request(Request::End(Ladder::kill()));
        }
        // Each waits for its end.
        drop(ready);
        let engine = self.shared.engine;
        if engine.is_current_thread() {
            return;
        }
        // Then no task has the template.
        let tasks_ended = async {
            let is_idle = |state: &State| (state.making == 0).then_some(());
            self.shared.state.until(is_idle).await;
            engine.spawn(async {}).await;
        };
        engine::wait_at_most(CLOSING, tasks_ended);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if self.shared.engine.is_of_this_process() {
            self.close();
        }
    }
}

/// Takes a clone; made by [`Pool::take`].
///
/// # Errors
/// [`TemplateError::Launch`] or [`TemplateError::SetUp`], if no clone was ready
/// and none could be made.
///
/// # Cancel safety
/// If the future is dropped, no clone is lost: it ends, or stays in the pool.
#[derive(Debug)]
#[must_use = "nothing is taken until awaited or waited for"]
pub struct Take {
    shared: Arc<Shared>,
    timeout: Option<Duration>,
}

timeout_option!(Take, timeout);

operation!(Take => Result<Machine, TemplateError>);

impl Take {
    async fn run(self) -> Result<Machine, TemplateError> {
        while let Some(vm) = self.shared.pop() {
            refill(&self.shared);
            // It may have been killed from outside.
            if vm.is_running() {
                return Ok(vm);
            }
        }
        match engine::timeout(self.timeout, self.shared.make()).await {
            Ok(made) => made,
            Err(engine::Elapsed(limit)) => Err(TemplateError::Timeout { limit }),
        }
    }
}

/// What the pool and its tasks share.
struct Shared {
    engine: &'static Engine,
    template: Template,
    size: usize,
    at_once: usize,
    warm_up: Option<WarmUp>,
    machine: Option<Describe>,
    /// The name of a published pool.
    name: Option<String>,
    /// How many clones were launched.
    launched: AtomicU64,
    state: Watched<State>,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Machine>,
    /// How many are being made.
    making: usize,
    /// A clone that could not be made stops the refill, until one is taken.
    has_failed: bool,
    /// How many clones ended before somebody took them, since one was taken.
    ended: usize,
    is_closed: bool,
}

impl State {
    /// How many more to make now.
    fn missing(&self, size: usize, at_once: usize) -> usize {
        if self.is_closed || self.has_failed {
            return 0;
        }
        let wanted = size.saturating_sub(self.ready.len() + self.making);
        wanted.min(at_once.saturating_sub(self.making))
    }
}

impl Shared {
    fn pop(&self) -> Option<Machine> {
        self.state.change(|state| {
            state.has_failed = false;
            state.ended = 0;
            state.ready.pop_front()
        })
    }

    /// Describes the next clone.
    fn next_machine(&self) -> MachineBuilder {
        let mut machine = self.template.machine();
        if let Some(name) = &self.name {
            let number = self.launched.fetch_add(1, Ordering::Relaxed) + 1;
            machine = machine.name(format!("{name}-{number}")).publish();
        }
        match &self.machine {
            Some(describe) => describe(machine),
            None => machine,
        }
    }

    /// Waits until the pool ends.
    fn closed(self: &Arc<Self>) -> impl Future<Output = ()> + Send + 'static {
        let shared = Arc::clone(self);
        async move {
            let is_closed = |state: &State| state.is_closed.then_some(());
            shared.state.until(is_closed).await;
        }
    }

    /// Makes a clone that is ready. If the pool ends first, nothing is left when
    /// this returns.
    async fn make(self: &Arc<Self>) -> Result<Machine, TemplateError> {
        let launch = self.next_machine().launch().cancel_on(self.closed());
        let vm = launch.await.map_err(TemplateError::Launch)?;
        let Some(warm_up) = &self.warm_up else {
            return Ok(vm);
        };
        match race(warm_up(vm.clone()), self.closed()).await {
            Either::Left(Ok(())) => Ok(vm),
            Either::Left(Err(cause)) => Err(TemplateError::SetUp(Arc::from(cause))),
            Either::Right(()) => {
                vm.inner.is_reported.store(true, Ordering::Relaxed);
                vm.inner.request(Request::End(Ladder::kill()));
                vm.inner.settled().await;
                Err(TemplateError::PoolEnded)
            }
        }
    }

    /// Makes a clone for the pool, unless the pool ends first. Returns whether
    /// another one is missing.
    async fn make_for_pool(self: &Arc<Self>) -> bool {
        // A clone may write to all of its memory.
        let needed = self.template.memory_bytes();
        let has_room = space::available_bytes().is_none_or(|available| available >= needed);
        let made = if has_room {
            Some(self.make().await)
        } else {
            None
        };
        let is_closed = self.state.look(|state| state.is_closed);
        if let (Some(Err(error)), false) = (&made, is_closed) {
            engine::log(log::Level::Warn, module_path!(), || {
                format!("a pool cannot make a clone: {error}")
            });
        }
        let end = made.as_ref().and_then(|made| made.as_ref().ok()).map(|vm| {
            let events = vm.monitor().events_named(["SHUTDOWN"]);
            replace_ended(Arc::downgrade(self), Arc::downgrade(&vm.inner), events)
        });
        // A machine that is dropped on this thread, the engine's, ends in the
        // background.
        let (goes_on, _unwanted) = self.state.change(|state| {
            state.has_failed |= matches!(made, Some(Err(_)));
            let unwanted = match made {
                Some(Ok(vm)) if !state.is_closed => {
                    state.ready.push_back(vm);
                    None
                }
                made => made,
            };
            state.making -= 1;
            let goes_on = has_room && state.missing(self.size, self.at_once) > 0;
            state.making += usize::from(goes_on);
            (goes_on, unwanted)
        });
        if let Some(end) = end {
            self.engine.spawn(end);
        }
        goes_on
    }
}

/// Waits for the end of a clone. If it was still in the pool, another one takes
/// its place. If that happens again and again, only a `take` goes on.
async fn replace_ended(shared: Weak<Shared>, vm: Weak<Inner>, mut events: Events) {
    while events.next().timeout(None).await.is_ok() {}
    let Some(shared) = shared.upgrade() else {
        return;
    };
    let ended = shared.state.change(|state| {
        let is_it = |ready: &Machine| ptr::eq(Arc::as_ptr(&ready.inner), vm.as_ptr());
        let at = state.ready.iter().position(is_it)?;
        state.ended += 1;
        state.has_failed |= state.ended > shared.size;
        state.ready.remove(at)
    });
    if ended.is_some() {
        refill(&shared);
    }
}

/// Starts to make what is missing.
fn refill(shared: &Arc<Shared>) {
    let missing = shared.state.change(|state| {
        let missing = state.missing(shared.size, shared.at_once);
        state.making += missing;
        missing
    });
    for _ in 0..missing {
        let shared = Arc::clone(shared);
        shared
            .engine
            .spawn(async move { while shared.make_for_pool().await {} });
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Pool");
        debug.field("template", &self.template.path());
        debug.field("size", &self.size).finish_non_exhaustive()
    }
}

impl fmt::Debug for PoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("PoolBuilder");
        debug.field("template", &self.template.path());
        debug.field("size", &self.size).finish_non_exhaustive()
    }
}

/// How long the end of a pool waits for the machines that are not ready yet.
const CLOSING: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_made_than_is_missing_or_may_be_made_at_once() {
        let state = |making, has_failed, is_closed| State {
            making,
            has_failed,
            is_closed,
            ..State::default()
        };
        assert_eq!(state(0, false, false).missing(5, 2), 2);
        assert_eq!(state(1, false, false).missing(5, 2), 1);
        assert_eq!(state(2, false, false).missing(5, 2), 0);
        assert_eq!(state(1, false, false).missing(1, 2), 0);
        assert_eq!(state(0, true, false).missing(5, 2), 0);
        assert_eq!(state(0, false, true).missing(5, 2), 0);
    }
}
