//! The shell on a console: commands with their output and status.
//!
//! ```text
//! OpenShell --conversation--> Shell --Run: lines, marker, output, marker--> ShellOutput
//! free --run begins--> busy --its end--> free
//!                      busy --Recover: Ctrl-C, marker--> free
//! ```
//!
//! Never returns the output of an earlier command, an echo or a prompt as a
//! command's output: it skips everything before the command's own first marker.

mod conversation;
pub(crate) mod error;
mod idle;
mod line;
mod log_in;
mod marked_output;
mod power;
mod recent_text;
mod streamed;
mod task_slot;

use qemu_qmp_engine::{operation, timeout_option};
use std::mem;
use std::time::Duration;

use error::Task;
pub(crate) use error::{ShellError, ShellFailure};
pub(super) use idle::KnownShell;
use line::{Extras, TypedScript};
pub use log_in::OpenShell;
pub use power::{PowerOff, Reboot};
pub use streamed::{NextRunPiece, StartRun, StreamedRun};
use task_slot::{Claim, TaskSlot};

use super::Console;

/// A shell that runs commands on a console; made by [`Console::shell`].
///
/// The guest needs `/dev/null` and a POSIX shell with `printf` and `command`
/// built in, such as bash, dash and busybox. Any prompt, line editor, echo and
/// terminal settings work, and nothing changes them.
///
/// # Limits
/// - The output contains all that is written to the same console at that time:
///   output of background jobs, and the kernel's own lines. To skip the latter,
///   see [`Run::past_kernel_lines`], or turn them off with `dmesg -n 1`.
/// - A command that changes how the terminal writes line ends also changes those
///   of its output.
#[derive(Debug)]
pub struct Shell {
    console: Console,
    slot: TaskSlot,
    /// How often the guest had been reset when the shell was opened.
    resets: u64,
    /// How it was opened.
    opened: OpenShell,
}

/// The output and the status of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShellOutput {
    /// The exit status. If a signal ended the command, 128 plus the signal's
    /// number.
    pub status: i32,
    /// Standard output and standard error, in order, with the command's own
    /// line ends and not the terminal's. Only standard output, if standard error
    /// is [apart](Run::stderr_apart).
    pub output: Vec<u8>,
    /// Standard error, if it is [apart](Run::stderr_apart); empty otherwise.
    pub stderr: Vec<u8>,
    /// How many bytes are missing at the start of `output`, because the output
    /// was larger than the console's ring. The console's log has them.
    pub dropped_bytes: u64,
}

impl ShellOutput {
    /// The output as text, without the last line end. Bytes that are not UTF-8
    /// are replaced.
    pub fn text(&self) -> String {
        let output = self.output.strip_suffix(b"\n").unwrap_or(&self.output);
        String::from_utf8_lossy(output).into_owned()
    }

    /// Whether the status is 0.
    pub fn success(&self) -> bool {
        self.status == 0
    }
}

impl Console {
    /// Opens the shell on this console. Without a [`user`](OpenShell::user), the
    /// shell must be at its prompt. The guest is not asked if a shell of this
    /// console has answered, and since then nothing was typed and no line was
    /// printed. With a user, the operation answers the
    /// log-in's questions, or uses the shell that is already open.
    ///
    /// # Examples
    /// ```no_run
    /// use qemu_machine::{Machine, Wait};
    ///
    /// # fn look(vm: &Machine) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut shell = vm.console().shell().user("root").password("secret").wait()?;
    /// let kernel = shell.run("uname -r").wait()?;
    /// assert!(kernel.success());
    /// println!("{}", kernel.text());
    /// # Ok(())
    /// # }
    /// ```
    pub fn shell(&self) -> OpenShell {
        OpenShell::new(self.clone())
    }
}

impl Shell {
    /// Runs a command, or a script of many lines, in this shell itself: its
    /// variables and its working directory stay for the next command. Its
    /// standard input is empty. `exit` ends the shell, so later commands fail.
    ///
    /// The shell runs one command at a time. A command fails with
    /// [`ShellFailure::Unknown`] if an earlier one has not finished.
    pub fn run(&mut self, script: impl AsRef<[u8]>) -> Run {
        Run {
            console: self.console.clone(),
            slot: self.slot.clone(),
            resets: self.resets,
            script: script.as_ref().to_vec(),
            extras: Extras::default(),
            past_kernel_lines: false,
            timeout: self.console.shared.deadlines.limit(),
        }
    }

