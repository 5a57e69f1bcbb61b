//! The supervisor of one machine: a task on the engine, from the start of the
//! process to its end. It owns the process and its resources, and carries out
//! what [`Life`] decides.
//!
//! After the end of the process it does, in this order (`end`):
//!
//! - Kill the rest of the process group, and processes that left the group.
//! - Take the exit status.
//! - Read what is left in every channel.
//! - Remove the private log or directory.
//! - Close every descriptor.
//! - Notify all waiters, on the monitor, the consoles and the end, with one
//!   report.

mod end;
mod monitor;
mod publish;

use std::fs::File;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use qemu_qmp::command::{Quit, SystemPowerdown};
use qemu_qmp::supervise::Reader;
use qemu_qmp::{Client, Deadlines, Disconnected};
use qemu_qmp_engine::{self as engine, Engine, Span, Task, Watched, first, oneshot};
use tokio::sync::mpsc;

use monitor::{Monitor, Next};
use publish::served;

use crate::channel::Channel;
use crate::console::Console;
use crate::display::Canvas;
use crate::life::ExitReport;
use crate::life::ObservedState;
use crate::life::PausedForGood;
use crate::life::{Action, ExitDevices, HandshakeFailure, Ladder, Life, Rung};
use crate::output::OutputPipe;
use crate::output::TranscriptFile;
use crate::output::tee::Feed;
use crate::process::Process;
use crate::process::runtime_dir::{PrivateDirectory, PrivateLog};
use crate::registry::{Announcement, Publication, RegistryError};

/// A request to a supervisor.
pub(crate) enum Request {
    /// The handshake is done. Answered, unless the launch was given up.
    Ready(oneshot::Sender<()>),
    /// The handshake failed.
    HandshakeFailed(HandshakeFailure),
    /// The monitor, connected.
    Attach(Client, Reader),
    /// The machine is ready to be published.
    Publish(
        Box<Announcement>,
        oneshot::Sender<Result<(), RegistryError>>,
    ),
    /// A caller wants the machine to end.
    End(Ladder),
    /// A rung could not be tried, or QEMU refused it.
    Failed(Rung, String),
    /// The output of the guest before it was paused, or up to this reset, was
    /// read.
    GuestIsQuiet {
        /// How often the guest was reset.
        resets: u64,
    },
    /// The channel with this index has ended.
    ChannelEnded(usize),
    /// The events before the end of this channel were read.
    ChannelClosed(usize),
}

/// The state of a machine.
#[derive(Debug, Clone)]
pub(crate) enum Status {
    Alive,
    /// The guest is paused, and only a reset makes it run again.
    PausedForGood(PausedForGood),
    /// Killed, but not ended in time.
    Unkillable,
    Ended(Arc<ExitReport>),
}

/// What the supervisor owns.
pub(crate) struct Resources {
    pub(crate) name: String,
    pub(crate) process: Arc<Process>,
    pub(crate) started: Instant,
    pub(crate) deadlines: Deadlines,
    pub(crate) observed: ObservedState,
    pub(crate) output: OutputPipe,
    pub(crate) tees: Vec<Feed>,
    pub(crate) transcript_file: Option<TranscriptFile>,
    pub(crate) consoles: Vec<Console>,
    /// The consoles and all other channels.
    pub(crate) channels: Vec<Arc<dyn Channel>>,
    pub(crate) directory: Option<PrivateDirectory>,
    /// The file that is the guest's memory, if it is one.
    pub(crate) memory: Option<PathBuf>,
    pub(crate) private_log: Option<PrivateLog>,
    /// The folder of a published machine.
    pub(crate) publication: Option<Publication>,
    /// The lock on the template of a clone: it is in use until the machine ends.
    pub(crate) template_lock: Option<Arc<File>>,
    pub(crate) canvas: Arc<Canvas>,
    /// The log of the output of QEMU; `None` if it is private.
    pub(crate) log: Option<PathBuf>,
    /// The devices by which the guest can exit.
    pub(crate) exit_devices: ExitDevices,
}

