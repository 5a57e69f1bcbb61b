//! A console handed to a person, at a terminal or at what stands for one.
//!
//! ```text
//! input --type_in (engine)--> QEMU's socket      Buffer --show (engine)--> output
//! ```

use std::error::Error;
use std::fmt;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use qemu_qmp_engine::{
    self as engine, Elapsed, Engine, NotSent, Task, first, operation, timeout_option,
};

use super::buffer::End;
use super::past_queries::PastQueries;
use super::person_output::PersonOutput;
use super::terminal::{Direction, Line};
use super::{Console, SendError, Wire, restore};
use crate::life::ExitReport;
use crate::sys;

/// Hands a console to a person; made by [`Console::interact`].
///
/// Where the input is a terminal, it is in raw mode meanwhile, so that every
/// key goes to the guest, Ctrl-C too. It gets its mode back before the result is
/// told, when the future is dropped, also by a panic, and when this process
/// exits by itself. What kills it at once (a signal, an abort) leaves the
/// terminal raw, as this library has no signal handlers: `stty sane` helps then,
/// and shells such as bash do it themselves.
///
/// What the guest has changed about the terminal is undone at the same time, and
/// nothing else: the alternate screen, the mouse, a hidden cursor, no wrap,
/// colours, the scroll region, character sets and so on. A terminal that takes
/// nothing is not waited for longer than 1 s.
///
/// The session begins with what nobody has taken yet of what the console said,
/// and what is shown counts as taken. Queries to the terminal in it, such as for
/// the cursor's place, are left out: the answers would be typed. A console that
/// says more than the terminal takes is not held up; what is left out is told in
/// the midst of it.
///
/// It has no deadline unless it is given one: a person takes their time.
///
/// # Errors
/// Each variant of [`InteractError`] says when.
///
/// # Cancel safety
/// If the future is dropped, the terminal gets its mode back at once; a key that
/// is pressed at that very moment may still go to the guest.
#[derive(Debug)]
#[must_use = "nobody is handed the console until awaited or waited for"]
pub struct Interact {
    console: Console,
    input: Option<OwnedFd>,
    output: Option<OwnedFd>,
    escape: Option<u8>,
    timeout: Option<Duration>,
}

/// How a person left a console.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum InteractEnd {
    /// By the escape. What came along with it, after it, is dropped.
    Escape,
    /// The input ended: a pipe that was closed, a file that was read, a
    /// terminal that was hung up, `/dev/null`.
    InputEnded,
    /// QEMU closed the console.
    Closed,
    /// The machine ended.
    MachineEnded(Arc<ExitReport>),
}

/// A console could not be handed to a person, or not for longer.
#[non_exhaustive]
pub enum InteractError {
    /// There is no console to be handed to anybody.
    NoConsole {
        /// Why not.
        reason: &'static str,
    },
    /// The input, the output or the terminal's mode failed us.
    Terminal {
        /// What was to be done.
        action: &'static str,
        /// What the system says.
        cause: io::Error,
    },
    /// Another session has the person's terminal; there can be one at a time.
    TerminalTaken,
    /// This program is in the background of the person's terminal, which would
    /// stop it. A session that was put there ends at the next key.
    Background,
    /// What came from an input that is no terminal did not reach the console.
    NotSent(SendError),
    /// The session was longer than it was to be.
    Timeout {
        /// The deadline.
        limit: Duration,
    },
}

impl fmt::Display for InteractError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoConsole { reason } => write!(f, "{reason}"),
            Self::Terminal { action, cause } => write!(f, "cannot {action}: {cause}"),
            Self::TerminalTaken => f.write_str("another session has the terminal"),
            Self::Background => f.write_str(
                "cannot read the terminal: this program is in its background; bring it to the \
                 foreground (`fg`), or give `input` another terminal",
            ),
            Self::NotSent(cause) => write!(f, "{cause}"),
            Self::Timeout { limit } => write!(f, "nobody left the console within {limit:?}"),
        }
    }
}

impl Error for InteractError {}

