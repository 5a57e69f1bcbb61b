//! The handshake: from the monitor's connection to a guest that runs.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use qemu_qmp::supervise;
use qemu_qmp::wire::Settings;
use qemu_qmp::{Client, Cont, Disconnected, QueryStatus, Transcript};
use qemu_qmp_engine::{debug_is_display, oneshot};

use super::LaunchFailure;
use super::channels::Readiness;
use super::resources::MonitorSide;
use super::serial_ports::{SerialPort, all_have_devices};
use crate::console::Console;
use crate::life::PauseReason;
use crate::machine::{Handles, Inner};
use crate::qtest::Qtest;
use crate::spec::GuestStart;
use crate::supervise::Request;

/// What the monitor's connection is made of.
pub(super) struct MonitorConnection {
    pub(super) side: MonitorSide,
    pub(super) settings: Settings,
    pub(super) transcript: Option<Transcript>,
    /// Those that the consoles need.
    pub(super) serial_ports: Vec<SerialPort>,
}

/// The handshake, and how far it has come.
pub(super) struct Handshake {
    start: GuestStart,
    /// What it waits for now.
    pub(super) waited_for: &'static str,
    /// The monitor.
    pub(super) client: Option<Client>,
    /// Whether the guest was let run.
    pub(super) guest_ran: bool,
}

impl Handshake {
    pub(super) fn new(start: GuestStart) -> Self {
        Self {
            start,
            waited_for: "connection to its monitor",
            client: None,
            guest_ran: start == GuestStart::AtOnce,
        }
    }

    /// Connects the monitor, waits until commands may be sent, and lets the guest
    /// run.
    pub(super) async fn run(
        &mut self,
        inner: &Inner,
        monitor: MonitorConnection,
        console: &Console,
        handles: &Handles,
        mut readiness: Readiness,
    ) -> Result<(), LaunchFailure> {
        let resources = |cause| LaunchFailure::Resources {
            action: "set up the monitor",
            cause,
        };
        let MonitorConnection {
            side,
            settings,
            transcript,
            serial_ports,
        } = monitor;
        let (socket, attached) = match side {
            MonitorSide::Off(socket) => (socket.into(), false),
            MonitorSide::Connected(socket) => (socket.into(), true),
            MonitorSide::Listening(listener) => {
                (supervise::accept(listener).await.map_err(resources)?, true)
            }
        };
        let (deadlines, context) = (inner.deadlines.clone(), Arc::new(console.context()));
        let (client, reader, mut ready) =
            supervise::monitor(socket, settings, deadlines, context, transcript)
                .map_err(resources)?;
        let client = self.client.insert(client).clone();
        if attached {
            inner.request(Request::Attach(client.clone(), reader));
            self.waited_for = "greeting and negotiation on its monitor";
        } else {
            let cause = Disconnected::ServerEnded(Arc::new(NoMonitor));
            reader.end(&cause).notify();
        }
        let mut met =
            !attached || (ready.wait().await && all_have_devices(&client, &serial_ports).await?);
        let mut last = &client;
        if met {
            for (other, ready) in &mut readiness {
                self.waited_for = "greeting and negotiation on its other monitors";
                last = other;
                met = ready.wait().await;
                if !met {
                    break;
                }
            }
        }
        if met && self.start == GuestStart::Driven {
            self.waited_for = "answer on its qtest channel";
            handles.qtest.ask_for_clock().await;
        }
        if met && attached {
            self.waited_for = "answer on its monitor";
            last = &client;
            met = self.begin_guest(inner, &client, &handles.qtest).await?;
        }
        if met {
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

    /// Lets the guest run, or finds out why it does not. `false` if the monitor
    /// was lost.
    async fn begin_guest(
        &mut self,
        inner: &Inner,
        client: &Client,
        qtest: &Qtest,
    ) -> Result<bool, LaunchFailure> {
        match self.start {
            GuestStart::AtOnce => {}
            GuestStart::PausedByCaller => inner.observed.begin(PauseReason::NotStarted),
            // Without QEMU's accelerator for it, the guest stays paused. The clock
            // moves only while the machine runs.
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
            GuestStart::Incoming => {
                // A server that does not answer is taken to run the guest.
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

/// What a command on the monitor of a machine without one is told.
struct NoMonitor;

impl fmt::Display for NoMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the machine was launched without a monitor")
    }
}

impl Error for NoMonitor {}

debug_is_display!(NoMonitor);
