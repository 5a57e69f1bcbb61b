//! The channels of a machine: sockets whose other ends QEMU has from its start.
//!
//! ```text
//! ChannelConfig --launch--> Served (for the supervisor), a handle (for the caller)
//! ```
//!
//! The first monitor is not among them: the life of a machine depends on it,
//! and it may be reached otherwise.

mod agent;
mod monitor;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use qemu_qmp::agent::GuestAgent;
use qemu_qmp::{Client, Deadlines, Event, Ready};
use socket2::Socket;

use crate::command_line::OptionGroup;
use crate::console::{Console, ConsoleConfig, ConsoleLog, MachineFacts, MachineWitness};
use crate::guest_state::Hold;
use crate::qtest::{self, Qtest};
use crate::report::ExitReport;

/// A channel to be.
#[derive(Debug, Clone)]
pub(crate) enum ChannelConfig {
    /// A console of this name; the first one has none.
    Console(Option<String>, ConsoleConfig),
    /// One more monitor, of this name.
    Monitor(String),
    /// The qtest channel, of which a machine has but one.
    Qtest,
    /// The port of the guest agent, on this controller.
    GuestAgent(OptionGroup),
}

/// Our end of a channel, served on the engine.
pub(crate) trait Channel: Send + Sync {
    /// Reads until the channel ends.
    fn pump(self: Arc<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

    /// QEMU has ended: reading ends after what is there.
    fn hang_up(&self);

    /// QEMU has closed the channel, and lives on.
    fn closed(&self);

    /// QEMU has told of an event.
    fn heard(&self, _event: &Event) {}

    /// QEMU holds the guest, for this reason, or it may go on.
    fn guest_is_held(&self, _hold: Option<&Hold>) {}

    /// Waits until all is read that has been sent by now.
    fn drained(self: Arc<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::ready(()))
    }

    /// Nothing more will come: lets go of what it writes to. Gives why that is
    /// not whole, if it is not.
    fn close(&self) -> Option<String> {
        None
    }

    /// The machine has ended. Lets go of the socket, and gives the word to
    /// everyone who waits, to be told when all else is let go of.
    fn machine_ended(&self, report: &Arc<ExitReport>) -> Word;
}

/// What somebody who waits is to be told; telling it may run code of theirs.
pub(crate) type Word = Box<dyn FnOnce() + Send>;

impl ChannelConfig {
    /// The id of its character device, by its place among the channels.
    pub(crate) fn id(&self, place: usize) -> String {
        match self {
            Self::Console(..) => format!("console{place}"),
            Self::Monitor(_) => format!("mon{place}"),
            Self::Qtest => "qtest".to_owned(),
            Self::GuestAgent(_) => format!("agent{place}"),
        }
    }

    /// Whether it is the machine's first console.
    pub(crate) fn is_first_console(&self) -> bool {
        matches!(self, Self::Console(None, _))
    }

    /// What connects its character device with the machine.
    pub(crate) fn options(&self, id: &str) -> Vec<(&'static str, OptionGroup)> {
        match self {
            Self::Console(_, config) => config.options(id),
            Self::Monitor(_) => {
                let monitor = OptionGroup::default().set("chardev", id);
                vec![("-mon", monitor.set("mode", "control"))]
            }
            // QEMU's own log of the channel would repeat every byte. It takes
            // the first accelerator that its binary has.
            Self::Qtest => vec![
                ("-qtest", OptionGroup::new(format!("chardev:{id}"))),
                ("-qtest-log", OptionGroup::new("none")),
                ("-accel", OptionGroup::new("qtest")),
                ("-accel", OptionGroup::new("tcg")),
            ],
            Self::GuestAgent(controller) => agent::devices(id, controller),
        }
    }

    /// Whether the guest must not run before it is told to.
    pub(crate) fn holds_the_guest(&self) -> bool {
        matches!(self, Self::Qtest)
    }
}

/// The callers' handles on a machine's channels.
#[derive(Debug, Default)]
pub(crate) struct Handles {
    pub(crate) consoles: Vec<(String, Console)>,
    pub(crate) monitors: Vec<(String, Client)>,
    pub(crate) qtest: Option<Qtest>,
    agent: OnceLock<GuestAgent>,
}

impl Handles {
    /// The guest agent of a machine of which `witness` knows.
    pub(crate) fn agent(
        &self,
        deadlines: &Deadlines,
        witness: impl FnOnce() -> MachineWitness,
    ) -> &GuestAgent {
        self.agent
            .get_or_init(|| agent::absent(deadlines, witness()))
    }

    /// Every console: this one, the first, and then the others.
    pub(crate) fn all_consoles(&self, first: &Console) -> Vec<Console> {
        let named = self.consoles.iter().map(|(_, console)| console);
        std::iter::once(first).chain(named).cloned().collect()
    }
}

/// What must have happened before a machine can be spoken with.
pub(crate) type Readiness = Vec<(Client, Ready)>;

/// Our ends of the channels.
#[derive(Default)]
pub(crate) struct Channels {
    pub(crate) console: Option<Console>,
    pub(crate) served: Vec<Arc<dyn Channel>>,
    pub(crate) handles: Handles,
    pub(crate) readiness: Readiness,
}

impl Channels {
    /// Takes one more into the books: our end of it.
    pub(crate) fn add(
        &mut self,
        config: &ChannelConfig,
        socket: Socket,
        log: Option<ConsoleLog>,
        facts: &MachineFacts,
    ) -> io::Result<()> {
        let MachineFacts {
            deadlines, witness, ..
        } = facts;
        match config {
            ChannelConfig::Console(name, config) => {
                let console = Console::connected(facts, name.clone(), socket, config, log)?;
                self.served.push(Arc::new(console.clone()));
                match name {
                    Some(name) => self.handles.consoles.push((name.clone(), console)),
                    None => self.console = Some(console),
                }
            }
            ChannelConfig::Monitor(name) => {
                let (client, channel, ready) =
                    monitor::connect(socket, deadlines, witness.clone())?;
                self.served.push(Arc::new(channel));
                self.handles.monitors.push((name.clone(), client.clone()));
                self.readiness.push((client, ready));
            }
            ChannelConfig::Qtest => {
                let (handle, channel) = qtest::connect(socket, deadlines, witness.clone())?;
                self.served.push(channel);
                self.handles.qtest = Some(handle);
            }
            ChannelConfig::GuestAgent(_) => {
                let id = config.id(self.served.len());
                let (agent, channel) = agent::connect(id, socket, deadlines, witness.clone())?;
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
