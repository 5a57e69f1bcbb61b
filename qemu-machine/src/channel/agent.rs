//! The guest agent's channel: a port of the guest's, which may be open or not,
//! and behind which the agent may be or not.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use qemu_qmp::agent::{Driver, GuestAgent, Link};
use qemu_qmp::wire::{AgentHold, AgentSettings, Port};
use qemu_qmp::{Deadlines, Disconnected, Event};
use serde_json::Value;
use socket2::Socket;

use super::{Channel, Word};
use crate::command_line::{OptionGroup, Plugged};
use crate::console::MachineWitness;
use crate::guest_state::Hold;
use crate::report::ExitReport;

pub(super) struct AgentChannel {
    /// The port's.
    id: String,
    link: Link,
    driver: Mutex<Option<Driver>>,
    /// Why reading has ended.
    ended: Mutex<Option<Disconnected>>,
}

pub(super) fn connect(
    id: String,
    socket: Socket,
    deadlines: &Deadlines,
    witness: MachineWitness,
) -> io::Result<(GuestAgent, AgentChannel)> {
    let mut settings = AgentSettings::default();
    // QEMU tells when it is opened.
    settings.port = Port::Closed;
    let (agent, driver) = Driver::new(socket, settings, deadlines.clone(), Arc::new(witness))?;
    let channel = AgentChannel {
        id,
        link: driver.link(),
        driver: Mutex::new(Some(driver)),
        ended: Mutex::new(None),
    };
    Ok((agent, channel))
}

/// The port, on a controller of its own, for the character device of this id.
pub(super) fn devices(id: &str, controller: &OptionGroup) -> Vec<(&'static str, OptionGroup)> {
    let port = Plugged {
        device: OptionGroup::new("virtserialport")
            .set("id", id)
            .set("name", "org.qemu.guest_agent.0"),
        controller: Some(controller.clone()),
    };
    port.options(id)
}

/// The agent of a machine without one.
pub(super) fn absent(deadlines: &Deadlines, witness: MachineWitness) -> GuestAgent {
    let cause = Disconnected::ServerEnded(Arc::new(NoAgent));
    GuestAgent::absent(cause, deadlines.clone(), Arc::new(witness))
}

#[derive(Debug)]
struct NoAgent;

impl fmt::Display for NoAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the machine was launched without a port for a guest agent")
    }
}

impl Error for NoAgent {}

impl Channel for AgentChannel {
    fn pump(self: Arc<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let driver = lock(&self.driver).take();
            if let Some(mut driver) = driver {
                let cause = driver.run().await;
                *lock(&self.ended) = Some(cause);
            }
        })
    }

    fn hang_up(&self) {
        self.link.cut();
    }

    fn closed(&self) {
        let cause = lock(&self.ended).take();
        self.link
            .end(&cause.unwrap_or(Disconnected::ByServer))
            .tell();
    }

    fn heard(&self, event: &Event) {
        if let "RESUME" | "RESET" = event.name() {
            // Before the reply of what has caused it.
            self.link.guest_is_held(None);
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

    /// While it is held, nobody waits for what its agent will not say.
    fn guest_is_held(&self, hold: Option<&Hold>) {
        self.link.guest_is_held(hold.map(|hold| match hold {
            Hold::Panicked => AgentHold::Panicked,
            Hold::ShutDown { .. } => AgentHold::ShutDown,
        }));
    }

    fn machine_ended(&self, report: &Arc<ExitReport>) -> Word {
        let cause = Disconnected::ServerEnded(Arc::clone(report) as _);
        let untold = self.link.end(&cause);
        Box::new(move || untold.tell())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use crate::{Machine, OptionGroup};

    const PORT: &str = "-device virtserialport,id=agent0,name=org.qemu.guest_agent.0,\
                        bus=agent0-controller.0,chardev=agent0 -S";

    #[test]
    fn the_port_has_a_controller_and_the_name_that_agents_look_for() {
        let builder = Machine::builder("qemu").guest_agent().guest_agent();
        let words = builder.dry_run().command_line.to_string();
        let expected = format!(
            "-chardev socket,id=agent0,fd=4 -device virtio-serial,id=agent0-controller {PORT}"
        );
        assert!(words.ends_with(&expected), "{words}");
    }

    #[test]
    fn the_controller_may_be_another_whenever_it_is_given() {
        let ccw = || OptionGroup::new("virtio-serial-ccw").set("devno", "fe.0.0002");
        let builder = || Machine::builder("qemu");
        for builder in [
            builder().guest_agent_controller(ccw()),
            builder().guest_agent().guest_agent_controller(ccw()),
            builder().guest_agent_controller(ccw()).guest_agent(),
        ] {
            let words = builder.dry_run().command_line.to_string();
            let controller = "-device virtio-serial-ccw,devno=fe.0.0002,id=agent0-controller";
            assert!(words.ends_with(&format!("{controller} {PORT}")), "{words}");
        }
    }
}
