//! The channel of the guest agent: a port of the guest, which may be open or
//! closed. Behind it an agent may or may not run.

use crate::channel::MachineContext;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use qemu_qmp::agent::GuestAgent;
use qemu_qmp::supervise::{self, AgentLink, PendingNotices, Reader};
use qemu_qmp::wire::{AgentSettings, PauseReason, Port};
use qemu_qmp::{Deadlines, Disconnected, Event};
use serde_json::Value;
use socket2::Socket;

use super::Channel;
use crate::life::ExitReport;
use crate::life::PausedForGood;
use qemu_qmp_engine::debug_is_display;

pub(crate) struct AgentChannel {
    /// The id of the port.
    id: String,
    link: AgentLink,
    reader: Reader,
}

pub(crate) fn connect(
    id: String,
    socket: Socket,
    deadlines: &Deadlines,
    context: MachineContext,
) -> io::Result<(GuestAgent, AgentChannel)> {
    let mut settings = AgentSettings::default();
    // QEMU reports when it is opened.
    settings.port = Port::Closed;
    let (deadlines, context) = (deadlines.clone(), Arc::new(context));
    let (agent, reader, link) = supervise::agent(socket.into(), settings, deadlines, context)?;
    Ok((agent, AgentChannel { id, link, reader }))
}

/// The handle of a machine without an agent.
pub(crate) fn absent(deadlines: &Deadlines, context: MachineContext) -> GuestAgent {
    let cause = Disconnected::ServerEnded(Arc::new(NoAgent));
    supervise::absent_agent(cause, deadlines.clone(), Arc::new(context))
}

struct NoAgent;

impl fmt::Display for NoAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the machine was launched without a port for a guest agent")
    }
}

impl Error for NoAgent {}

debug_is_display!(NoAgent);

impl Channel for AgentChannel {
    fn pump(self: Arc<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            self.reader.run().await;
        })
    }

    fn hang_up(&self) {
        self.reader.cut();
    }

    fn closed(&self) {
        self.reader.finish();
    }

    fn observe(&self, event: &Event) {
        if let "RESUME" | "RESET" = event.name() {
            // Before the reply of the command that caused it.
            self.link.guest_paused(None);
        }
        if event.name() != "VSERPORT_CHANGE" {
            return;
        }
        let data: Value = event.data().unwrap_or_default();
        if let Some(open) = data["open"].as_bool()
            && data["id"] == self.id.as_str()
        {
            self.link.port_changed(open);
        }
    }

    /// A paused guest has no answer, so no caller waits for one.
    fn guest_paused(&self, paused: Option<&PausedForGood>) {
        self.link.guest_paused(paused.map(|paused| match paused {
            PausedForGood::Panicked => PauseReason::Panicked,
            PausedForGood::ShutDown { .. } => PauseReason::ShutDown,
        }));
    }

    fn machine_ended(&self, report: &Arc<ExitReport>) -> PendingNotices {
        self.reader
            .end(&Disconnected::ServerEnded(Arc::clone(report) as _))
    }
}
