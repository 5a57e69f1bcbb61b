//! A program in the guest whose output is read while it runs.
//!
//! The agent itself keeps 16 MiB of each stream, and returns them when the
//! program has exited. So shell scripts in the guest keep the output in small
//! files, which the agent reads.
//!
//! ```text
//! StartStream: SET_UP -> directory -> PUMP -> PROGRAM -> StreamedProgram
//! NextPiece:   segments of out and err, in turn --pause--> again
//! the end:     both streams ended -> the pump removes the directory
//! a drop:      CLEAN_UP removes it
//! ```
//!
//! Never keeps more than one piece on this side, and never leaves the directory
//! in the guest, as far as the agent answers.

mod script;
mod segments;

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use qemu_qmp_engine::{operation, timeout_option};
use serde_json::json;

use super::call::{Operation, Running};
use super::open_file::OpenFile;
use super::process::{GuestProcess, LastStatus, ask, longer, wait_for_exit};
use super::{AgentError, AgentFailure, Exec, ExecOutput, GuestAgent};
use segments::Segments;

/// Starts a program whose output is read while it runs; made by
/// [`Exec::stream`].
///
/// # Errors
/// [`AgentError`], with [`AgentFailure::NoStream`] if the guest lacks what the
/// stream needs.
///
/// # Cancel safety
/// If the future is dropped, nothing of it stays in the guest. A program that
/// was started loses its output, as [`StreamedProgram`] describes.
#[must_use = "nothing is started until awaited or waited for"]
pub struct StartStream {
    operation: Operation,
    exec: Exec,
}

/// A program in the guest whose output is read while it runs; made by
/// [`Exec::stream`].
///
/// The output may have any length. Both streams come byte by byte as the program
/// wrote them, and apart. The order between the two streams is not known.
///
/// If nobody reads, the program waits when the guest keeps some 8 MiB of a
/// stream. If this handle is dropped before the end, the program can write no
/// more: its next writes fail, which ends most programs (SIGPIPE).
pub struct StreamedProgram {
    out: Segments,
    err: Segments,
    /// Whether the last piece was one of standard output.
    was_out: bool,
    program: GuestProcess,
    pump: GuestProcess,
    directory: Option<Directory>,
    agent: GuestAgent,
}

/// A piece of a program's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputPiece {
    /// The next bytes of its standard output.
    Stdout(Vec<u8>),
    /// The next bytes of its standard error.
    Stderr(Vec<u8>),
}

/// Waits for the next piece of a program's output; made by
/// [`StreamedProgram::next_piece`].
///
/// The result is `None` when both streams have ended.
///
/// # Errors
/// [`AgentError`], with [`AgentFailure::StillRunning`] if nothing came in time,
/// and [`AgentFailure::OutputLost`] if the guest lost the output.
///
/// # Cancel safety
/// If the future is dropped, no byte is lost: the next call returns it.
#[must_use = "nothing is read until awaited or waited for"]
pub struct NextPiece<'a> {
    operation: Operation,
    program: &'a mut StreamedProgram,
}

/// Waits for the exit of a program, and discards the output that was not read;
/// made by [`StreamedProgram::wait_for_exit`].
///
/// The result has no output.
///
/// # Errors
/// As for [`NextPiece`].
///
/// # Cancel safety
/// As for [`StreamedProgram`], which is dropped.
#[must_use = "nothing is waited for until awaited or waited for"]
pub struct WaitForStreamEnd {
    operation: Operation,
    program: StreamedProgram,
}

/// Ends a program early; made by [`StreamedProgram::cancel`].
///
/// # Errors
/// [`AgentError`]; its [`failure`](AgentError::failure) is the reason.
///
/// # Cancel safety
/// As for [`StreamedProgram`], which is dropped.
#[must_use = "the output is discarded, but the program may run, unless awaited or waited for"]
pub struct CancelStream {
    operation: Operation,
    program: StreamedProgram,
}

