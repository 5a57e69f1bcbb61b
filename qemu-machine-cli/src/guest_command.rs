//! A command in a guest whose output and status become ours: by the guest's
//! agent, or by the shell on a console.
//!
//! ```text
//! agent: Exec --stream--+
//! shell: Run  --stream--+--pieces--> standard output, standard error
//! ```

use std::fmt;
use std::io::{self, Read};
use std::time::Duration;

use qemu_machine::Shell;
use qemu_machine::console::OutputPiece;
use qemu_machine::error::{AgentError, ErrorKind, ShellError};
use qemu_machine::qmp::agent::{Exec, ExecOutput};

use crate::advice::in_our_words;
use crate::attention::{Attention, Call};
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::output;

/// How a command of the guest's ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CommandEnd {
    Code(i64),
    Signal(i64),
}

/// Why a command was not followed to its end.
#[derive(Debug)]
pub(crate) enum Unfinished {
    Called(Call),
    Agent(Box<AgentError>),
    Shell(Box<ShellError>),
    /// Standard output cannot be written.
    Output(Failure),
}

impl fmt::Display for CommandEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with status {code}"),
            Self::Signal(signal) => write!(f, "was ended by signal {signal}"),
        }
    }
}

impl CommandEnd {
    pub(crate) fn is_success(self) -> bool {
        self == Self::Code(0)
    }

    /// The outcome of a verb that is only this command.
    pub(crate) fn outcome(self) -> Outcome {
        match self {
            Self::Code(code) => Outcome::Exit(code),
            Self::Signal(number) => {
                Outcome::Signal(i32::try_from(number).unwrap_or(i32::MAX - 128))
            }
        }
    }
}

impl From<ExecOutput> for CommandEnd {
    fn from(output: ExecOutput) -> Self {
        match (output.code, output.signal) {
            (Some(code), _) => Self::Code(code),
            (None, signal) => Self::Signal(signal.unwrap_or_default()),
        }
    }
}

/// Runs a program by the agent. `left` is the time that is left. If somebody
/// calls, the program is asked to end.
pub(crate) fn by_agent(
    exec: impl Fn() -> Exec,
    attention: &Attention,
    left: impl Fn() -> Option<Duration>,
) -> Result<CommandEnd, Unfinished> {
    let started = attention.wait(exec().stream().timeout(left()))?;
    let mut program = match started {
        Ok(program) => program,
        // It has no shell, as Windows.
        Err(error) if error.kind() == ErrorKind::Refused => {
            return at_once(exec(), attention, left());
        }
        Err(error) => return Err(error.into()),
    };
    let failure = loop {
        match attention.wait(program.next_piece().timeout(left())) {
            Ok(Ok(Some(piece))) => {
                if let Err(failure) = print(piece) {
                    break Unfinished::Output(failure);
                }
            }
            Ok(Ok(None)) => {
                let end = attention.wait(program.wait_for_exit().timeout(left()))?;
                return Ok(end?.into());
            }
            // It has no `mkfifo`, or nowhere to make one: the program was not started.
            Ok(Err(error)) if error.kind() == ErrorKind::Unsupported => {
                return at_once(exec(), attention, left());
            }
            Ok(Err(error)) => break error.into(),
            Err(call) => break call.into(),
        }
    };
    // It may fail for the same reason, which is reported.
    let _ = attention.wait(program.cancel().timeout(CANCEL_TIME));
    Err(failure)
}

/// Runs a program whose output the agent keeps.
fn at_once(
    exec: Exec,
    attention: &Attention,
    left: Option<Duration>,
) -> Result<CommandEnd, Unfinished> {
    let ran = attention.wait(exec.timeout(left))??;
    output::write_error(&ran.stderr);
    output::write(&ran.stdout).map_err(Unfinished::Output)?;
    if ran.stdout_truncated || ran.stderr_truncated {
        let reason = "this guest has no shell, so its agent keeps only 16 MiB of each stream, \
                      and the rest is lost";
        return Err(Unfinished::Output(Failure::new(Outcome::Broken, reason)));
    }
    Ok(ran.into())
}

/// Runs a script by the shell on a console. `left` is the time that is left. The
/// guest prints the errors after the output.
pub(crate) fn by_shell(
    shell: &mut Shell,
    script: &str,
    input: &[u8],
    attention: &Attention,
    left: impl Fn() -> Option<Duration>,
) -> Result<CommandEnd, Unfinished> {
    // In a subshell, an `exit` does not end the shell that reports the status.
    let run = shell.run(format!("(\n{script}\n)")).input(input);
    let started = attention.wait(run.stderr_apart().stream().timeout(left()))?;
    let mut run = started?;
    while let Some(piece) = attention.wait(run.next_piece().timeout(left()))?? {
        print(piece).map_err(Unfinished::Output)?;
    }
    Ok(CommandEnd::Code(run.status().unwrap_or(-1).into()))
}

/// All of our standard input.
pub(crate) fn standard_input() -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = io::stdin().lock().read_to_end(&mut bytes);
    read.map_err(|error| {
        let message = format!("cannot read standard input: {error}");
        Failure::new(Outcome::Broken, message)
    })?;
    Ok(bytes)
}

fn print(piece: OutputPiece) -> Result<(), Failure> {
    match piece {
        OutputPiece::Stdout(bytes) => output::write(&bytes),
        OutputPiece::Stderr(bytes) => {
            output::write_error(&bytes);
            Ok(())
        }
    }
}

impl From<Call> for Unfinished {
    fn from(call: Call) -> Self {
        Self::Called(call)
    }
}

impl From<AgentError> for Unfinished {
    fn from(error: AgentError) -> Self {
        Self::Agent(Box::new(error))
    }
}

impl From<ShellError> for Unfinished {
    fn from(error: ShellError) -> Self {
        Self::Shell(Box::new(error))
    }
}

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Called(Call::Signal(number)) => write!(f, "signal {number} came"),
            Self::Called(Call::Output(_, text)) => f.write_str(text),
            Self::Called(Call::Unmounted) => f.write_str("the file system was unmounted"),
            Self::Agent(error) => write!(f, "{error}"),
            Self::Shell(error) => f.write_str(&in_our_words(error)),
            Self::Output(failure) => f.write_str(failure.message.as_deref().unwrap_or_default()),
        }
    }
}

impl From<Unfinished> for Failure {
    /// Of a verb whose other statuses are the command's.
    fn from(unfinished: Unfinished) -> Self {
        let outcome = |kind| match Outcome::of(kind) {
            Outcome::Failed => Outcome::Broken,
            outcome => outcome,
        };
        match unfinished {
            Unfinished::Called(Call::Signal(number)) => Self {
                outcome: Outcome::Signal(number),
                message: None,
            },
            Unfinished::Called(Call::Output(kind, _)) => output::unwritable(&kind.into()),
            Unfinished::Called(Call::Unmounted) => Self::new(Outcome::Broken, &unfinished),
            Unfinished::Agent(ref error) => Self::new(outcome(error.kind()), &unfinished),
            Unfinished::Shell(ref error) => Self::new(outcome(error.kind()), &unfinished),
            Unfinished::Output(failure) => failure,
        }
    }
}

/// How long a program that nobody follows may take to be ended.
const CANCEL_TIME: Duration = Duration::from_secs(2);
