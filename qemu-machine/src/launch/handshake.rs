//! The handshake: from the connection of the monitor to a running guest.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use qemu_qmp::command::{Cont, QueryStatus};
use qemu_qmp::supervise;
use qemu_qmp::wire::Settings;
use qemu_qmp::{Client, Disconnected, Transcript};
use qemu_qmp_engine::{debug_is_display, oneshot};

use super::channels::Readiness;
use super::resources::MonitorSide;
use super::serial_ports::{SerialPort, all_have_devices};
use super::{LaunchFailure, template};
use crate::console::Console;
use crate::life::PauseReason;
use crate::machine::hardware::Hardware;
use crate::machine::{Handles, Inner};
use crate::qtest::Qtest;
use crate::registry::Announcement;
use crate::spec::{GuestStart, Image};
use crate::supervise::Request;

/// What the connection of the monitor needs.
pub(super) struct MonitorConnection {
    pub(super) side: MonitorSide,
    pub(super) settings: Settings,
    pub(super) transcript: Option<Transcript>,
    /// The serial ports that the consoles need.
    pub(super) serial_ports: Vec<SerialPort>,
}

/// The handshake and its progress.
pub(super) struct Handshake {
    start: GuestStart,
    image: Image,
    /// What a published machine says about itself.
    announcement: Option<Announcement>,
    /// What it is waiting for, for a timeout.
    pub(super) waited_for: &'static str,
    /// The monitor.
    pub(super) client: Option<Client>,
    /// Whether the guest was started.
    pub(super) guest_ran: bool,
}

impl Handshake {
    pub(super) fn new(start: GuestStart, image: Image, announcement: Option<Announcement>) -> Self {
        Self {
            start,
            image,
            announcement,
            waited_for: "connection to the monitor",
            client: None,
            guest_ran: start == GuestStart::AtOnce,
        }
    }

    /// Connects the monitor, waits until commands can be sent, and starts the
    /// guest.
    pub(super) async fn run(
        &mut self,
        inner: &Inner,
        monitor: MonitorConnection,
        console: &Console,
        handles: &Handles,
        mut readiness: Readiness,
    ) -> Result<(), LaunchFailure> {
        let MonitorConnection {
            side,
            settings,
            transcript,
            serial_ports,
        } = monitor;
        let (client, attached, mut monitor_ready) = self
            .connect(inner, side, settings, transcript, console)
            .await?;
        // A clone has the devices of the frozen machine. The commands that load
        // it follow the negotiation at once, which saves a round trip.
        let is_clone = self.start == GuestStart::Template;
        let mut ready_so_far = match (attached, is_clone) {
            (false, _) => true,
            (true, true) => monitor_ready.greeted().await,
            (true, false) => monitor_ready.wait().await,
        };
        if ready_so_far && attached && !is_clone {
            ready_so_far = all_have_devices(&client, &serial_ports).await?;
        }
        let mut last = &client;
        if ready_so_far {
            for (other, ready) in &mut readiness {
                self.waited_for = "greeting and negotiation on the other monitors";
                last = other;
                ready_so_far = ready.wait().await;
                if !ready_so_far {
                    break;
                }
            }
        }
        if ready_so_far {
            self.publish(inner).await?;
        }
        if ready_so_far && self.start == GuestStart::Driven {
            self.waited_for = "reply on the qtest channel";
            handles.qtest.ask_for_clock().await;
        }
        if ready_so_far && attached {
            self.waited_for = "reply on the monitor";
            last = &client;
            ready_so_far = self.start_guest(inner, &client, &handles.qtest).await?;
        }
        if ready_so_far {
            let (answer, answered) = oneshot::channel();
            inner.request(Request::Ready(answer));
            return match answered.await {
                Ok(()) => Ok(()),
                Err(_) => std::future::pending().await,
            };
        }
        let cause = last.disconnected().unwrap_or(Disconnected::ByServer);
        if let Disconnected::ServerEnded(_) = cause {
            return Err(LaunchFailure::Exited);
        }
        Err(LaunchFailure::NoMonitor(cause))
    }