impl Console {
    /// Hands the console to the person at this program's terminal, until they
    /// press Ctrl-], the input ends, or the machine does.
    ///
    /// # Examples
    /// ```no_run
    /// # use qemu_machine::{Machine, Wait};
    /// # fn debug(vm: &Machine) -> Result<(), Box<dyn std::error::Error>> {
    /// eprintln!("Ctrl-] leaves the guest");
    /// let end = vm.console().interact().wait()?;
    /// eprintln!("{end}");
    /// # Ok(())
    /// # }
    /// ```
    pub fn interact(&self) -> Interact {
        Interact {
            console: self.clone(),
            input: None,
            output: None,
            escape: Some(0x1d),
            timeout: None,
        }
    }
}

impl Interact {
    /// What the person types on, instead of standard input.
    pub fn input(mut self, input: impl Into<OwnedFd>) -> Self {
        self.input = Some(input.into());
        self
    }

    /// What the person looks at, instead of standard output.
    pub fn output(mut self, output: impl Into<OwnedFd>) -> Self {
        self.output = Some(output.into());
        self
    }

    /// The byte that ends the session, instead of 0x1d (Ctrl-]). The guest
    /// never gets it.
    pub fn escape(mut self, byte: u8) -> Self {
        self.escape = Some(byte);
        self
    }

    /// Gives the guest every byte: nothing that is typed ends the session.
    pub fn no_escape(mut self) -> Self {
        self.escape = None;
        self
    }
}

timeout_option!(Interact, timeout);

operation!(Interact => Result<InteractEnd, InteractError>);

impl Interact {
    async fn run(self) -> Result<InteractEnd, InteractError> {
        let Self {
            console,
            input,
            output,
            escape,
            timeout,
        } = self;
        let standard = |given: Option<OwnedFd>, own: &dyn AsFd| match given {
            Some(given) => Ok(given),
            None => own.as_fd().try_clone_to_owned(),
        };
        let input = standard(input, &io::stdin()).map_err(terminal("take the input"))?;
        let output = standard(output, &io::stdout()).map_err(terminal("take the output"))?;
        let is_terminal = input.is_terminal();
        if sys::is_in_background(&input) {
            return Err(InteractError::Background);
        }
        let line = Line::open(&input, Direction::Input).map_err(terminal("take the input"))?;
        let output = Line::open(&output, Direction::Output).map_err(terminal("take the output"))?;
        let engine = Engine::start().map_err(terminal("start a thread"))?;
        // Dropped in the reverse order: first nobody reads any more.
        let _raw = if is_terminal {
            let raw = restore::raw_mode(input);
            let raw = raw.map_err(terminal("have the terminal in raw mode"))?;
            Some(raw.ok_or(InteractError::TerminalTaken)?)
        } else {
            None
        };
        let (output, _modes) = PersonOutput::new(output);
        let session = Session {
            console: console.clone(),
            input: line,
            output,
            escape,
            is_terminal,
        };
        let mut session = Aborted(engine.spawn(session.run()));
        let deadlines = &console.shared.deadlines;
        match deadlines.timeout(timeout, &mut session.0).await {
            Ok(Some(ended)) => ended,
            // Nobody else aborts it: it has panicked.
            Ok(None) => Err(terminal("go on")(io::Error::other("the session is lost"))),
            Err(Elapsed(limit)) => {
                // What it holds is let go of before that is told.
                session.0.abort();
                let _ = (&mut session.0).await;
                Err(InteractError::Timeout { limit })
            }
        }
    }
}

fn told(end: End) -> Result<InteractEnd, InteractError> {
    match end {
        End::Closed => Ok(InteractEnd::Closed),
        End::MachineEnded(report) => Ok(InteractEnd::MachineEnded(report)),
        End::Absent(reason) => Err(InteractError::NoConsole { reason }),
    }
}

/// How long whoever reads the output has for what was said before the end.
const LAST_WORDS: Duration = Duration::from_secs(5);

fn terminal(action: &'static str) -> impl Fn(io::Error) -> InteractError {
    move |cause| InteractError::Terminal { action, cause }
}

/// Ends a task when nobody waits for it any more.
struct Aborted<T>(Task<T>);

impl<T> Drop for Aborted<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Session {
    console: Console,
    input: Line,
    output: Arc<PersonOutput>,
    escape: Option<u8>,
    is_terminal: bool,
}