    /// Makes the shell usable again after an operation that timed out or was
    /// dropped: interrupts the command (Ctrl-C), and waits until the shell
    /// answers. Output before that answer never reaches a later command. It
    /// changes nothing for a shell at its prompt.
    pub fn recover(&mut self) -> Recover {
        Recover {
            console: self.console.clone(),
            slot: self.slot.clone(),
            resets: self.resets,
            timeout: self.console.shared.deadlines.limit(),
        }
    }

    /// The shell's console.
    pub fn console(&self) -> &Console {
        &self.console
    }
}

/// Runs a command; made by [`Shell::run`].
///
/// # Errors
/// [`ShellError`]; its [`failure`](ShellError::failure) is the reason. A status
/// other than 0 is no error.
///
/// # Cancel safety
/// If the future is dropped after its first poll, the command goes on. As after
/// a deadline, the shell must be [recovered](Shell::recover) before the next
/// command.
#[derive(Debug)]
#[must_use = "nothing is run until awaited or waited for"]
pub struct Run {
    console: Console,
    slot: TaskSlot,
    resets: u64,
    script: Vec<u8>,
    extras: Extras,
    past_kernel_lines: bool,
    timeout: Option<Duration>,
}

impl Run {
    /// Skips a Linux kernel's lines, as
    /// [`Expect::past_kernel_lines`](crate::console::Expect::past_kernel_lines)
    /// does. The output does not contain them, even if the command itself
    /// printed them, as `dmesg` does.
    pub fn past_kernel_lines(mut self) -> Self {
        self.past_kernel_lines = true;
        self
    }

    /// Keeps standard error apart. The guest keeps it in a temporary file, and
    /// prints it after the command has ended. So the order between the two
    /// streams is lost.
    pub fn stderr_apart(mut self) -> Self {
        self.extras.is_apart = true;
        self
    }

    /// Sets the command's standard input, which is empty by default. It is typed
    /// into a temporary file of the guest first, at some 100 KB/s at best. Any
    /// byte arrives as it is.
    pub fn input(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.extras.input = bytes.as_ref().to_vec();
        self
    }

    /// Starts the command, and reads its output while it runs, of any length.
    ///
    /// # Examples
    /// ```no_run
    /// use std::io::Write;
    ///
    /// use qemu_machine::{Shell, Wait};
    /// use qemu_machine::console::OutputPiece;
    ///
    /// # fn build(shell: &mut Shell) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut build = shell.run("make -j2").stderr_apart().stream().wait()?;
    /// while let Some(piece) = build.next_piece().timeout(None).wait()? {
    ///     match piece {
    ///         OutputPiece::Stdout(bytes) => std::io::stdout().write_all(&bytes)?,
    ///         OutputPiece::Stderr(bytes) => std::io::stderr().write_all(&bytes)?,
    ///     }
    /// }
    /// assert_eq!(build.status(), Some(0));
    /// # Ok(())
    /// # }
    /// ```
    pub fn stream(self) -> StartRun {
        StartRun::new(self)
    }
}

timeout_option!(Run, timeout);

operation!(Run => Result<ShellOutput, ShellError>);

impl Run {
    async fn run(self) -> Result<ShellOutput, ShellError> {
        let (task, claim, script) = self.claim().map_err(|error| *error)?;
        let work = execute(&self.console, script, self.past_kernel_lines);
        let work = task.unless_reset(self.resets, work);
        let (output, typed) = task.within(self.timeout, work).await?;
        claim.finish();
        self.console.shell_is_at_prompt(typed, self.resets);
        Ok(output)
    }

    /// Claims the shell for this command.
    fn claim(&self) -> Result<(Task<'_>, Claim, TypedScript), Box<ShellError>> {
        let Self {
            console,
            slot,
            resets,
            ..
        } = self;
        let what = self.task();
        let task = Task::begin(console, what.clone());
        if console.shared.observed.resets() > *resets {
            return Err(Box::new(task.failed(ShellFailure::GuestReset)));
        }
        let script = TypedScript::new(&self.script, &self.extras)
            .map_err(|has_nul| Box::new(task.failed(has_nul.into())))?;
        let claim = slot
            .begin(&what)
            .map_err(|earlier| Box::new(task.failed(ShellFailure::Unknown { task: earlier })))?;
        Ok((task, claim, script))
    }

