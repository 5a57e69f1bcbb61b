//! The verbs, a file each.

mod accel;
mod agent;
mod completion;
mod doctor;
mod events;
mod man;
mod qmp;
mod qom;
mod replay;
mod run;
mod schema;
mod screenshot;
mod tui;

use clap::Subcommand;

use crate::exit::Outcome;
use crate::failure::Failure;

/// What the command can be asked for.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Run(Box<run::Run>),
    Qmp(qmp::Qmp),
    Events(events::Events),
    Qom(qom::Qom),
    Tui(tui::Tui),
    Agent(agent::Agent),
    Screenshot(screenshot::Screenshot),
    Schema(schema::AskSchema),
    Accel(accel::TryAccel),
    Doctor(doctor::Doctor),
    Replay(replay::Replay),
    Completion(completion::Completion),
    Man(man::Manual),
}

impl Verb {
    /// Does it.
    pub(crate) fn run(self) -> Result<Outcome, Failure> {
        match self {
            Self::Run(verb) => verb.run(),
            Self::Qmp(verb) => verb.run(),
            Self::Events(verb) => verb.run(),
            Self::Qom(verb) => verb.run(),
            Self::Tui(verb) => verb.run(),
            Self::Agent(verb) => verb.run(),
            Self::Screenshot(verb) => verb.run(),
            Self::Schema(verb) => verb.run(),
            Self::Accel(verb) => verb.run(),
            Self::Doctor(verb) => verb.run(),
            Self::Replay(verb) => verb.run(),
            Self::Completion(verb) => verb.run(),
            Self::Man(verb) => verb.run(),
        }
    }
}