impl Session {
    async fn run(self) -> Result<InteractEnd, InteractError> {
        // Who is told of the end has seen all that was said before.
        let session = pin!(first(self.show(), self.type_in()));
        let end = first(session, pin!(self.long_over())).await;
        self.output.restore().await;
        end
    }

    /// The console's end, once whoever reads the output has had time for what
    /// was said before: they may never take it.
    async fn long_over(&self) -> Result<InteractEnd, InteractError> {
        let end = self.console.ended().await;
        engine::pause(LAST_WORDS).await;
        told(end)
    }

    async fn show(&self) -> Result<InteractEnd, InteractError> {
        let (mut position, begun_at) = {
            let buffer = self.console.lock();
            (buffer.taken(), buffer.received())
        };
        let mut past = PastQueries::default();
        loop {
            let more = self.console.more();
            let (mut piece, begin, ended) = {
                let buffer = self.console.lock();
                let (piece, begin) = buffer.since(position, PIECE_BYTES);
                (piece, begin, buffer.ended())
            };
            let write = |cause| terminal("write to the output")(cause);
            if begin > position {
                let cut = past.end();
                self.output.write(&cut).await.map_err(write)?;
                let left_out = format!("\r\n[{} bytes are left out]\r\n", begin - position);
                self.output
                    .write(left_out.as_bytes())
                    .await
                    .map_err(write)?;
            }
            if piece.is_empty() {
                match ended {
                    None => more.await,
                    Some(end) => return told(end),
                }
                continue;
            }
            if begin < begun_at {
                let length = usize::try_from(begun_at - begin).unwrap_or(usize::MAX);
                piece.truncate(length);
                let mut shown = past.pass(&piece);
                if begin + piece.len() as u64 == begun_at {
                    shown.extend(past.end());
                }
                self.output.write(&shown).await.map_err(write)?;
            } else {
                self.output.write(&piece).await.map_err(write)?;
            }
            position = begin + piece.len() as u64;
            self.console.lock().take_until(position);
            // Others have their turn before a flood goes on.
            engine::yield_now().await;
        }
    }

    async fn type_in(&self) -> Result<InteractEnd, InteractError> {
        let mut keys = [0; PIECE_BYTES];
        loop {
            let read = self.input.read(&mut keys).await;
            let count = read.map_err(|error| {
                if self.input.is_in_background() {
                    InteractError::Background
                } else {
                    terminal("read the input")(error)
                }
            })?;
            if count == 0 {
                return Ok(InteractEnd::InputEnded);
            }
            let keys = &keys[..count];
            let escape = keys.iter().position(|&key| Some(key) == self.escape);
            self.send(&keys[..escape.unwrap_or(count)]).await?;
            if escape.is_some() {
                return Ok(InteractEnd::Escape);
            }
            engine::yield_now().await;
        }
    }

    async fn send(&self, keys: &[u8]) -> Result<(), InteractError> {
        if keys.is_empty() {
            return Ok(());
        }
        if let (true, Wire::Drained(stream)) = (self.is_terminal, &self.console.shared.wire) {
            // A guest that reads nothing must not keep the escape from being
            // observed. What is too much is dropped with a bell, as a terminal
            // does it whose line is full.
            if let Err(NotSent::Full) = stream.send(keys) {
                self.output.offer(BELL);
            }
            return Ok(());
        }
        match self.console.send(keys).timeout(None).await {
            // An end is told by who shows what the console said. Meanwhile the
            // input's own end is still to be observed.
            Ok(())
            | Err(
                SendError::Closed { .. }
                | SendError::MachineEnded { .. }
                | SendError::NoConsole { .. },
            ) => Ok(()),
            Err(error) => Err(InteractError::NotSent(error)),
        }
    }
}

const PIECE_BYTES: usize = 4 << 10;
const BELL: u8 = 0x07;

impl fmt::Display for InteractEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Escape => f.write_str("the console was left"),
            Self::InputEnded => f.write_str("the input has ended"),
            Self::Closed => f.write_str("the console was closed"),
            Self::MachineEnded(report) => write!(f, "{report}"),
        }
    }
}