/// The launcher's handle to the supervisor.
pub(crate) struct SupervisorHandle {
    pub(crate) requests: mpsc::UnboundedSender<Request>,
    pub(crate) status: Arc<Watched<Status>>,
    /// Notified when the deadline of the launch has passed.
    pub(crate) overdue: oneshot::Receiver<()>,
}

/// Supervises a process until its end. The handshake must finish within
/// `launch_limit`.
pub(crate) fn supervise(
    engine: &'static Engine,
    resources: Resources,
    launch_limit: Option<Duration>,
) -> SupervisorHandle {
    #[expect(
        clippy::disallowed_methods,
        reason = "the supervisor's task, on the engine, is all that receives"
    )]
    let (sender, requests) = mpsc::unbounded_channel();
    let status = Arc::new(Watched::new(Status::Alive));
    let (overdue, overdue_receiver) = oneshot::channel();
    let process = Arc::clone(&resources.process);
    let last_resort = KilledWhenDropped {
        engine,
        process: Arc::downgrade(&process),
        status: Arc::clone(&status),
    };
    let span = Span::machine(|| resources.name.clone());
    let exit = engine.spawn(async move { process.ended().await });
    let output = engine.spawn(resources.output.clone().pump());
    let channels = resources.channels.iter().enumerate();
    let pumps = channels.map(|(number, channel)| {
        let (channel, ended) = (Arc::clone(channel), sender.downgrade());
        engine.spawn(async move {
            channel.pump().await;
            if let Some(ended) = ended.upgrade() {
                let _ = ended.send(Request::ChannelEnded(number));
            }
        })
    });
    let pumps = pumps.collect();
    let supervisor = Supervisor {
        engine,
        life: Life::new(resources.deadlines.now(), launch_limit),
        resources,
        exit,
        output,
        pumps,
        monitor: None,
        own_requests: sender.downgrade(),
        status: Arc::clone(&status),
        pending: Vec::new(),
        overdue: Some(overdue),
        resets: 0,
    };
    engine.spawn(span.around(async move {
        let mut last_resort = last_resort;
        supervisor.run(requests).await;
        last_resort.disarm();
    }));
    SupervisorHandle {
        requests: sender,
        status,
        overdue: overdue_receiver,
    }
}

/// If the supervisor panics, this kills the process. After a normal end, it is
/// disarmed: a dropping thread may still hold the process, and the report stands.
struct KilledWhenDropped {
    engine: &'static Engine,
    process: Weak<Process>,
    status: Arc<Watched<Status>>,
}

impl KilledWhenDropped {
    fn disarm(&mut self) {
        self.process = Weak::new();
    }
}

impl Drop for KilledWhenDropped {
    fn drop(&mut self) {
        if let Some(process) = self.process.upgrade() {
            process.kill();
            // No report will follow.
            self.status.set(Status::Unkillable);
            self.engine.spawn(async move {
                process.ended().await;
                process.end().await;
            });
        }
    }
}

struct Supervisor {
    engine: &'static Engine,
    life: Life,
    resources: Resources,
    exit: Task<()>,
    output: Task<()>,
    /// The tasks that read the channels.
    pumps: Vec<Task<()>>,
    monitor: Option<Monitor>,
    /// For requests from its own tasks. It does not keep the machine alive.
    own_requests: mpsc::WeakUnboundedSender<Request>,
    status: Arc<Watched<Status>>,
    /// Tasks that wait for replies of the monitor.
    pending: Vec<Task<()>>,
    /// Notifies the launch, once, that its deadline has passed.
    overdue: Option<oneshot::Sender<()>>,
    /// How many resets of the guest were processed.
    resets: u64,
}

enum Input {
    Exited,
    Request(Request),
    Monitor(Next),
    Deadline,
}

impl Supervisor {
    async fn run(mut self, mut requests: mpsc::UnboundedReceiver<Request>) {
        loop {
            while let Some(action) = self.life.poll_action() {
                self.carry_out(action);
            }
            match self.next_input(&mut requests).await {
                Input::Exited => break,
                Input::Deadline => self.life.handle_timeout(self.now()),
                Input::Request(request) => self.requested(request),
                Input::Monitor(Next::Ended(cause)) => self.monitor_ended(&cause),
                Input::Monitor(Next::News) => self.guest_changed(),
            }
        }
        self.finish(requests).await;
    }