    fn task(&self) -> String {
        format!("run '{}'", brief(&self.script))
    }
}

/// Types a script up to its own output. Returns whether the terminal adds
/// carriage returns.
async fn begin(console: &Console, script: &TypedScript) -> Result<bool, ShellFailure> {
    let mut before = console.before_line().await;
    for (lines, marker) in &script.parts {
        let typed = format!("{}{lines}", mem::take(&mut before));
        console.send(typed).timeout(None).await?;
        let answer = console.expect(marker.then("\r?\n")).past_kernel_lines();
        answer.timeout(None).await?;
    }
    let typed = format!("{before}{}", script.lines);
    console.send(typed).timeout(None).await?;
    let begun = console.expect(script.begun.then("(\r?)\n"));
    let begun = begun.past_kernel_lines().timeout(None).await?;
    Ok(begun.group(1) == Some(b"\r"))
}

/// Types a script, and waits for its output and its status. Returns also how
/// often something was typed on the console by then.
async fn execute(
    console: &Console,
    script: TypedScript,
    past_kernel_lines: bool,
) -> Result<(ShellOutput, u64), ShellFailure> {
    let before = console.times_typed();
    let adds_returns = begin(console, &script).await?;
    let typed = before + script.parts.len() as u64 + 1;
    let until = async |pattern| {
        let mut expect = console.expect(pattern);
        if past_kernel_lines {
            expect = expect.past_kernel_lines();
        }
        expect.timeout(None).await
    };
    let plain = |printed| {
        if adds_returns {
            line::undo_onlcr(printed)
        } else {
            printed.to_vec()
        }
    };
    let output = match &script.between {
        Some(between) => Some(until(between.then("")).await?),
        None => None,
    };
    let ended = until(script.ended.then("([0-9]+)\r?\n")).await?;
    let status = ended.group(1).and_then(|it| str::from_utf8(it).ok());
    // `$?` is always a small number.
    let status = status.and_then(|it| it.parse().ok()).unwrap_or(-1);
    let (output, stderr) = match &output {
        Some(output) => (output, Some(&ended)),
        None => (&ended, None),
    };
    let output = ShellOutput {
        status,
        output: plain(&output.before),
        stderr: stderr.map(|it| plain(&it.before)).unwrap_or_default(),
        dropped_bytes: output.dropped_bytes + stderr.map_or(0, |it| it.dropped_bytes),
    };
    Ok((output, typed))
}

/// Makes a shell answer again; made by [`Shell::recover`].
///
/// # Errors
/// [`ShellError`]; its [`failure`](ShellError::failure) is the reason. If a
/// program ignores Ctrl-C (an editor, a shell without job control), end it first
/// by the [input](Console::send) that it needs. Then recover again.
///
/// # Cancel safety
/// If the future is dropped, the shell is not recovered.
#[derive(Debug)]
#[must_use = "nothing is recovered until awaited or waited for"]
pub struct Recover {
    console: Console,
    slot: TaskSlot,
    resets: u64,
    timeout: Option<Duration>,
}

timeout_option!(Recover, timeout);

operation!(Recover => Result<(), ShellError>);

impl Recover {
    async fn run(self) -> Result<(), ShellError> {
        let Self {
            console,
            slot,
            resets,
            timeout,
        } = self;
        let task = Task::begin(&console, "answer".to_owned());
        if console.shared.observed.resets() > resets {
            return Err(task.failed(ShellFailure::GuestReset));
        }
        let claim = slot.take_over("answer");
        let answer = task.unless_reset(resets, log_in::interrupt(&console));
        task.within(timeout, answer).await?;
        claim.finish();
        Ok(())
    }
}

/// The first line of a script, cut if it is long.
fn brief(script: &[u8]) -> String {
    const SHOWN_CHARS: usize = 60;
    let text = String::from_utf8_lossy(script);
    let line = text.trim().lines().next().unwrap_or_default();
    let mut shown: String = line.chars().take(SHOWN_CHARS).collect();
    if shown.len() < text.trim().len() {
        shown.push('…');
    }
    shown
}
