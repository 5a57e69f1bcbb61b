//! Our ends of a machine's channels: what serves each, and its handle.

use std::io;
use std::sync::Arc;

use qemu_qmp::Client;
use qemu_qmp::supervise::Ready;
use socket2::Socket;

use super::serial_ports::SerialPort;
use crate::channel::{self, Channel, MachineFacts};
use crate::console::{Console, ConsoleSinks};
use crate::machine::Handles;
use crate::qtest;
use crate::spec::ChannelConfig;

/// What must have happened before a machine can be spoken with.
pub(crate) type Readiness = Vec<(Client, Ready)>;

/// Our ends of the channels.
#[derive(Default)]
pub(crate) struct Channels {
    pub(crate) console: Option<Console>,
    pub(crate) served: Vec<Arc<dyn Channel>>,
    pub(crate) handles: Handles,
    /// Those of the consoles.
    pub(crate) serial_ports: Vec<SerialPort>,
    pub(crate) readiness: Readiness,
}

impl Channels {
    /// Takes one more into the books: our end of it.
    pub(crate) fn add(
        &mut self,
        config: &ChannelConfig,
        socket: Socket,
        sinks: ConsoleSinks,
        facts: &MachineFacts,
    ) -> io::Result<()> {
        let MachineFacts {
            deadlines, context, ..
        } = facts;
        match config {
            ChannelConfig::Console(name, config) => {
                let console = Console::connected(facts, name.clone(), socket, config, sinks)?;
                self.served.push(Arc::new(console.clone()));
                match name {
                    Some(name) => self.handles.consoles.push((name.clone(), console)),
                    None => self.console = Some(console),
                }
            }
            ChannelConfig::Monitor(name) => {
                let (client, channel, ready) =
                    channel::connect_monitor(socket, deadlines, context.clone())?;
                self.served.push(Arc::new(channel));
                self.handles.monitors.push((name.clone(), client.clone()));
                self.readiness.push((client, ready));
            }
            ChannelConfig::Qtest => {
                let (handle, channel) = qtest::connect(socket, deadlines, context.clone())?;
                self.served.push(channel);
                self.handles.qtest = Some(handle);
            }
            ChannelConfig::GuestAgent(_) => {
                let id = config.id(self.served.len());
                let (agent, channel) =
                    channel::connect_agent(id, socket, deadlines, context.clone())?;
                self.served.push(Arc::new(channel));
                // A machine has no more than one.
                let _ = self.handles.agent.set(agent);
            }
        }
        Ok(())
    }

    /// The machine's first console; one that ended before it began where none
    /// is wanted.
    pub(crate) fn first_console(&mut self, facts: &MachineFacts) -> Console {
        let absent = || {
            let console = Console::absent(facts);
            self.served.push(Arc::new(console.clone()));
            console
        };
        self.console.take().unwrap_or_else(absent)
    }
}