timeout_option!(StartStream, operation.timeout);
timeout_option!(CancelStream, operation.timeout);
timeout_option!(NextPiece<'_>, operation.timeout);
timeout_option!(WaitForStreamEnd, operation.timeout);

impl Exec {
    /// Starts the program, and reads its output while it runs, of any length.
    ///
    /// The guest needs `/bin/sh`, `dd`, `mkfifo` and a directory for temporary
    /// files, as any Linux has. A program that was not found has the code 127,
    /// and the shell's message on its standard error.
    ///
    /// # Examples
    /// ```no_run
    /// use std::io::Write;
    ///
    /// use qemu_qmp::Wait;
    /// use qemu_qmp::agent::OutputPiece;
    /// # use qemu_qmp::agent::GuestAgent;
    ///
    /// # fn run(agent: &GuestAgent) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut build = agent.exec("make").arg("-j2").stream().wait()?;
    /// while let Some(piece) = build.next_piece().timeout(None).wait()? {
    ///     match piece {
    ///         OutputPiece::Stdout(bytes) => std::io::stdout().write_all(&bytes)?,
    ///         OutputPiece::Stderr(bytes) => std::io::stderr().write_all(&bytes)?,
    ///     }
    /// }
    /// assert!(build.wait_for_exit().wait()?.success());
    /// # Ok(())
    /// # }
    /// ```
    pub fn stream(self) -> StartStream {
        StartStream {
            operation: self.operation().clone(),
            exec: self,
        }
    }
}

impl StreamedProgram {
    /// The program's process id in the guest.
    pub fn pid(&self) -> i64 {
        self.program.pid()
    }

    /// Waits for the next piece of either stream.
    ///
    /// The agent does not report new output, so this asks it: at once, and then
    /// after pauses, which grow by a quarter from 5 ms to 200 ms.
    pub fn next_piece(&mut self) -> NextPiece<'_> {
        NextPiece {
            operation: Operation::new(self.agent.clone()),
            program: self,
        }
    }

    /// Waits for the program's exit, and discards output that was not read.
    pub fn wait_for_exit(self) -> WaitForStreamEnd {
        WaitForStreamEnd {
            operation: Operation::new(self.agent.clone()),
            program: self,
        }
    }

    /// Asks the program to end (SIGTERM), and discards its output.
    pub fn cancel(self) -> CancelStream {
        CancelStream {
            operation: Operation::new(self.agent.clone()),
            program: self,
        }
    }

    async fn read(&mut self, running: &Running<'_>) -> Result<Option<OutputPiece>, AgentError> {
        let mut pace = SHORTEST_PACE;
        while !(self.out.has_ended() && self.err.has_ended()) {
            // In turn, so that a flood in one stream does not hide the other.
            for _ in 0..2 {
                self.was_out = !self.was_out;
                let piece = if self.was_out {
                    self.out.read(running).await?.map(OutputPiece::Stdout)
                } else {
                    self.err.read(running).await?.map(OutputPiece::Stderr)
                };
                if piece.is_some() {
                    return Ok(piece);
                }
            }
            if self.out.has_ended() && self.err.has_ended() {
                break;
            }
            if pace == LONGEST_PACE {
                self.check_pump(running).await?;
            }
            if let Err(limit) = running.pause(pace).await {
                let pid = self.program.pid();
                return Err(running.error(EXEC, AgentFailure::StillRunning { limit, pid }));
            }
            pace = LONGEST_PACE.min(longer(pace));
        }
        // The pump removes it now.
        if let Some(directory) = self.directory.take() {
            directory.leave();
        }
        Ok(None)
    }

    /// Fails if the pump has ended before both streams have.
    async fn check_pump(&self, running: &Running<'_>) -> Result<(), AgentError> {
        let (pid, last) = self.pump.parts();
        match ask(running, pid, last).await? {
            None => Ok(()),
            Some(end) => {
                let reason = words(&end.stderr);
                Err(running.error(EXEC, AgentFailure::OutputLost { reason }))
            }
        }
    }
}

operation!(StartStream => Result<StreamedProgram, AgentError>);

