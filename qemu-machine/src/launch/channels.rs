//! The ends of the channels in this process, and the handles on them.

use std::io;
use std::mem;
use std::sync::Arc;

use qemu_qmp::Client;
use qemu_qmp::agent::GuestAgent;
use qemu_qmp::supervise::ReadySignal;
use socket2::Socket;

use crate::channel::{self, Channel, MachineFacts};
use crate::console::{Console, ConsoleSinks};
use crate::machine::Handles;
use crate::qtest::{self, Qtest};
use crate::spec::ChannelConfig;

/// The monitors that must be ready before the launch is done.
pub(crate) type Readiness = Vec<(Client, ReadySignal)>;

/// The ends of the channels in this process.
#[derive(Default)]
pub(crate) struct Channels {
    pub(crate) served: Vec<Arc<dyn Channel>>,
    pub(crate) readiness: Readiness,
    console: Option<Console>,
    consoles: Vec<(String, Console)>,
    monitors: Vec<(String, Client)>,
    qtest: Option<Qtest>,
    agent: Option<GuestAgent>,
}

impl Channels {
    /// Adds a channel: the socket is the end in this process.
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
                    Some(name) => self.consoles.push((name.clone(), console)),
                    None => self.console = Some(console),
                }
            }
            ChannelConfig::Monitor(name) => {
                let (client, channel, ready) =
                    channel::connect_monitor(socket, deadlines, context.clone())?;
                self.served.push(Arc::new(channel));
                self.monitors.push((name.clone(), client.clone()));
                self.readiness.push((client, ready));
            }
            ChannelConfig::Qtest => {
                let (handle, channel) = qtest::connect(socket, deadlines, context.clone())?;
                self.served.push(channel);
                self.qtest = Some(handle);
            }
            ChannelConfig::GuestAgent(_) => {
                let id = config.id(self.served.len());
                let (agent, channel) =
                    channel::connect_agent(id, socket, deadlines, context.clone())?;
                self.served.push(Arc::new(channel));
                self.agent = Some(agent);
            }
        }
        Ok(())
    }

    /// The handles for callers. A channel that the machine does not have is
    /// closed from the start.
    pub(crate) fn handles(&mut self, facts: &MachineFacts) -> (Console, Handles) {
        let MachineFacts {
            deadlines, context, ..
        } = facts;
        let console = self.console.take().unwrap_or_else(|| {
            let console = Console::absent(facts);
            self.served.push(Arc::new(console.clone()));
            console
        });
        let no_qtest = || qtest::absent(deadlines, context.clone());
        let no_agent = || channel::absent_agent(deadlines, context.clone());
        let has_agent = self.agent.is_some();
        let handles = Handles {
            consoles: mem::take(&mut self.consoles),
            monitors: mem::take(&mut self.monitors),
            qtest: self.qtest.take().unwrap_or_else(no_qtest),
            agent: self.agent.take().unwrap_or_else(no_agent),
            has_agent,
        };
        (console, handles)
    }
}
