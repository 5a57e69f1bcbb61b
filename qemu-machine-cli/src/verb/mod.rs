//! The verbs, a file each.

mod accel;
mod agent;
mod completion;
mod doctor;
mod events;
mod man;
mod output_schema;
mod qmp;
mod replay;
mod run;
mod schema;
mod screenshot;

use clap::Subcommand;

pub(crate) use output_schema::{asked as asked_schema, with_option as with_schema_option};
pub(crate) use run::{check_steps, is_step};

use crate::exit::Outcome;
use crate::failure::Failure;

/// A verb and its arguments.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Run(Box<run::Run>),
    Qmp(qmp::Qmp),
    Events(events::Events),
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
    /// Runs the verb.
    pub(crate) fn run(self) -> Result<Outcome, Failure> {
        match self {
            Self::Run(verb) => verb.run(),
            Self::Qmp(verb) => verb.run(),
            Self::Events(verb) => verb.run(),
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
