//! A program in the guest whose output is read while it runs.
//!
//! The agent itself keeps 16 MiB of each stream, and returns them when the
//! program has exited. So a shell script in the guest keeps the output in small
//! files, which the agent reads.
//!
//! ```text
//! StartStream: START -> StreamedProgram
//! NextPiece:   exited? --no--> segments of out and err, in turn --pause--> again
//!                 |yes-------> what the script printed (script::Trailer)
//! the end:     the script removes the directory
//! a drop:      CLEAN_UP removes it
//! ```
//!
//! Never keeps more than two segments on this side, and never leaves the
//! directory in the guest, as far as the agent answers.

mod directory;
mod live;
mod script;
mod segments;

use std::fmt;
use std::mem;
use std::time::{Duration, Instant};

use qemu_qmp_engine::{operation, timeout_option};

use super::call::{Operation, Running};
use super::open_file::OpenFile;
use super::process::{
    EXEC, GuestProcess, LastStatus, SHORTEST_PACE, ask, longer, or_still_running, still_running,
    wait_for_exit,
};
use super::{AgentError, AgentFailure, Exec, ExecOutput, GuestAgent};
use directory::Directory;
use live::LiveOutput;
use script::Trailer;
use segments::PIECE_BYTES;

/// Starts a program whose output is read while it runs; made by
/// [`Exec::stream`].
///
/// # Errors
/// [`AgentError`]; its [`failure`](AgentError::failure) is the reason. A guest
/// without `/bin/sh` refuses.
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
    program: GuestProcess,
    directory: Directory,
    /// Whether the program ran long enough that its files are read.
    is_live: bool,
    live: Option<LiveOutput>,
    /// The pause before the agent is first asked; `None` if it was.
    first_pause: Option<Duration>,
    end: Option<End>,
    agent: GuestAgent,
}