    async fn next_input(&mut self, requests: &mut mpsc::UnboundedReceiver<Request>) -> Input {
        let deadlines = self.resources.deadlines.clone();
        let deadline = self.life.deadline();
        let limit = deadline.map(|at| at.saturating_duration_since(deadlines.now()));
        // Each future is pinned here, so that `first` holds only pointers. A
        // combined future that holds others by value has twice their size.
        let exit = pin!(async {
            (&mut self.exit).await;
            Input::Exited
        });
        let monitor = pin!(async {
            match &mut self.monitor {
                Some(monitor) => Input::Monitor(monitor.next().await),
                None => std::future::pending().await,
            }
        });
        let request = pin!(async {
            match requests.recv().await {
                Some(request) => Input::Request(request),
                // Every handle is gone. Its drop requested the end.
                None => std::future::pending().await,
            }
        });
        // The exit first: other ends are part of it.
        let other = pin!(first(monitor, request));
        let input = pin!(first(exit, other));
        deadlines
            .timeout(limit, input)
            .await
            .unwrap_or(Input::Deadline)
    }

    /// The time of the deadlines of the machine.
    fn now(&self) -> Instant {
        self.resources.deadlines.now()
    }

    fn requested(&mut self, request: Request) {
        let now = self.now();
        match request {
            Request::Ready(answer) => {
                if self.life.ready() {
                    // If the caller is gone, the machine was dropped.
                    let _ = answer.send(());
                }
            }
            Request::HandshakeFailed(how) => self.life.handshake_failed(now, how),
            Request::Attach(client, reader) => self.attach(client, reader),
            Request::Publish(announcement, answer) => {
                let published = self.publish(*announcement);
                // If the caller is gone, the machine was dropped.
                let _ = answer.send(published);
            }
            // The process ended before this request.
            Request::End(_) if self.resources.process.has_ended() => {}
            Request::End(ladder) => self.life.end(now, ladder),
            Request::Failed(rung, why) => self.life.failed(now, rung, why),
            Request::ChannelEnded(number) => self.channel_ended(number),
            Request::ChannelClosed(number) => {
                if !self.is_ending() {
                    self.resources.channels[number].closed();
                }
            }
            Request::GuestIsQuiet { resets } => {
                let observed = &self.resources.observed;
                observed.settle_resets(resets);
                self.publish_guest(observed.paused_for_good());
            }
        }
    }

    fn attach(&mut self, client: Client, reader: Reader) {
        let Resources {
            observed, channels, ..
        } = &self.resources;
        let (observed, channels) = (observed.clone(), channels.clone());
        self.monitor = Some(Monitor::attach(
            self.engine,
            client,
            reader,
            observed,
            channels,
        ));
    }

    fn publish(&mut self, announcement: Announcement) -> Result<(), RegistryError> {
        let owner = self.owner();
        let Resources {
            publication,
            consoles,
            started,
            ..
        } = &mut self.resources;
        let Some(publication) = publication else {
            return Ok(());
        };
        let monitor = self.monitor.as_ref();
        let monitor = monitor.map(|monitor| monitor.client.clone());
        let served = served(announcement, owner, *started, monitor, consoles);
        publication.announce(self.engine, served)
    }

    /// QEMU reports its end on the monitor before it closes the channels. So
    /// the monitor is read first, even if another thread reads it.
    fn channel_ended(&mut self, number: usize) {
        let Some(reader) = self.monitor.as_ref().and_then(Monitor::reading) else {
            self.requested(Request::ChannelClosed(number));
            return;
        };
        let drained = async move { reader.drained().await };
        self.request_after(drained, Request::ChannelClosed(number));
    }

