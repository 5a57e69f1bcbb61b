//! The operation: races the handshake against the end of the process and the
//! deadline.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use qemu_qmp::Disconnected;
use qemu_qmp_engine::{Either, Engine, Span, first, oneshot, operation, race, timeout_option};

use super::announcement::announcement;
use super::cancel::Cancel;
use super::handshake::Handshake;
use super::layer;
use super::start::{StartedMachine, start};
use super::verdict::verdict;
use super::{LaunchError, LaunchFailure};
use crate::life::{ExitReport, HandshakeFailure, Ladder};
use crate::machine::Machine;
use crate::registry::Publication;
use crate::spec::{CommandLine, MachineBuilder, MachineSpec};
use crate::supervise::Request;

/// Launches a machine; made by [`MachineBuilder::launch`].
///
/// # Errors
/// [`LaunchError`], with the command line, the end of the process, and its
/// output. Nothing of the machine is left.
///
/// # Cancel safety
/// If the future is dropped, the process is ended in the background, and
/// nothing of it is left. To wait until nothing is left, give the launch up by
/// [`cancel_on`](Self::cancel_on) instead.
#[derive(Debug)]
#[must_use = "nothing is launched until awaited or waited for"]
pub struct Launch {
    spec: MachineSpec,
    timeout: Option<Duration>,
    cancel: Cancel,
}

impl MachineBuilder {
    /// Launches the machine. Nothing happens until the operation is awaited or
    /// waited for.
    pub fn launch(&self) -> Launch {
        let spec = self.spec().clone();
        Launch {
            timeout: spec.launch_timeout,
            spec,
            cancel: Cancel::default(),
        }
    }
}

impl Launch {
    /// Gives the launch up when this future ends. The process is killed, and
    /// the launch fails with [`LaunchFailure::Cancelled`] once nothing is left.
    /// A launch that is done before that returns its machine.
    ///
    /// The caller of the launch polls the future.
    ///
    /// # Examples
    /// ```no_run
    /// use qemu_machine::{Machine, Wait};
    ///
    /// # async fn until_ctrl_c() {}
    /// let launch = Machine::builder("qemu-system-x86_64").launch();
    /// // The error of a cancelled launch: nothing is left.
    /// let launched = launch.cancel_on(until_ctrl_c()).wait();
    /// ```
    pub fn cancel_on(mut self, given_up: impl Future<Output = ()> + Send + 'static) -> Self {
        self.cancel = Cancel::on(given_up);
        self
    }
}

timeout_option!(Launch, timeout);

operation!(Launch => Result<Machine, LaunchError>);

impl Launch {
    async fn run(self) -> Result<Machine, LaunchError> {
        let attempt = Attempt {
            name: self.spec.name_or_new(),
            begun: Instant::now(),
        };
        let no_engine = |cause| LaunchFailure::Resources {
            action: "start a thread",
            cause: Arc::new(cause),
        };
        let engine = match Engine::start() {
            Ok(engine) => engine,
            Err(error) => return Err(attempt.failed(no_engine(error))),
        };
        let (sender, launched) = oneshot::channel();
        let (order, cancelled) = oneshot::channel();
        let name = attempt.name.clone();
        // The thread of the engine must start the process: the kernel kills the
        // process when the thread that started it ends.
        engine.spawn(async move {
            let (mut sender, spec) = (sender, self.spec);
            let span = Span::launch(|| attempt.name.clone());
            let launch = span.around(launch(engine, &spec, self.timeout, cancelled, attempt));
            let raced = race(launch, sender.closed()).await;
            // It may hold a template, which is the caller's alone after this.
            drop(spec);
            if let Either::Left(result) = raced {
                // If the caller is gone, the machine is dropped, and ends.
                let _ = sender.send(result.map(|vm| Undelivered(Some(vm))));
            }
        });
        let mut launched = pin!(launched);
        let delivered = match race(launched.as_mut(), self.cancel.requested()).await {
            Either::Left(delivered) => delivered,
            Either::Right(()) => {
                let _ = order.send(());
                launched.await
            }
        };
        let delivered = delivered.map(|launched| {
            let vm = |mut vm: Undelivered| vm.0.take().expect("delivered once");
            launched.map(vm)
        });
        delivered.unwrap_or_else(|_| {
            let cause = io::Error::other("the engine dropped the launch");
            Err(Attempt {
                name,
                begun: Instant::now(),
            }
            .failed(no_engine(cause)))
        })
    }
}