/// The exit of a program whose output is not lost.
struct End {
    /// Without its output.
    output: ExecOutput,
    /// What the script has printed of each stream, and was not read yet.
    rest: [Vec<u8>; 2],
    /// Whether each stream is read as segments.
    has_segments: [bool; 2],
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
/// [`AgentFailure::NoStream`] if the guest lacks what the stream needs, and
/// [`AgentFailure::OutputLost`] if the guest lost the output.
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
    /// files, as any Linux has. Without them the program is not started, and the
    /// first read fails with [`AgentFailure::NoStream`]. A program that was not
    /// found has the code 127, and the shell's message on its standard error.
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
    /// The agent does not report new output, so this asks it, after pauses
    /// which grow by a tenth from 5 ms to 200 ms. The first pause is longer in a
    /// slow guest: 3.5 times what the start took, and 60 ms at most. The output
    /// of a program that exits within some 100 ms comes when it has exited.
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
        let read = self.next(running).await;
        read.map_err(|error| match self.end {
            None => or_still_running(running, self.pid(), error),
            Some(_) => error,
        })
    }

    async fn next(&mut self, running: &Running<'_>) -> Result<Option<OutputPiece>, AgentError> {
        let mut pace = SHORTEST_PACE;
        loop {
            if let Some(end) = &mut self.end {
                if let Some(piece) = end.next_piece() {
                    return Ok(Some(piece));
                }
                if self.has_ended() {
                    return Ok(None);
                }
                // What is there is all.
                let piece = self.read_live(running).await?;
                if piece.is_none() && !self.has_ended() {
                    return Err(lost(running, &[]));
                }
                return Ok(piece);
            }
            if self.is_live
                && let Some(piece) = self.read_live(running).await?
            {
                return Ok(Some(piece));
            }
            if self.has_ended() {
                self.directory.leave();
                return Ok(None);
            }
            let pause = match self.first_pause.take() {
                Some(pause) => pause,
                None if self.ask(running).await? => continue,
                None => {
                    let next = LONGEST_PACE.min(longer(pace));
                    mem::replace(&mut pace, next)
                }
            };
            if pause == LONGEST_PACE && self.is_without_script(running).await? {
                // It may have ended with the program, after the last question.
                if !self.ask(running).await? {
                    return Err(lost(running, &[]));
                }
                continue;
            }
            if running.pause(pause).await.is_err() {
                return Err(still_running(running, self.pid(), None));
            }
            self.is_live |= pace >= LIVE_PACE;
        }
    }

    /// Reads from the files in the guest. `None` if they have nothing now.
    async fn read_live(
        &mut self,
        running: &Running<'_>,
    ) -> Result<Option<OutputPiece>, AgentError> {
        if self.live.is_none() {
            self.live = LiveOutput::find(running, self.directory.name()).await?;
        }
        let wanted = self.has_segments();
        let Some(live) = &mut self.live else {
            return Ok(None);
        };
        let read = live.read(running, wanted).await?;
        Ok(read.map(|(stream, bytes)| OutputPiece::of(stream, bytes)))
    }

    /// Whether each stream is read as segments, as far as is known.
    fn has_segments(&self) -> [bool; 2] {
        self.end.as_ref().map_or([true; 2], |end| end.has_segments)
    }

    /// Whether all segments of each stream that has some were read.
    fn has_ended(&self) -> bool {
        let wanted = self.has_segments();
        let live = self.live.as_ref();
        (0..2).all(|it| !wanted[it] || live.is_some_and(|live| live.has_ended(it)))
    }

    async fn is_without_script(&self, running: &Running<'_>) -> Result<bool, AgentError> {
        match &self.live {
            Some(live) => live.script_has_ended(running).await,
            None => Ok(false),
        }
    }

    /// Asks whether the program and the script have ended, and takes what the
    /// script has printed.
    async fn ask(&mut self, running: &Running<'_>) -> Result<bool, AgentError> {
        let (pid, last) = self.program.parts();
        let Some(mut output) = ask(running, pid, last).await? else {
            return Ok(false);
        };
        let mut rest = [mem::take(&mut output.stdout), mem::take(&mut output.stderr)];
        let is_whole = match Trailer::take(self.directory.name(), &mut rest[1]) {
            Some(Trailer::Streams(is_whole)) => is_whole,
            Some(Trailer::NotStarted) => {
                self.directory.leave();
                let reason = words(&rest[1]);
                return Err(running.error(EXEC, AgentFailure::NoStream { reason }));
            }
            None => return Err(lost(running, &rest[1])),
        };
        if let Some(live) = &self.live {
            for stream in (0..2).filter(|&it| is_whole[it]) {
                let read = live.offset(stream).min(rest[stream].len());
                rest[stream].drain(..read);
            }
        }
        self.directory.leave();
        self.end = Some(End {
            output,
            rest,
            has_segments: is_whole.map(|it| !it),
        });
        Ok(true)
    }
}

impl End {
    fn next_piece(&mut self) -> Option<OutputPiece> {
        let stream = self.rest.iter().position(|rest| !rest.is_empty())?;
        let rest = &mut self.rest[stream];
        let after = rest.split_off(PIECE_BYTES.min(rest.len()));
        Some(OutputPiece::of(stream, mem::replace(rest, after)))
    }
}

impl OutputPiece {
    /// Bytes of standard output (0) or of standard error (1).
    fn of(stream: usize, bytes: Vec<u8>) -> Self {
        if stream == 0 {
            Self::Stdout(bytes)
        } else {
            Self::Stderr(bytes)
        }
    }
}

operation!(StartStream => Result<StreamedProgram, AgentError>);

impl StartStream {
    async fn run(self) -> Result<StreamedProgram, AgentError> {
        let Self {
            operation,
            mut exec,
        } = self;
        let (agent, running) = (operation.agent(), operation.begin());
        let directory = Directory::new(agent.clone());
        let mut input = String::new();
        if exec.input_len() > INPUT_PIECE_BYTES {
            input = keep_input(&running, &directory, &agent, &exec.take_input()).await?;
        }
        let start = script::compact(script::START);
        let words = [SHELL, "-c", &start, SHELL, directory.name(), &input];
        let words: Vec<&str> = words
            .into_iter()
            .chain(script::BASES)
            .chain(["--"])
            .collect();
        let exec = exec.capture_output(true).behind(&words);
        let begun = Instant::now();
        let pid = exec.start(&running).await?;
        let first_pause = first_pause(begun.elapsed());
        Ok(StreamedProgram {
            program: GuestProcess::new(agent.clone(), pid),
            directory,
            is_live: false,
            live: None,
            first_pause: Some(first_pause),
            end: None,
            agent,
        })
    }
}

