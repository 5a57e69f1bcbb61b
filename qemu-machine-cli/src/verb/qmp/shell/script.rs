//! Lines without a person: a command in each, from standard input or a file.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::task::{Wake, Waker};
use std::thread;

use super::{Ended, Options, execute, listener};
use crate::attention::Call;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::output;
use crate::verb::qmp::line::{self, Mode};
use crate::verb::qmp::session::Session;

/// What can come while a script waits for its next line.
enum Input {
    Line(String),
    /// There are no more lines.
    End,
    Unreadable(io::Error),
    /// The connection has ended.
    Lost,
    /// Somebody calls.
    Called,
}

/// Wakes the script if somebody calls.
struct Caller(Sender<Input>);

impl Wake for Caller {
    fn wake(self: Arc<Self>) {
        // It has ended if it does not receive.
        let _ = self.0.send(Input::Called);
    }
}

pub(super) fn run(
    session: &mut Session<'_>,
    file: Option<&Path>,
    options: &Options,
) -> Result<Ended, Failure> {
    let (inputs, receiver) = mpsc::channel();
    let next = read(file, inputs.clone())?;
    let (shows, lost) = (options.shows_events, inputs.clone());
    let show = move |text: String| {
        if shows {
            output::write_error(text.as_bytes());
        }
    };
    let ended = move || drop(lost.send(Input::Lost));
    let listening = listener::listen(session.state.monitor.events(), show, ended);
    let listener = listening.map_err(|error| no_thread(&error))?;
    let caller = Waker::from(Arc::new(Caller(inputs)));
    let mut script = Script {
        number: 0,
        text: String::new(),
        begin: 1,
        outcome: Outcome::Succeeded,
    };
    loop {
        // The reader is ahead by one line at most.
        let _ = next.send(());
        let input = wait(session, &receiver, &caller);
        let ended = match input {
            Input::Line(line) => script.line(session, &line, options)?,
            Input::End => Some(script.finish(session, options)?),
            Input::Unreadable(error) => {
                let message = format!("cannot read line {}: {error}", script.number + 1);
                return Err(Failure::new(Outcome::Broken, message));
            }
            Input::Lost => Some(session.lost(script.outcome)),
            Input::Called => match session.attention.take() {
                Some(Call::Signal(number)) => Some(Ended::Signal(number)),
                _ => None,
            },
        };
        if let Some(ended) = ended {
            if matches!(ended, Ended::Quit(_) | Ended::Lost(_)) {
                listener.finish();
            }
            return Ok(ended);
        }
    }
}

/// The script, as far as it was read.
struct Script {
    /// The number of the last line.
    number: usize,
    /// The lines that are not executed, because a bracket is open in them.
    text: String,
    /// The number of the first of these.
    begin: usize,
    /// That of the first command that failed.
    outcome: Outcome,
}

impl Script {
    fn line(
        &mut self,
        session: &mut Session<'_>,
        line: &str,
        options: &Options,
    ) -> Result<Option<Ended>, Failure> {
        self.number += 1;
        if self.text.is_empty() {
            self.begin = self.number;
        }
        self.text += line;
        let is_open = session.state.mode.get() == Mode::Qmp && !line::is_complete(&self.text);
        if is_open {
            return Ok(None);
        }
        self.execute(session, options)
    }

    fn execute(
        &mut self,
        session: &mut Session<'_>,
        options: &Options,
    ) -> Result<Option<Ended>, Failure> {
        let text = std::mem::take(&mut self.text);
        let place = format!("line {}: ", self.begin);
        execute(
            session,
            &text,
            &place,
            options.keeps_going,
            &mut self.outcome,
        )
    }

    /// Executes what is left, which is not complete.
    fn finish(&mut self, session: &mut Session<'_>, options: &Options) -> Result<Ended, Failure> {
        let ended = self.execute(session, options)?;
        Ok(ended.unwrap_or(Ended::Left(self.outcome)))
    }
}

/// Waits for the next line, or for what comes before.
fn wait(session: &Session<'_>, inputs: &Receiver<Input>, caller: &Waker) -> Input {
    if session.attention.watch(Some(caller.clone())) {
        return Input::Called;
    }
    // The sender of calls is here, so this cannot fail.
    let input = inputs.recv().unwrap_or(Input::End);
    session.attention.watch(None);
    input
}

/// Reads lines in a thread, each when it is asked for.
fn read(file: Option<&Path>, inputs: Sender<Input>) -> Result<Sender<()>, Failure> {
    let mut source: Box<dyn BufRead + Send> = match file {
        Some(path) => {
            let file = File::open(path).map_err(|error| Failure::file("read", path, &error))?;
            Box::new(BufReader::new(file))
        }
        None => Box::new(BufReader::new(io::stdin())),
    };
    let (next, wanted) = mpsc::channel();
    let read = move || {
        for () in wanted {
            let mut bytes = Vec::new();
            let input = match source.read_until(b'\n', &mut bytes) {
                Ok(0) => Input::End,
                Ok(_) => match String::from_utf8(bytes) {
                    Ok(line) => Input::Line(line),
                    Err(error) => Input::Unreadable(io::Error::other(error)),
                },
                Err(error) => Input::Unreadable(error),
            };
            if inputs.send(input).is_err() {
                break;
            }
        }
    };
    let thread = thread::Builder::new().name("script".to_owned());
    thread.spawn(read).map_err(|error| no_thread(&error))?;
    Ok(next)
}

fn no_thread(error: &io::Error) -> Failure {
    Failure::new(Outcome::Broken, format!("cannot start a thread: {error}"))
}