/// A machine before the caller has it. If the caller drops the launch, the
/// machine is ended in the background: the caller may be in an async task,
/// which must not block.
struct Undelivered(Option<Machine>);

impl Drop for Undelivered {
    fn drop(&mut self) {
        if let Some(vm) = &self.0 {
            vm.inner.end_in_background();
        }
    }
}

/// What every error of this launch contains.
pub(super) struct Attempt {
    pub(super) name: String,
    begun: Instant,
}

impl Attempt {
    pub(super) fn failed(&self, failure: LaunchFailure) -> LaunchError {
        self.failed_with(failure, None, None)
    }

    pub(super) fn failed_with(
        &self,
        failure: LaunchFailure,
        command_line: Option<CommandLine>,
        report: Option<Arc<ExitReport>>,
    ) -> LaunchError {
        let Self { name, begun } = self;
        LaunchError {
            name: name.clone(),
            failure: Box::new(failure),
            command_line,
            report,
            elapsed: begun.elapsed(),
        }
    }
}

async fn launch(
    engine: &'static Engine,
    spec: &MachineSpec,
    timeout: Option<Duration>,
    given_up: oneshot::Receiver<()>,
    attempt: Attempt,
) -> Result<Machine, LaunchError> {
    let publication = if spec.is_published {
        Some(publish(spec, &attempt).await?)
    } else {
        None
    };
    let layer = layer::prepare(spec).await;
    let layer = layer.map_err(|error| attempt.failed(error))?;
    let StartedMachine {
        inner,
        console,
        handles,
        connection,
        readiness,
        overdue,
    } = start(engine, spec, timeout, &attempt, publication, layer)?;
    let overdue = async {
        match overdue.await {
            Ok(()) => Interruption::Overdue,
            // The process has ended.
            Err(_) => std::future::pending().await,
        }
    };
    let ended = async {
        inner.ended().await;
        Interruption::Ended
    };
    let announcement = announcement(spec, &inner, &console, &handles);
    let mut handshake = Handshake::new(spec.guest_start(), spec.image.clone(), announcement);
    let given_up = async {
        match given_up.await {
            Ok(()) => Interruption::GivenUp,
            // The caller has left, or will not give up.
            Err(_) => std::future::pending().await,
        }
    };
    let result = handshake.run(&inner, connection, &console, &handles, readiness);
    let failure = match race(first(first(overdue, ended), given_up), result).await {
        Either::Right(Ok(())) => None,
        Either::Right(Err(failure)) => {
            inner.request(Request::HandshakeFailed(match failure {
                LaunchFailure::NoMonitor(Disconnected::ByServer) => HandshakeFailure::Closed,
                _ => HandshakeFailure::Broken,
            }));
            Some(failure)
        }
        Either::Left(Interruption::Ended) => Some(LaunchFailure::Exited),
        Either::Left(Interruption::Overdue) => Some(LaunchFailure::Timeout {
            limit: timeout.unwrap_or_default(),
            waited_for: handshake.waited_for,
        }),
        Either::Left(Interruption::GivenUp) => {
            inner.request(Request::End(Ladder::kill()));
            Some(LaunchFailure::Cancelled)
        }
    };
    let Handshake {
        client, guest_ran, ..
    } = handshake;
    let report = match failure {
        None => None,
        Some(_) => inner.settled().await,
    };
    let failed = match (verdict(failure, guest_ran, report.as_deref()), client) {
        (Ok(()), Some(monitor)) => {
            return Ok(Machine {
                inner,
                monitor,
                console,
                handles: Arc::new(handles),
            });
        }
        // The process ended before the monitor was connected.
        (Ok(()), None) => LaunchFailure::Exited,
        (Err(failure), _) => failure,
    };
    // The error contains the report.
    inner.is_reported.store(true, Ordering::Relaxed);
    let command_line = Some(inner.command_line.clone());
    Err(attempt.failed_with(failed, command_line, report))
}

async fn publish(spec: &MachineSpec, attempt: &Attempt) -> Result<Publication, LaunchError> {
    let prepared = Publication::prepare(spec, &attempt.name).await;
    prepared.map_err(|error| attempt.failed(LaunchFailure::Publish(error)))
}

/// What can interrupt the handshake.
enum Interruption {
    /// The deadline has passed, and the process is being killed.
    Overdue,
    Ended,
    /// The caller cancelled the launch.
    GivenUp,
}
