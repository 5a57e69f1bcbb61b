//! Connects a console to a person, at a terminal or at another pair of
//! descriptors.
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

use qemu_qmp::error::ErrorKind;
use qemu_qmp_engine::{
    self as engine, Elapsed, Engine, NotSent, Task, first, operation, timeout_option,
};

use super::buffer::End;
use super::person_output::PersonOutput;
use super::query_filter::QueryFilter;
use super::restore::{self, Change};
use super::terminal::{Direction, Line};
use super::{Console, SendError, Wire, subject};
use crate::life::ExitReport;
use crate::sys;

/// Connects a console to a person; made by [`Console::interact`].
///
/// It has no default deadline: a person takes their time.
///
/// **The terminal's mode.** If the input is a terminal, it is in raw mode during
/// the session: every key goes to the guest, Ctrl-C too. The terminal gets its
/// mode back before the operation returns, when the future is dropped (also by
/// a panic), and when this process exits by itself. A signal or an abort that
/// kills the process leaves the terminal raw, because this library has no
/// signal handlers. Then `stty sane` helps; shells such as bash do the same.
///
/// **The guest's changes.** The session's end also undoes the guest's changes to
/// the terminal, and no others. These are the alternate screen, the mouse, a
/// hidden cursor, no wrap, colours, the scroll region, character sets and so on.
/// It waits at most 1 s for a terminal that takes no output.
///
/// **The output.** The session first shows the output that no operation has
/// taken yet. Shown output counts as taken. Old queries to the terminal, such as
/// for the cursor's position, are left out: the terminal would type the answers.
/// A slow terminal does not slow the guest down. The session then leaves bytes
/// out, and a line shows how many.
///
/// # Errors
/// [`InteractError`]; its [`failure`](InteractError::failure) is the reason.
///
/// # Cancel safety
/// If the future is dropped, the terminal gets its mode back at once. A key that
/// is pressed at that moment may still go to the guest.
#[derive(Debug)]
#[must_use = "no session begins until awaited or waited for"]
pub struct Interact {
    console: Console,
    input: Option<OwnedFd>,
    output: Option<OwnedFd>,
    escape: Option<u8>,
    hint: Option<String>,
    timeout: Option<Duration>,
}

/// How a session with a console ended.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum InteractEnd {
    /// The person typed the escape. Input that came together with it, after it,
    /// is dropped.
    Escape,
    /// The input ended: a closed pipe, the end of a file, a terminal that was
    /// hung up, `/dev/null`.
    InputEnded,
    /// QEMU closed the console.
    Closed,
    /// The machine ended.
    MachineEnded(Arc<ExitReport>),
}

/// A session with a console could not begin, or had to end.
#[derive(Clone)]
#[non_exhaustive]
pub struct InteractError {
    /// The machine's name.
    pub machine: String,
    /// The console's name; `None` for the machine's first one.
    pub console: Option<Box<str>>,
    /// The reason.
    pub failure: Box<InteractFailure>,
}

/// Why a session with a console could not begin, or had to end.
#[derive(Clone)]
#[non_exhaustive]
pub enum InteractFailure {
    /// The machine has no such console, or the caller has its socket.
    NoConsole {
        /// Why not.
        reason: &'static str,
    },
    /// The input, the output or the terminal's mode failed.
    Terminal {
        /// The action that failed.
        action: &'static str,
        /// The error of the system.
        cause: Arc<io::Error>,
    },
    /// Another session has the terminal; a terminal has at most one.
    TerminalTaken,
    /// This program is in the background of the terminal, so reading would stop
    /// it. A session that is put into the background ends at the next key.
    Background,
    /// Input that does not come from a terminal did not reach the console.
    NotSent(SendError),
    /// The deadline passed.
    Timeout {
        /// The deadline.
        limit: Duration,
    },
}

impl fmt::Display for InteractError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            machine,
            console,
            failure,
        } = self;
        // The cause names the console itself.
        if let InteractFailure::NotSent(cause) = &**failure {
            return write!(f, "{cause}");
        }
        let subject = subject(machine, console.as_deref());
        write!(f, "{subject}: the interactive session failed: {failure}")
    }
}

impl Error for InteractError {}

impl InteractError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        self.failure.kind()
    }

    /// The error of the system, if that is the reason.
    pub fn io_error(&self) -> Option<&io::Error> {
        match &*self.failure {
            InteractFailure::Terminal { cause, .. } => Some(cause),
            _ => None,
        }
    }

    fn new(console: &Console, failure: InteractFailure) -> Self {
        Self {
            machine: console.shared.machine.clone(),
            console: console.shared.name.as_deref().map(Into::into),
            failure: Box::new(failure),
        }
    }
}

impl fmt::Display for InteractFailure {
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
            Self::Timeout { limit } => write!(f, "it had not ended within {limit:?}"),
        }
    }
}

impl Error for InteractFailure {}