    /// Connects the monitor. Returns also whether there is one.
    async fn connect(
        &mut self,
        inner: &Inner,
        side: MonitorSide,
        settings: Settings,
        transcript: Option<Transcript>,
        console: &Console,
    ) -> Result<(Client, bool, supervise::ReadySignal), LaunchFailure> {
        let resources = |cause| LaunchFailure::Resources {
            action: "set up the monitor",
            cause: Arc::new(cause),
        };
        let (socket, attached) = match side {
            MonitorSide::Off(socket) => (socket.into(), false),
            MonitorSide::Connected(socket) => (socket.into(), true),
            MonitorSide::Listening(listener) => {
                (supervise::accept(listener).await.map_err(resources)?, true)
            }
        };
        let (deadlines, context) = (inner.deadlines.clone(), Arc::new(console.context()));
        let (client, reader, ready) =
            supervise::monitor(socket, settings, deadlines, context, transcript)
                .map_err(resources)?;
        let client = self.client.insert(client).clone();
        if attached {
            inner.request(Request::Attach(client.clone(), reader));
            self.waited_for = "greeting and negotiation on the monitor";
        } else {
            let cause = Disconnected::ServerEnded(Arc::new(NoMonitor));
            reader.end(&cause).notify();
        }
        Ok((client, attached, ready))
    }

    /// Makes a published machine visible. The guest does not run yet, so that a
    /// failure here fails the launch.
    async fn publish(&mut self, inner: &Inner) -> Result<(), LaunchFailure> {
        let Some(announcement) = self.announcement.take() else {
            return Ok(());
        };
        let (answer, answered) = oneshot::channel();
        inner.request(Request::Publish(Box::new(announcement), answer));
        match answered.await {
            Ok(published) => published.map_err(LaunchFailure::Publish),
            // The machine has ended.
            Err(_) => std::future::pending().await,
        }
    }

    /// Starts the guest, or finds out why it is paused. Returns `false` if the
    /// monitor was lost.
    async fn start_guest(
        &mut self,
        inner: &Inner,
        client: &Client,
        qtest: &Qtest,
    ) -> Result<bool, LaunchFailure> {
        // Before anybody can change it.
        if let Some(freezable) = &inner.freezable {
            let hardware = Hardware::ask(client).await;
            if client.disconnected().is_none() {
                let hardware = hardware.map_err(LaunchFailure::NotRun)?;
                let _ = freezable.hardware.set(hardware);
            }
        }
        match self.start {
            GuestStart::AtOnce => {}
            GuestStart::PausedByCaller => inner.observed.begin(PauseReason::NotStarted),
            // Without the accelerator `qtest`, the guest stays paused. Its
            // clock moves only while the machine runs.
            GuestStart::Driven if !qtest.controls_clock() => {
                inner.observed.begin(PauseReason::NotStarted);
            }
            GuestStart::Driven | GuestStart::Paused => {
                self.guest_ran = self.start == GuestStart::Paused;
                if let Err(error) = client.execute(Cont).timeout(None).await
                    && error.disconnected().is_none()
                {
                    self.guest_ran = false;
                    return Err(LaunchFailure::NotRun(error));
                }
            }
            GuestStart::Template => {
                if let Some(files) = self.image.template()
                    && let Err(failure) = template::load(client, &**files).await
                    && client.disconnected().is_none()
                {
                    return Err(failure);
                }
                self.guest_ran = true;
            }
            GuestStart::Incoming => {
                // If the server does not answer, the guest counts as running.
                let status = client.execute(QueryStatus).timeout(None).await;
                let status = status.map(|it| PauseReason::of_run_state(&it.status));
                if let Ok(Some(reason)) = status {
                    inner.observed.begin(reason);
                }
            }
        }
        Ok(client.disconnected().is_none())
    }
}

/// Why commands fail on a machine without a monitor.
struct NoMonitor;

impl fmt::Display for NoMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the machine was launched without a monitor")
    }
}

impl Error for NoMonitor {}

debug_is_display!(NoMonitor);