/// Keeps a long input in a file in the guest, since one command has a limited
/// length. Returns its path.
async fn keep_input(
    running: &Running<'_>,
    directory: &Directory,
    agent: &GuestAgent,
    input: &[u8],
) -> Result<String, AgentError> {
    let name = directory.input_name();
    let arguments = ["-c", script::MAKE_INPUT, SHELL, &name];
    let arguments = arguments.into_iter().chain(script::BASES);
    let maker = Exec::new(agent.clone(), SHELL.to_owned()).args(arguments);
    let pid = maker.start(running).await?;
    let made = wait_for_exit(running, pid, &LastStatus::default()).await?;
    let path = String::from_utf8(made.stdout).unwrap_or_default();
    if made.code != Some(0) || !path.ends_with(&name) {
        let reason = words(&made.stderr);
        return Err(running.error(EXEC, AgentFailure::NoStream { reason }));
    }
    let path = format!("{path}/in");
    let file = OpenFile::open(running, &path, "wb").await?;
    for piece in input.chunks(INPUT_PIECE_BYTES) {
        file.write(running, piece).await?;
    }
    file.close(running).await?;
    Ok(path)
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
        if let Some(end) = program.end {
            return Ok(end.output);
        }
        // It has closed both streams, and runs.
        let (pid, last) = program.program.parts();
        let mut output = wait_for_exit(&running, pid, last).await?;
        (output.stdout, output.stderr) = (Vec::new(), Vec::new());
        Ok(output)
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
        if program.end.is_none() {
            let (agent, pid) = (operation.agent(), program.pid());
            let clean_up = program.directory.clean_up(agent, Some(pid));
            let clean_up = clean_up.start(&running).await?;
            program.directory.leave();
            wait_for_exit(&running, clean_up, &LastStatus::default()).await?;
        }
        Ok(())
    }
}

impl fmt::Debug for StreamedProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamedProgram")
            .field("pid", &self.pid())
            .finish_non_exhaustive()
    }
}

/// The pause before the agent is first asked about a program that took this time
/// to start. A question delays the script in a guest with one processor. So the
/// first one comes when the script of a short program ends: that takes a few
/// times as long as the start.
fn first_pause(start: Duration) -> Duration {
    (start * 7 / 2).clamp(SHORTEST_PACE, LONGEST_FIRST_PAUSE)
}

/// The error of output that was lost, with what the script said.
fn lost(running: &Running<'_>, said: &[u8]) -> AgentError {
    let reason = words(said);
    running.error(EXEC, AgentFailure::OutputLost { reason })
}

/// What a script said, in one line.
fn words(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let lines: Vec<&str> = text.lines().collect();
    if lines.is_empty() {
        return "its shell script ended".to_owned();
    }
    lines.join("; ")
}

const SHELL: &str = "/bin/sh";

/// How much of the input one command writes.
const INPUT_PIECE_BYTES: usize = 1 << 20;

/// The pause from which on the files are read. The program has run for some 100 ms
/// then. A shorter one needs no more commands than without a stream.
const LIVE_PACE: Duration = Duration::from_millis(14);

/// The longest first pause. The agent may have been busy when it was asked to
/// start the program.
const LONGEST_FIRST_PAUSE: Duration = Duration::from_millis(60);

/// The longest pause. It is how late a person sees a line.
const LONGEST_PACE: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_guest_is_first_asked_when_a_short_program_may_have_ended() {
        let pause = |millis| first_pause(Duration::from_millis(millis)).as_millis();
        assert_eq!([0, 1, 8, 10].map(pause), [5, 5, 28, 35]);
        // The agent was busy, which says nothing about the guest.
        assert_eq!([20, 5_000].map(pause), [60, 60]);
    }
}
