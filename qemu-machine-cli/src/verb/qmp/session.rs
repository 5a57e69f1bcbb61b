//! A conversation with a monitor: does what lines ask for, one after the other.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::time::Duration;

use qemu_machine::Wait;
use qemu_machine::error::{ExecuteError, ExecuteFailure};
use qemu_machine::qmp::Client;
use qemu_machine::qmp::command::QuerySchema;
use qemu_machine::qmp::error::ErrorClass;
use qemu_machine::qmp::schema::Schema;
use serde_json::Value;

use super::line::{Action, Mode, Request};
use super::{Returned, help};
use crate::attention::{Attention, Call};
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::output;

/// The state that the executed lines and the editor share.
pub(crate) struct State {
    pub(super) monitor: Client,
    pub(super) mode: Cell<Mode>,
    schema: OnceCell<Option<Schema>>,
}

/// How results look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Form {
    /// Whether a result is one line of JSON.
    pub(crate) in_one_line: bool,
    /// Whether standard error shows what is sent.
    pub(crate) verbose: bool,
}

/// Executes lines.
pub(crate) struct Session<'a> {
    pub(super) state: Rc<State>,
    pub(super) attention: &'a Attention,
    form: Form,
    timeout: Duration,
    /// Whether QEMU was asked to end.
    pub(super) asked_to_quit: bool,
}

/// What follows a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Line,
    Leave,
}

/// Why a line did not do what it asks for.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The line failed, and the next one may succeed.
    Line(Failure),
    /// The connection has ended.
    Lost,
    /// Somebody called while it waited.
    Called(Call),
    /// Standard output cannot be written.
    Output(Failure),
}

impl State {
    /// The schema of this QEMU, which is read once; `None` if it has none.
    pub(super) fn schema(&self) -> Option<&Schema> {
        let read = || {
            let query = self.monitor.execute(QuerySchema);
            query.timeout(SCHEMA_PATIENCE).wait().ok()
        };
        self.schema.get_or_init(read).as_ref()
    }
}

impl<'a> Session<'a> {
    pub(crate) fn new(
        monitor: Client,
        attention: &'a Attention,
        mode: Mode,
        form: Form,
        timeout: Duration,
    ) -> Self {
        let state = State {
            monitor,
            mode: Cell::new(mode),
            schema: OnceCell::new(),
        };
        Self {
            state: Rc::new(state),
            attention,
            form,
            timeout,
            asked_to_quit: false,
        }
    }

    /// Does what a line asks for.
    pub(super) fn run(&mut self, action: Action) -> Result<Next, Trouble> {
        match action {
            Action::Execute(request) => self.execute(&request)?,
            Action::Human(line) => self.human(&line)?,
            Action::Help(subject) => self.help(subject)?,
            Action::Switch(mode) => self.state.mode.set(mode),
            Action::Leave => return Ok(Next::Leave),
        }
        Ok(Next::Line)
    }

    fn execute(&mut self, request: &Request) -> Result<(), Trouble> {
        self.show_sent(&request.message());
        let mut execute = self
            .state
            .monitor
            .execute_json(&request.command, request.arguments.clone());
        if let Some(id) = &request.id {
            execute = execute.id(id);
        }
        if request.out_of_band {
            execute = execute.out_of_band();
        }
        let quits = request.command == "quit";
        self.asked_to_quit |= quits;
        let returned = self.attention.wait(execute.timeout(self.timeout));
        match returned.map_err(Trouble::Called)? {
            Ok(returned) => {
                output::print(&Returned(returned), self.form.in_one_line)
                    .map_err(Trouble::Output)?;
            }
            Err(error) if quits && is_lost(&error) => {}
            Err(error) => {
                self.asked_to_quit &= !quits;
                return Err(self.failed(&error));
            }
        }
        if quits {
            self.wait_for_end()?;
        }
        Ok(())
    }

    fn human(&mut self, line: &str) -> Result<(), Trouble> {
        if self.form.verbose {
            output::note(format_args!("sends (hmp) {line}"));
        }
        let human = self.state.monitor.human(line).fail_on_error();
        let quits = matches!(line.split_whitespace().next(), Some("q" | "quit"));
        self.asked_to_quit |= quits;
        let printed = self.attention.wait(human.timeout(self.timeout));
        match printed.map_err(Trouble::Called)? {
            Ok(printed) if self.form.in_one_line && self.state.mode.get() == Mode::Qmp => {
                output::print(&Returned(printed.into()), true).map_err(Trouble::Output)?;
            }
            Ok(printed) => output::write(printed.as_bytes()).map_err(Trouble::Output)?,
            Err(error) if quits && is_lost(&error) => {}
            Err(error) => {
                self.asked_to_quit &= !quits;
                return Err(self.failed(&error));
            }
        }
        if quits {
            self.wait_for_end()?;
        }
        Ok(())
    }

    fn help(
        &self,
        subject: Option<(String, serde_json::Map<String, Value>)>,
    ) -> Result<(), Trouble> {
        let Some((name, chosen)) = subject else {
            return output::write(help::SHELL.as_bytes()).map_err(Trouble::Output);
        };
        let Some(schema) = self.state.schema() else {
            let reason = "this QEMU does not describe its commands";
            return Err(Trouble::Line(Failure::failed(reason)));
        };
        let about = help::about(schema, &name, &chosen);
        let about = about.map_err(|why| Trouble::Line(Failure::failed(why)))?;
        output::write(about.as_bytes()).map_err(Trouble::Output)
    }

    fn show_sent(&self, message: &Value) {
        if self.form.verbose && self.form.in_one_line {
            output::note(format_args!("sends {message}"));
        } else if self.form.verbose {
            output::note(format_args!("sends {message:#}"));
        }
    }

    /// The failure of a command, with the names that are near an unknown one.
    fn failed(&self, error: &ExecuteError) -> Trouble {
        if is_lost(error) {
            return Trouble::Lost;
        }
        let is_unknown = error
            .reply()
            .is_some_and(|it| it.class == ErrorClass::CommandNotFound);
        let near = self.state.schema().filter(|_| is_unknown);
        let near = near.and_then(|schema| help::suggestion(schema, &error.command));
        let text = match near {
            Some(near) => format!("{error}; {near}"),
            None => error.to_string(),
        };
        Trouble::Line(Failure::new(Outcome::of(error.kind()), text))
    }

    /// Waits until QEMU has closed the connection. It has answered `quit` before.
    fn wait_for_end(&self) -> Result<(), Trouble> {
        let mut none = self.state.monitor.events_named([""]);
        let ended = self.attention.wait(none.next().timeout(END_PATIENCE));
        ended.map(drop).map_err(Trouble::Called)
    }
}

fn is_lost(error: &ExecuteError) -> bool {
    matches!(*error.failure, ExecuteFailure::Interrupted { .. })
}

/// How long a schema may take.
const SCHEMA_PATIENCE: Duration = Duration::from_secs(10);

/// How long QEMU may take to end that has answered `quit`.
const END_PATIENCE: Duration = Duration::from_secs(10);