impl InteractFailure {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoConsole { .. } => ErrorKind::Unsupported,
            Self::Terminal { cause, .. } => ErrorKind::of_io(cause),
            Self::TerminalTaken | Self::Background => ErrorKind::InvalidInput,
            Self::NotSent(cause) => cause.kind(),
            Self::Timeout { .. } => ErrorKind::Timeout,
        }
    }
}

impl Console {
    /// Connects the console to the person at this program's terminal. The
    /// session lasts until they press Ctrl-], the input ends, or the machine
    /// ends.
    ///
    /// # Examples
    /// ```no_run
    /// # use qemu_machine::{Machine, Wait};
    /// # fn debug(vm: &Machine) -> Result<(), Box<dyn std::error::Error>> {
    /// let end = vm.console().interact().hint("Ctrl-] leaves the guest").wait()?;
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
            hint: None,
            timeout: None,
        }
    }
}

impl Interact {
    /// Reads the person's input here, instead of standard input.
    pub fn input(mut self, input: impl Into<OwnedFd>) -> Self {
        self.input = Some(input.into());
        self
    }

    /// Writes the console's output here, instead of standard output.
    pub fn output(mut self, output: impl Into<OwnedFd>) -> Self {
        self.output = Some(output.into());
        self
    }

    /// The byte that ends the session, instead of 0x1d (Ctrl-]). The guest never
    /// gets it. With `None` every byte goes to the guest, and no byte ends the
    /// session.
    pub fn escape(mut self, byte: impl Into<Option<u8>>) -> Self {
        self.escape = byte.into();
        self
    }

    /// Shows this line to the person first, for example how they leave. The
    /// terminal is in raw mode by then, so each key that is pressed after the
    /// line goes to the guest. No line is shown if the input is no terminal.
    pub fn hint(mut self, line: impl Into<String>) -> Self {
        self.hint = Some(line.into());
        self
    }
}

timeout_option!(Interact, timeout);

operation!(Interact => Result<InteractEnd, InteractError>);

impl Interact {
    async fn run(self) -> Result<InteractEnd, InteractError> {
        let console = self.console.clone();
        let ended = self.run_session().await;
        ended.map_err(|failure| InteractError::new(&console, failure))
    }

    async fn run_session(self) -> Result<InteractEnd, InteractFailure> {
        let Self {
            console,
            input,
            output,
            escape,
            hint,
            timeout,
        } = self;
        let (input, output) = (
            given_or(input, &io::stdin()),
            given_or(output, &io::stdout()),
        );
        let input = input.map_err(terminal("open the input"))?;
        let output = output.map_err(terminal("open the output"))?;
        let is_terminal = input.is_terminal();
        if sys::is_in_background(&input) {
            return Err(InteractFailure::Background);
        }
        let line = Line::open(&input, Direction::Input).map_err(terminal("open the input"))?;
        let output = Line::open(&output, Direction::Output).map_err(terminal("open the output"))?;
        let engine = Engine::start().map_err(terminal("start a thread"))?;
        // Dropped in the reverse order: the session first.
        let _raw = is_terminal.then(|| raw_mode(input)).transpose()?;
        let (output, _modes) = PersonOutput::new(output);
        let session = Session {
            console: console.clone(),
            input: line,
            output,
            escape,
            hint: hint.filter(|_| is_terminal),
            is_terminal,
        };
        let mut session = AbortOnDrop(engine.spawn(session.run()));
        let deadlines = &console.shared.deadlines;
        match deadlines.timeout(timeout, &mut session.0).await {
            Ok(Some(ended)) => ended,
            // Nothing else aborts it, so it panicked.
            Ok(None) => Err(terminal("go on")(io::Error::other("the session panicked"))),
            Err(Elapsed(limit)) => {
                // Waits until the session has released its resources.
                session.0.abort();
                let _ = (&mut session.0).await;
                Err(InteractFailure::Timeout { limit })
            }
        }
    }
}

/// The caller's descriptor, or a copy of this program's own.
fn given_or(given: Option<OwnedFd>, own: &dyn AsFd) -> io::Result<OwnedFd> {
    match given {
        Some(given) => Ok(given),
        None => own.as_fd().try_clone_to_owned(),
    }
}

fn raw_mode(input: OwnedFd) -> Result<Change, InteractFailure> {
    restore::raw_mode(input)
        .map_err(terminal("put the terminal into raw mode"))?
        .ok_or(InteractFailure::TerminalTaken)
}

fn outcome(end: End) -> Result<InteractEnd, InteractFailure> {
    match end {
        End::Closed => Ok(InteractEnd::Closed),
        End::MachineEnded(report) => Ok(InteractEnd::MachineEnded(report)),
        End::Absent(reason) => Err(InteractFailure::NoConsole { reason }),
    }
}

/// How long the reader of the output may take for the last bytes before the end.
const FINAL_OUTPUT_LIMIT: Duration = Duration::from_secs(5);

