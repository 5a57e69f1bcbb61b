//! A command whose output is read while it runs.

use std::collections::VecDeque;
use std::fmt;
use std::ops::ControlFlow;
use std::time::Duration;

use qemu_qmp::agent::OutputPiece;
use qemu_qmp_engine::{operation, timeout_option};

use super::error::Task;
use super::marked_output::MarkedOutput;
use super::task_slot::Claim;
use super::{Run, ShellError, ShellFailure, begin};
use crate::console::Console;
use crate::console::buffer::Buffer;
use crate::console::noise::Filter;
use crate::spec::Noise;

/// Starts a command whose output is read while it runs; made by
/// [`Run::stream`].
///
/// # Errors
/// [`ShellError`]; its [`failure`](ShellError::failure) is the reason.
///
/// # Cancel safety
/// As for [`Run`].
#[derive(Debug)]
#[must_use = "nothing is run until awaited or waited for"]
pub struct StartRun {
    run: Run,
}

/// A command whose output is read while it runs; made by [`Run::stream`].
///
/// The console's ring keeps the output that was not read yet. While it is almost
/// full, the library does not read the console, and the command waits. A ring of
/// less than 128 KiB may lose bytes, which is reported
/// ([`ShellFailure::OutputLost`]). Drop this before the end, and the shell must be
/// [recovered](crate::Shell::recover).
///
/// The bytes are those that the command wrote, if the terminal only puts carriage
/// returns before line feeds, as it does by default, and nothing else prints on
/// the console. See also [`Run::past_kernel_lines`].
pub struct StreamedRun {
    console: Console,
    task: String,
    resets: u64,
    /// How far the console's output was read.
    position: u64,
    filter: Filter,
    output: MarkedOutput,
    ready: VecDeque<OutputPiece>,
    claim: Option<Claim>,
    /// The number of this reader of the ring.
    reader: u64,
}

/// Waits for the next piece of a command's output; made by
/// [`StreamedRun::next_piece`].
///
/// The result is `None` when the command has ended.
///
/// # Errors
/// [`ShellError`]; its [`failure`](ShellError::failure) is the reason.
///
/// # Cancel safety
/// If the future is dropped, no byte is lost: the next call returns it.
#[derive(Debug)]
#[must_use = "nothing is read until awaited or waited for"]
pub struct NextRunPiece<'a> {
    run: &'a mut StreamedRun,
    timeout: Option<Duration>,
}

timeout_option!(StartRun, run.timeout);
timeout_option!(NextRunPiece<'_>, timeout);

impl StartRun {
    pub(super) fn new(run: Run) -> Self {
        Self { run }
    }
}

impl StreamedRun {
    /// Waits for the next piece of the output.
    pub fn next_piece(&mut self) -> NextRunPiece<'_> {
        NextRunPiece {
            timeout: self.console.shared.deadlines.limit(),
            run: self,
        }
    }

    /// The command's exit status, after the last piece. If a signal ended the
    /// command, it is 128 plus the signal's number.
    pub fn status(&self) -> Option<i32> {
        self.output.status()
    }

    async fn read(&mut self) -> Result<Option<OutputPiece>, ShellFailure> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Ok(Some(piece));
            }
            if self.output.status().is_some() {
                if let Some(claim) = self.claim.take() {
                    claim.finish();
                }
                return Ok(None);
            }
            let console = self.console.clone();
            let more = console.more();
            let (piece, begin, ended) = self.console.look_from(self.position, PIECE_BYTES);
            if begin > self.position {
                let lost_bytes = begin - self.position;
                return Err(ShellFailure::OutputLost { lost_bytes });
            }
            match ended {
                _ if !piece.is_empty() => self.take(&piece),
                Some(failure) => return Err(failure.into()),
                None => more.await,
            }
        }
    }

    /// Takes the next bytes of the console.
    fn take(&mut self, piece: &[u8]) {
        let Self {
            filter,
            output,
            ready,
            position,
            ..
        } = self;
        *position += piece.len() as u64;
        let mut until = *position;
        // It breaks at the command's end.
        let _ = filter.push(piece, |run, at| {
            let count = output.push(run, &mut |piece| ready.push_back(piece));
            if output.status().is_none() {
                return ControlFlow::Continue(());
            }
            until = at + count as u64;
            ControlFlow::Break(())
        });
        let (reader, position) = (self.reader, self.position);
        self.console.change_readers(|buffer| {
            // What follows is the prompt, for later searches.
            buffer.take_until(until);
            buffer.reader_is_at(reader, Some(position));
        });
    }
}

operation!(StartRun => Result<StreamedRun, ShellError>);

impl StartRun {
    async fn run(self) -> Result<StreamedRun, ShellError> {
        let Self { run } = self;
        let (task, claim, script) = run.claim().map_err(|error| *error)?;
        let work = task.unless_reset(run.resets, begin(&run.console, &script));
        let adds_returns = task.within(run.timeout, work).await?;
        let (position, reader) = run.console.change_readers(|buffer| {
            let position = buffer.taken();
            (position, buffer.add_reader(position))
        });
        let noise = Noise {
            kernel_lines: run.past_kernel_lines || run.console.shared.noise.kernel_lines,
            escapes: run.console.shared.noise.escapes,
        };
        Ok(StreamedRun {
            task: run.task(),
            resets: run.resets,
            position,
            filter: Filter::new(noise, position),
            output: MarkedOutput::new(&script, adds_returns),
            ready: VecDeque::new(),
            claim: Some(claim),
            reader,
            console: run.console.clone(),
        })
    }
}

operation!({'a} NextRunPiece<'a> => Result<Option<OutputPiece>, ShellError>, 'a);

impl NextRunPiece<'_> {
    async fn run(self) -> Result<Option<OutputPiece>, ShellError> {
        let Self { run, timeout } = self;
        let console = run.console.clone();
        let task = Task::begin(&console, run.task.clone());
        let resets = run.resets;
        let work = task.unless_reset(resets, run.read());
        task.within(timeout, work).await
    }
}

impl Drop for StreamedRun {
    fn drop(&mut self) {
        let reader = self.reader;
        let leave = |buffer: &mut Buffer| buffer.reader_is_at(reader, None);
        self.console.change_readers(leave);
    }
}

impl fmt::Debug for StreamedRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamedRun")
            .field("task", &self.task)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

/// How much is taken from the ring at a time.
const PIECE_BYTES: usize = 64 << 10;
