//! Lines from a person, edited on the terminal.
//!
//! The editor waits for keys, and knows nothing of monitors and signals. Two
//! things reach it while it waits: its printer shows events above the line, and
//! SIGINT, which this program sends to itself, ends the wait as Ctrl-C does. That
//! happens if the connection ends, or if somebody calls by a signal.

use std::path::Path;
use std::sync::Arc;
use std::task::{Wake, Waker};

use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{CompletionType, Config, Context, Editor, ExternalPrinter, Helper};
use std::rc::Rc;

use super::screen::{Screen, Turn};
use super::{Ended, execute, history, listener};
use crate::attention::{Attention, Call};
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::output;
use crate::verb::qmp::complete::{complete, human};
use crate::verb::qmp::line::{self, Mode};
use crate::verb::qmp::live::Live;
use crate::verb::qmp::session::{Session, State};

pub(super) fn run(session: &mut Session<'_>, kept: Option<&Path>) -> Result<Ended, Failure> {
    let screen = Arc::new(Screen::new());
    let mut editor = open(session, &screen).map_err(|error| failed(&error))?;
    if let Some(path) = kept {
        // A new file has nothing to read.
        let _ = editor.load_history(path);
    }
    let events = session.state.monitor.events();
    let printer = editor.create_external_printer();
    let mut printer = printer.map_err(|error| failed(&error))?;
    let mut flusher = editor
        .create_external_printer()
        .map_err(|error| failed(&error))?;
    let (shown, last) = (screen.clone(), screen.clone());
    let show = move |text: String| shown.show(|| drop(printer.print(text)));
    let caller = session.attention.clone();
    let ended = move || {
        // The printer takes a second text only when the first is on its way to
        // the screen. So the last event is shown before the end.
        last.show(|| drop(flusher.print(NOTHING.to_owned())));
        caller.raise();
    };
    let listening = listener::listen(events, show, ended);
    let listener = listening.map_err(|error| failed(&error.into()))?;
    greet(session);
    let ended = converse(session, &mut editor, &screen, kept)?;
    if matches!(ended, Ended::Quit(_) | Ended::Lost(_)) {
        listener.finish();
    }
    Ok(ended)
}

/// Reads lines and executes them.
fn converse(
    session: &mut Session<'_>,
    editor: &mut Editor<Person, DefaultHistory>,
    screen: &Screen,
    kept: Option<&Path>,
) -> Result<Ended, Failure> {
    let waker = Waker::from(Arc::new(Interrupter(session.attention.clone())));
    // A person's lines have no outcome.
    let mut outcome = Outcome::Succeeded;
    loop {
        if session.state.monitor.disconnected().is_some() {
            return Ok(session.lost(Outcome::Succeeded));
        }
        let prompt = match session.state.mode.get() {
            Mode::Qmp => "qmp> ",
            Mode::Human => "hmp> ",
        };
        session.attention.watch(Some(waker.clone()));
        screen.set(Turn::Changing);
        let read = editor.readline(prompt);
        screen.set(Turn::Commands);
        session.attention.watch(None);
        let line = match read {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => {
                session.attention.forget_raised();
                match session.attention.take() {
                    Some(Call::Signal(number)) if number != signal_hook::consts::SIGINT => {
                        return Ok(Ended::Signal(number));
                    }
                    _ => continue,
                }
            }
            Err(ReadlineError::Eof) => return Ok(Ended::Left(Outcome::Succeeded)),
            Err(error) => return Err(failed(&error)),
        };
        if history::is_kept(&line) {
            let _ = editor.add_history_entry(&line);
            if let Some(path) = kept {
                let _ = editor.append_history(path);
            }
        }
        if let Some(ended) = execute(session, &line, "", true, &mut outcome)? {
            return Ok(match ended {
                Ended::Left(_) => Ended::Left(Outcome::Succeeded),
                Ended::Quit(_) => Ended::Quit(Outcome::Succeeded),
                other => other,
            });
        }
    }
}

fn open(
    session: &Session<'_>,
    screen: &Arc<Screen>,
) -> rustyline::Result<Editor<Person, DefaultHistory>> {
    let config = Config::builder()
        .max_history_size(history::LINES_LIMIT)?
        .history_ignore_dups(true)?
        .completion_type(CompletionType::List)
        // No second Tab is waited for, during which no event would be shown.
        .completion_show_all_if_ambiguous(true)
        .build();
    let mut editor = Editor::with_config(config)?;
    editor.set_helper(Some(Person {
        state: session.state.clone(),
        attention: session.attention.clone(),
        screen: screen.clone(),
    }));
    Ok(editor)
}

fn greet(session: &Session<'_>) {
    let monitor = &session.state.monitor;
    let version = monitor.greeting().and_then(|it| it.version.as_ref());
    output::note(format_args!(
        "connected to the {}{}; help shows the syntax, Ctrl-D leaves",
        monitor.server().trim_start_matches("the "),
        version.map_or_else(String::new, |it| format!(", QEMU {it}"))
    ));
}

fn failed(error: &ReadlineError) -> Failure {
    Failure::new(
        Outcome::Broken,
        format!("the terminal cannot be used: {error}"),
    )
}

/// Interrupts the editor if somebody calls.
struct Interrupter(Attention);

impl Wake for Interrupter {
    fn wake(self: Arc<Self>) {
        self.0.raise();
    }
}

/// What the editor asks about its line.
struct Person {
    state: Rc<State>,
    attention: Attention,
    screen: Arc<Screen>,
}

impl Helper for Person {}

impl Highlighter for Person {}

impl Hinter for Person {
    type Hint = String;

    /// Gives no hint. The editor asks for one whenever it shows the line, after it
    /// began to listen to SIGINT and to its printer. So a call and an end that came
    /// just before are not missed.
    fn hint(&self, _line: &str, _pos: usize, _context: &Context<'_>) -> Option<String> {
        self.screen.set(Turn::Editor);
        if self.attention.has_calls() || self.state.monitor.disconnected().is_some() {
            self.attention.raise();
        }
        None
    }
}

impl Validator for Person {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let is_open = self.state.mode.get() == Mode::Qmp && !line::is_complete(context.input());
        Ok(if is_open {
            ValidationResult::Incomplete
        } else {
            // The editor ends now.
            self.screen.set(Turn::Changing);
            ValidationResult::Valid(None)
        })
    }
}

impl Completer for Person {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        _context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let facts = Live(&self.state.monitor);
        let text = &line[..pos];
        let (start, candidates) = match (self.state.mode.get(), self.state.schema()) {
            (Mode::Human, _) => human(&facts, text),
            (Mode::Qmp, Some(schema)) => complete(schema, &facts, text),
            (Mode::Qmp, None) => (pos, Vec::new()),
        };
        let pairs = candidates
            .into_iter()
            .take(CANDIDATES_LIMIT)
            .map(|it| Pair {
                display: it.shown,
                replacement: it.text,
            });
        Ok((start, pairs.collect()))
    }
}

/// More than the editor can list.
const CANDIDATES_LIMIT: usize = 10_000;

/// Up a line, and down again.
const NOTHING: &str = "\x1b[1A\n";
