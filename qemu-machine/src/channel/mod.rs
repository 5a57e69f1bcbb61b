//! The channels of a machine: sockets whose other ends QEMU has from its start.
//!
//! ```text
//! ChannelConfig --launch--> Served (for the supervisor), a handle (for the caller)
//! ```
//!
//! The first monitor is not among them: the life of a machine depends on it,
//! and it may be reached otherwise.

mod monitor;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use qemu_qmp::{Client, Deadlines, Ready};
use socket2::Socket;

use crate::command_line::OptionGroup;
use crate::console::MachineWitness;
use crate::report::ExitReport;

/// A channel to be, beside the first console.
#[derive(Debug, Clone)]
pub(crate) enum ChannelConfig {
    /// One more monitor, of this name.
    Monitor(String),
}

/// Our end of a channel, served on the engine.
pub(crate) trait Channel: Send + Sync {
    /// Reads until the channel ends.
    fn pump(self: Arc<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

    /// QEMU has ended: reading ends after what is there.
    fn hang_up(&self);

    /// QEMU has closed the channel, and lives on.
    fn closed(&self);

    /// The guest has panicked and is held, or goes on.
    fn guest_is_held(&self, _held: bool) {}

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
    /// The id of its character device; `number` is its place among the
    /// channels.
    pub(crate) fn id(&self, number: usize) -> String {
        match self {
            Self::Monitor(_) => format!("mon{}", number + 1),
        }
    }

    /// What connects its character device with the machine.
    pub(crate) fn options(&self, id: &str) -> Vec<(&'static str, OptionGroup)> {
        match self {
            Self::Monitor(_) => {
                let monitor = OptionGroup::default().set("chardev", id);
                vec![("-mon", monitor.set("mode", "control"))]
            }
        }
    }
}

/// The callers' handles on a machine's channels.
#[derive(Debug, Default)]
pub(crate) struct Handles {
    pub(crate) monitors: Vec<(String, Client)>,
}

/// What must have happened before a machine can be spoken with.
pub(crate) type Readiness = Vec<(Client, Ready)>;

/// Our ends of the channels.
#[derive(Default)]
pub(crate) struct Channels {
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
        deadlines: &Deadlines,
        witness: MachineWitness,
    ) -> io::Result<()> {
        match config {
            ChannelConfig::Monitor(name) => {
                let (client, channel, ready) = monitor::connect(socket, deadlines, witness)?;
                self.served.push(Arc::new(channel));
                self.handles.monitors.push((name.clone(), client.clone()));
                self.readiness.push((client, ready));
            }
        }
        Ok(())
    }
}