fn terminal(action: &'static str) -> impl Fn(io::Error) -> InteractFailure {
    move |cause| InteractFailure::Terminal {
        action,
        cause: Arc::new(cause),
    }
}

/// Ends a task when its waiter is dropped.
struct AbortOnDrop<T>(Task<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Session {
    console: Console,
    input: Line,
    output: Arc<PersonOutput>,
    escape: Option<u8>,
    hint: Option<String>,
    is_terminal: bool,
}

impl Session {
    async fn run(self) -> Result<InteractEnd, InteractFailure> {
        // The session returns the end only after it has shown all output.
        let session = pin!(first(self.show(), self.type_in()));
        let end = first(session, pin!(self.after_end())).await;
        self.output.restore().await;
        end
    }

    /// The console's end, with some time for the reader of the output: it may
    /// never read the last bytes.
    async fn after_end(&self) -> Result<InteractEnd, InteractFailure> {
        let end = self.console.ended().await;
        engine::pause(FINAL_OUTPUT_LIMIT).await;
        outcome(end)
    }

    async fn show(&self) -> Result<InteractEnd, InteractFailure> {
        if let Some(hint) = &self.hint {
            self.write(format!("{hint}\r\n").as_bytes()).await?;
        }
        let (mut position, begun_at) = {
            let buffer = self.console.lock();
            (buffer.taken(), buffer.received())
        };
        let mut old = OldOutput {
            filter: QueryFilter::default(),
            end: begun_at,
        };
        loop {
            let more = self.console.more();
            let (piece, begin, ended) = {
                let buffer = self.console.lock();
                let (piece, begin) = buffer.since(position, PIECE_BYTES);
                (piece, begin, buffer.ended())
            };
            if begin > position {
                self.write(&old.filter.end()).await?;
                let left_out = format!("\r\n[{} bytes are left out]\r\n", begin - position);
                self.write(left_out.as_bytes()).await?;
            }
            if piece.is_empty() {
                match ended {
                    None => more.await,
                    Some(end) => return outcome(end),
                }
                continue;
            }
            let (shown, length) = old.pass(piece, begin);
            self.write(&shown).await?;
            position = begin + length;
            self.console.lock().take_until(position);
            // Other tasks have their turn before a flood goes on.
            engine::yield_now().await;
        }
    }

    async fn write(&self, bytes: &[u8]) -> Result<(), InteractFailure> {
        let written = self.output.write(bytes).await;
        written.map_err(terminal("write to the output"))
    }

    async fn type_in(&self) -> Result<InteractEnd, InteractFailure> {
        let mut keys = [0; PIECE_BYTES];
        loop {
            let read = self.input.read(&mut keys).await;
            let count = read.map_err(|error| {
                if self.input.is_in_background() {
                    InteractFailure::Background
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

    async fn send(&self, keys: &[u8]) -> Result<(), InteractFailure> {
        if keys.is_empty() {
            return Ok(());
        }
        if let (true, Wire::Drained(stream)) = (self.is_terminal, &self.console.shared.wire) {
            // If the guest does not read, the escape must still work. So keys
            // that do not fit are dropped with a bell, as a terminal does when
            // its line is full.
            self.console.shared.known_shell.types();
            if let Err(NotSent::Full) = stream.send(keys) {
                self.output.offer(BELL);
            }
            return Ok(());
        }
        match self.console.send(keys).timeout(None).await {
            // `show` reports these ends. Until then the input may still end.
            Ok(())
            | Err(
                SendError::Closed { .. }
                | SendError::MachineEnded { .. }
                | SendError::NoConsole { .. },
            ) => Ok(()),
            Err(error) => Err(InteractFailure::NotSent(error)),
        }
    }
}

/// The output from before the session, whose queries are left out.
struct OldOutput {
    filter: QueryFilter,
    /// Where it ends in the stream.
    end: u64,
}

impl OldOutput {
    /// The bytes to show of a piece that begins at `begin`, and how many bytes
    /// of the stream that covers.
    fn pass(&mut self, mut piece: Vec<u8>, begin: u64) -> (Vec<u8>, u64) {
        if begin >= self.end {
            let length = piece.len() as u64;
            return (piece, length);
        }
        piece.truncate(usize::try_from(self.end - begin).unwrap_or(usize::MAX));
        let length = piece.len() as u64;
        let mut shown = self.filter.push(&piece);
        if begin + length == self.end {
            shown.extend(self.filter.end());
        }
        (shown, length)
    }
}

const PIECE_BYTES: usize = 4 << 10;
const BELL: u8 = 0x07;

impl fmt::Display for InteractEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Escape => f.write_str("the person left the console"),
            Self::InputEnded => f.write_str("the input ended"),
            Self::Closed => f.write_str("QEMU closed the console"),
            Self::MachineEnded(report) => write!(f, "{report}"),
        }
    }
}