    fn monitor_ended(&mut self, cause: &Disconnected) {
        // While the machine ends, the waiters get that end instead.
        if let Some(monitor) = &self.monitor
            && !self.is_ending()
        {
            let name = &self.resources.name;
            engine::log(log::Level::Warn, module_path!(), || {
                format!("machine '{name}': continues without a monitor: {cause}")
            });
            monitor.finish();
        }
    }

    /// Processes a change of the guest. A paused guest prints nothing more, and
    /// will not end by itself. A reset guest has lost its earlier state. The
    /// waiters are notified when the last output was read.
    fn guest_changed(&mut self) {
        let observed = &self.resources.observed;
        let (paused, resets) = (observed.paused_for_good(), observed.resets());
        if paused.is_some() {
            self.life.guest_paused(self.now());
        } else {
            self.publish_guest(None);
            if resets == self.resets {
                return;
            }
        }
        self.resets = resets;
        let channels = self.resources.channels.clone();
        let drained = async move {
            for channel in channels {
                channel.drained().await;
            }
        };
        self.request_after(drained, Request::GuestIsQuiet { resets });
    }

    /// Makes a request to itself, after `work`.
    fn request_after(&mut self, work: impl Future<Output = ()> + Send + 'static, request: Request) {
        let requests = self.own_requests.clone();
        self.keep(self.engine.spawn(async move {
            work.await;
            if let Some(requests) = requests.upgrade() {
                let _ = requests.send(request);
            }
        }));
    }

    /// Keeps a task, so that it ends before the machine does.
    fn keep(&mut self, task: Task<()>) {
        self.pending.retain(|task| !task.is_finished());
        self.pending.push(task);
    }

    fn publish_guest(&self, paused: Option<PausedForGood>) {
        let previous = self.status.look(|status| match status {
            Status::PausedForGood(paused) => Some(Some(paused.clone())),
            Status::Alive => Some(None),
            Status::Unkillable | Status::Ended(_) => None,
        });
        if previous.is_none_or(|previous| previous == paused) {
            return;
        }
        for channel in &self.resources.channels {
            channel.guest_paused(paused.as_ref());
        }
        let status = paused.map_or(Status::Alive, Status::PausedForGood);
        self.status.set(status);
    }

    /// Whether the end is near. QEMU closes its monitor and its console before
    /// it ends, but may also close them and continue. Waiters on them must get
    /// the end, not its symptom. QEMU announces its end, and the kernel knows
    /// an end that was not announced.
    fn is_ending(&self) -> bool {
        self.resources.observed.shutdown().is_some() || self.resources.process.is_ending()
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::GiveUpLaunch => {
                if let Some(overdue) = self.overdue.take() {
                    let _ = overdue.send(());
                }
            }
            // A paused guest cannot react, so it is not asked.
            Action::Try(Rung::Guest | Rung::Powerdown)
                if self.resources.observed.paused_for_good().is_some() =>
            {
                self.life.guest_paused(self.now());
            }
            Action::Try(Rung::Guest) => {}
            Action::Try(rung @ (Rung::Powerdown | Rung::Quit)) => self.execute_rung(rung),
            Action::Try(Rung::Terminate) => self.resources.process.terminate(),
            Action::Try(Rung::Kill) => self.resources.process.kill(),
            Action::GiveUpWaiting => self.status.set(Status::Unkillable),
        }
    }

    fn execute_rung(&mut self, rung: Rung) {
        let client = match &self.monitor {
            Some(Monitor { client, .. }) if client.disconnected().is_none() => client.clone(),
            _ => {
                let why = "the machine has no monitor".to_owned();
                self.life.failed(self.now(), rung, why);
                return;
            }
        };
        let requests = self.own_requests.clone();
        self.keep(self.engine.spawn(async move {
            let reply = match rung {
                Rung::Powerdown => client.execute(SystemPowerdown).timeout(None).await,
                _ => client.execute(Quit).timeout(None).await,
            };
            // The end of the machine shows the effect, not the reply: if QEMU
            // closes the monitor now, it is probably ending.
            if let (Err(error), Some(requests)) = (reply, requests.upgrade())
                && error.disconnected().is_none()
            {
                let _ = requests.send(Request::Failed(rung, error.to_string()));
            }
        }));
    }
}
