//! The shell: reads lines from a person or from a script, and has them executed.
//!
//! ```text
//! terminal --editor--> lines --+--> Session --> results on standard output
//! pipe, file --script--------->+
//!               listener --> events, and the end of the connection
//! ```

mod editor;
mod history;
mod listener;
mod screen;
mod script;

use std::io::{self, IsTerminal};
use std::path::PathBuf;

pub(crate) use history::key;

use super::line::{self, Action};
use super::session::{Next, Session, Trouble};
use crate::attention::Call;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::output;

/// Where the lines come from.
#[derive(Debug)]
pub(crate) enum Source {
    /// A person, whose lines are kept under this name.
    Editor { history: Option<PathBuf> },
    /// Standard input, or a file.
    Script(Option<PathBuf>),
}

/// How a shell reads and goes on.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) source: Source,
    /// Whether a script goes on after a line that failed.
    pub(crate) keeps_going: bool,
    /// Whether a script shows events on standard error.
    pub(crate) shows_events: bool,
}

/// How a shell ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// There are no more lines, or the person left. The outcome is that of the
    /// first line of a script that failed.
    Left(Outcome),
    /// The connection ended, after this side had asked QEMU to end.
    Quit(Outcome),
    /// The connection ended.
    Lost(String),
    /// A signal came.
    Signal(i32),
}

impl Options {
    /// Edits lines on the terminal where that is possible, and otherwise reads
    /// standard input. `key` names the history.
    pub(crate) fn at_terminal(key: &str) -> Self {
        let is_dumb = std::env::var_os("TERM").is_none_or(|it| it.is_empty() || it == "dumb");
        let has_person = io::stdin().is_terminal();
        let source = if has_person && io::stdout().is_terminal() && !is_dumb {
            Source::Editor {
                history: history::file(key),
            }
        } else {
            Source::Script(None)
        };
        Self {
            source,
            keeps_going: has_person,
            shows_events: has_person,
        }
    }

    pub(crate) fn has_editor(&self) -> bool {
        matches!(self.source, Source::Editor { .. })
    }
}

/// Reads lines and executes them, until there are none, the person leaves, or
/// the connection ends.
pub(crate) fn run(session: &mut Session<'_>, options: &Options) -> Result<Ended, Failure> {
    match &options.source {
        Source::Editor { history } => editor::run(session, history.as_deref()),
        Source::Script(file) => script::run(session, file.as_deref(), options),
    }
}

/// Executes the commands of a text, and says why one failed. `Some` ends the
/// shell.
fn execute(
    session: &mut Session<'_>,
    text: &str,
    place: &str,
    keeps_going: bool,
    outcome: &mut Outcome,
) -> Result<Option<Ended>, Failure> {
    for action in line::parse(text, session.state.mode.get()) {
        let done = action
            .map_err(|why| Trouble::Line(Failure::failed(why)))
            .and_then(|action| session.run(action));
        match done {
            Ok(Next::Line) if session.has_quit() => return Ok(Some(Ended::Quit(*outcome))),
            Ok(Next::Line) => {}
            Ok(Next::Leave) => return Ok(Some(Ended::Left(*outcome))),
            Err(Trouble::Line(failure)) => {
                if let Some(message) = &failure.message {
                    output::error(format_args!("{place}{message}"));
                }
                if *outcome == Outcome::Succeeded {
                    *outcome = failure.outcome;
                }
                if !keeps_going {
                    return Ok(Some(Ended::Left(*outcome)));
                }
            }
            Err(Trouble::Lost) => return Ok(Some(session.lost(*outcome))),
            Err(Trouble::Called(Call::Signal(signal_hook::consts::SIGINT))) if keeps_going => {
                output::note("the command is given up; QEMU may still execute it");
                return Ok(None);
            }
            Err(Trouble::Called(Call::Signal(number))) => return Ok(Some(Ended::Signal(number))),
            Err(Trouble::Called(call)) => {
                return Err(Failure::failed(format_args!(
                    "the wait was ended: {call:?}"
                )));
            }
            Err(Trouble::Output(failure)) => return Err(failure),
        }
    }
    Ok(None)
}

impl Session<'_> {
    /// Executes commands that were read before. The outcome is that of the first
    /// that fails, which is the last.
    pub(super) fn run_all(&mut self, actions: Vec<Action>) -> Result<Ended, Failure> {
        for action in actions {
            match self.run(action) {
                Ok(Next::Line) => {}
                Ok(Next::Leave) => break,
                Err(Trouble::Lost) => return Ok(self.lost(Outcome::Succeeded)),
                Err(Trouble::Called(Call::Signal(number))) => return Ok(Ended::Signal(number)),
                Err(Trouble::Called(call)) => {
                    return Err(Failure::failed(format_args!(
                        "the wait was ended: {call:?}"
                    )));
                }
                Err(Trouble::Line(failure) | Trouble::Output(failure)) => return Err(failure),
            }
        }
        Ok(Ended::Left(Outcome::Succeeded))
    }

    /// Whether QEMU was asked to end, and has.
    fn has_quit(&self) -> bool {
        self.asked_to_quit && self.state.monitor.disconnected().is_some()
    }

    /// The end of a shell whose connection has ended.
    fn lost(&self, outcome: Outcome) -> Ended {
        if self.asked_to_quit {
            return Ended::Quit(outcome);
        }
        let cause = self.state.monitor.disconnected();
        let cause = cause.map_or_else(
            || "the connection has ended".to_owned(),
            |it| it.to_string(),
        );
        Ended::Lost(format!("{}: {cause}", self.state.monitor.server()))
    }
}