impl StartStream {
    async fn run(self) -> Result<StreamedProgram, AgentError> {
        let Self { operation, exec } = self;
        let (agent, running) = (operation.agent(), operation.begin());
        let shell = |script: &str, argument: &str| {
            let shell = Exec::new(agent.clone(), SHELL.to_owned());
            shell.args(["-c", script, SHELL, argument])
        };
        let directory = Directory::new(agent.clone());
        let pid = shell(script::SET_UP, &directory.name)
            .start(&running)
            .await?;
        let made = wait_for_exit(&running, pid, &LastStatus::default()).await?;
        let path = String::from_utf8(made.stdout).unwrap_or_default();
        if made.code != Some(0) || !path.ends_with(&directory.name) {
            let reason = words(&made.stderr);
            return Err(running.error(EXEC, AgentFailure::NoStream { reason }));
        }
        let (exec, input) = exec.split_input();
        let source = match input.as_slice() {
            [] => "/dev/null".to_owned(),
            bytes => {
                let source = format!("{path}/in");
                let file = OpenFile::open(&running, &source, "wb").await?;
                for piece in bytes.chunks(INPUT_PIECE_BYTES) {
                    file.write(&running, piece).await?;
                }
                file.close(&running).await?;
                source
            }
        };
        let pump = shell(script::PUMP, &path).start(&running).await?;
        let out = Segments::open(&running, &path, "out").await?;
        let err = Segments::open(&running, &path, "err").await?;
        let words = [SHELL, "-c", script::PROGRAM, SHELL, &path, &source];
        let program = exec.capture_output(false).behind(&words);
        let program = program.start(&running).await?;
        Ok(StreamedProgram {
            out,
            err,
            was_out: false,
            program: GuestProcess::new(agent.clone(), program),
            pump: GuestProcess::new(agent.clone(), pump),
            directory: Some(directory),
            agent,
        })
    }
}

operation!({'a} NextPiece<'a> => Result<Option<OutputPiece>, AgentError>, 'a);

impl NextPiece<'_> {
    async fn run(self) -> Result<Option<OutputPiece>, AgentError> {
        let running = self.operation.begin();
        self.program.read(&running).await
    }
}

operation!(WaitForStreamEnd => Result<ExecOutput, AgentError>);

impl WaitForStreamEnd {
    async fn run(self) -> Result<ExecOutput, AgentError> {
        let Self {
            operation,
            mut program,
        } = self;
        let running = operation.begin();
        while program.read(&running).await?.is_some() {}
        let (pid, last) = program.program.parts();
        let end = wait_for_exit(&running, pid, last).await?;
        // Then the directory is gone.
        let (pid, last) = program.pump.parts();
        wait_for_exit(&running, pid, last).await?;
        Ok(end)
    }
}

operation!(CancelStream => Result<(), AgentError>);

impl CancelStream {
    async fn run(self) -> Result<(), AgentError> {
        let Self {
            operation,
            mut program,
        } = self;
        let running = operation.begin();
        if let Some(directory) = program.directory.take() {
            let pid = program.pid().to_string();
            let words = ["-c", script::CLEAN_UP, SHELL, &directory.name, &pid];
            let clean_up = Exec::new(operation.agent(), SHELL.to_owned()).args(words);
            let clean_up = clean_up.start(&running).await?;
            directory.leave();
            wait_for_exit(&running, clean_up, &LastStatus::default()).await?;
        }
        Ok(())
    }
}

/// The private directory in the guest. It is removed if this is dropped.
struct Directory {
    name: String,
    /// `None` if it is removed by its pump.
    agent: Option<GuestAgent>,
}

impl Directory {
    fn new(agent: GuestAgent) -> Self {
        let random = RandomState::new().hash_one(());
        Self {
            name: format!("qemu-qmp-{random:016x}"),
            agent: Some(agent),
        }
    }

    /// Leaves it to its pump.
    fn leave(mut self) {
        self.agent = None;
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Some(agent) = &self.agent {
            let arguments = ["-c", script::CLEAN_UP, SHELL, &self.name];
            let command = json!({"path": SHELL, "arg": arguments, "capture-output": false});
            agent.shared().execute_unattended(EXEC, &command);
        }
    }
}

impl fmt::Debug for StreamedProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamedProgram")
            .field("pid", &self.pid())
            .finish_non_exhaustive()
    }
}

/// What a script of ours said, in one line.
fn words(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let lines: Vec<&str> = text.lines().collect();
    if lines.is_empty() {
        return "its shell script ended".to_owned();
    }
    lines.join("; ")
}

const SHELL: &str = "/bin/sh";
const EXEC: &str = "guest-exec";

/// How much of the input one command writes.
const INPUT_PIECE_BYTES: usize = 1 << 20;

/// The first pause before the agent is asked again.
const SHORTEST_PACE: Duration = Duration::from_millis(5);

/// The longest pause. It is how late a person sees a line.
const LONGEST_PACE: Duration = Duration::from_millis(200);
