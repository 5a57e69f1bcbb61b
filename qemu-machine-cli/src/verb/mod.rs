//! The verbs, a file each.

mod accel;
mod agent;
mod completion;
mod console;
mod control;
mod copy;
mod doctor;
mod events;
mod exec;
mod freeze;
mod key_names;
mod keyboard;
mod logs;
mod man;
mod output_schema;
mod picture;
mod pool;
mod ps;
mod published;
mod qmp;
mod qom;
mod quote;
mod replay;
mod run;
mod schema;
mod screenshot;
mod shell;
mod status;
mod stop;
mod sweep;
mod template;
mod tui;
mod wait_screen;
mod way;

use clap::Subcommand;

pub(crate) use completion::names::asked as asked_names;
pub(crate) use output_schema::{asked as asked_schema, with_option as with_schema_option};
pub(crate) use run::{check_steps, is_step};

use crate::exit::Outcome;
use crate::failure::Failure;

/// A verb and its arguments.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Run(Box<run::Run>),
    Ps(ps::List),
    Status(status::Status),
    Stop(stop::Stop),
    Kill(stop::Kill),
    Reset(control::Reset),
    Pause(control::Pause),
    Resume(control::Resume),
    Logs(logs::Logs),
    Sweep(sweep::Sweep),
    Template(template::Templates),
    Clone(Box<run::CloneMachine>),
    Freeze(freeze::Freeze),
    Pool(pool::Pools),
    Exec(exec::ExecInGuest),
    Shell(shell::GuestShell),
    Console(console::AttachConsole),
    Copy(copy::Copy),
    Qmp(qmp::Qmp),
    Events(events::Events),
    Qom(qom::Qom),
    Tui(tui::Tui),
    Agent(agent::Agent),
    Screenshot(screenshot::Screenshot),
    Type(keyboard::Type),
    Key(keyboard::Key),
    Mouse(keyboard::MoveMouse),
    WaitScreen(wait_screen::WaitScreen),
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
            Self::Ps(verb) => verb.run(),
            Self::Status(verb) => verb.run(),
            Self::Stop(verb) => verb.run(),
            Self::Kill(verb) => verb.run(),
            Self::Reset(verb) => verb.run(),
            Self::Pause(verb) => verb.run(),
            Self::Resume(verb) => verb.run(),
            Self::Logs(verb) => verb.run(),
            Self::Sweep(verb) => verb.run(),
            Self::Template(verb) => verb.run(),
            Self::Clone(verb) => verb.run(),
            Self::Freeze(verb) => verb.run(),
            Self::Pool(verb) => verb.run(),
            Self::Exec(verb) => verb.run(),
            Self::Shell(verb) => verb.run(),
            Self::Console(verb) => verb.run(),
            Self::Copy(verb) => verb.run(),
            Self::Qmp(verb) => verb.run(),
            Self::Events(verb) => verb.run(),
            Self::Qom(verb) => verb.run(),
            Self::Tui(verb) => verb.run(),
            Self::Agent(verb) => verb.run(),
            Self::Screenshot(verb) => verb.run(),
            Self::Type(verb) => verb.run(),
            Self::Key(verb) => verb.run(),
            Self::Mouse(verb) => verb.run(),
            Self::WaitScreen(verb) => verb.run(),
            Self::Schema(verb) => verb.run(),
            Self::Accel(verb) => verb.run(),
            Self::Doctor(verb) => verb.run(),
            Self::Replay(verb) => verb.run(),
            Self::Completion(verb) => verb.run(),
            Self::Man(verb) => verb.run(),
        }
    }
}
