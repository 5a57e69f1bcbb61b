//! The shell on a console: commands with their output and status.
//!
//! ```text
//! OpenShell --conversation--> Shell --Run: lines, marker, output, marker--> ShellOutput
//! Ready --run begins--> Unknown --its end--> Ready
//!                       Unknown --Recover: Ctrl-C, marker--> Ready
//! ```
//!
//! Never takes for a command's output what an earlier one, an echo or a prompt
//! wrote: all up to the command's own first marker is passed over.

mod conversation;
pub(crate) mod error;
mod line;
mod log_in;
mod power;
mod seen;

use qemu_qmp_engine::{operation, timeout_option};
use std::time::Duration;

use error::Task;
pub(crate) use error::{ShellError, ShellFailure};
use line::{HasNul, Marker};
pub use log_in::OpenShell;
pub use power::{PowerOff, Reboot};

use super::Console;

/// A shell that takes commands on a console; made by [`Console::shell`].
///
/// The guest needs a POSIX shell with `printf` and `command` built in, as
/// bash, dash and busybox have them, and `/dev/null`. Its prompt, line editor,
/// echo and terminal settings may be what they are, and stay that way.
///
/// Limits: what else is written to the same console meanwhile is in the output,
/// such as what runs in the background, and the kernel's own lines (but see
/// [`Run::past_kernel_lines`]; `dmesg -n 1` keeps them away). A command that
/// changes how the terminal writes line ends changes its own output's.
#[derive(Debug)]
pub struct Shell {
    console: Console,
    state: State,
    /// How often the guest had been reset when it was opened.
    resets: u64,
    /// How it was opened.
    opened: OpenShell,
}

#[derive(Debug)]
enum State {
    Ready,
    /// It was told to do this, and has not told that it has.
    Unknown(String),
}

/// What a command wrote, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShellOutput {
    /// The exit status; 128 and the signal's number for a command that a
    /// signal ended.
    pub status: i32,
    /// What it wrote to its standard output and error, as it came; the line
    /// ends are its own, not the terminal's.
    pub output: Vec<u8>,
    /// How many bytes at the start of `output` were dropped, because more came
    /// than the console's ring holds. The console's log has them.
    pub dropped_bytes: u64,
}

impl ShellOutput {
    /// The output as text, without the line end at its end; what is no UTF-8
    /// is replaced.
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
    /// Gets hold of the shell on this console. Without a
    /// [`user`](OpenShell::user), the shell must be at its prompt; with one, the
    /// log-in's questions are waited for and answered, or the shell is taken that
    /// is there.
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
    /// Runs a command, or a script of many lines, in this very shell: what it
    /// sets and where it goes to stays for the next one. Its standard input is
    /// empty; `exit` ends the shell itself, and with it all that is to come.
    pub fn run(&mut self, script: impl AsRef<[u8]>) -> Run<'_> {
        Run {
            script: script.as_ref().to_vec(),
            timeout: self.console.shared.deadlines.limit(),
            past_kernel_lines: false,
            shell: self,
        }
    }

    /// Ends what the shell may still be at after an operation that timed out or
    /// was given up: interrupts it (Ctrl-C), and waits until the shell answers.
    /// Nothing that was written until then reaches a later command's output.
    /// On a shell that is at its prompt it changes nothing.
    pub fn recover(&mut self) -> Recover<'_> {
        Recover {
            timeout: self.console.shared.deadlines.limit(),
            shell: self,
        }
    }

    /// The console that it is on.
    pub fn console(&self) -> &Console {
        &self.console
    }
}

/// Runs a command; made by [`Shell::run`].
///
/// # Errors
/// [`ShellError`], whose [`failure`](ShellError::failure) says which. A status
/// other than 0 is none.
///
/// # Cancel safety
/// If the future is dropped after it was polled, the command goes on, and the
/// shell must be [recovered](Shell::recover) before the next one, as after a
/// deadline.
#[derive(Debug)]
#[must_use = "nothing is run until awaited or waited for"]
pub struct Run<'a> {
    shell: &'a mut Shell,
    script: Vec<u8>,
    past_kernel_lines: bool,
    timeout: Option<Duration>,
}

impl Run<'_> {
    /// Looks past a Linux kernel's lines and leaves them out of the output, as
    /// [`Expect::past_kernel_lines`](crate::console::Expect::past_kernel_lines) says;
    /// such lines of the command's own, as of `dmesg`, are left out too.
    pub fn past_kernel_lines(mut self) -> Self {
        self.past_kernel_lines = true;
        self
    }
}

timeout_option!(Run<'_>, timeout);

operation!({'a} Run<'a> => Result<ShellOutput, ShellError>, 'a);

impl Run<'_> {
    async fn run(self) -> Result<ShellOutput, ShellError> {
        let Shell {
            console,
            state,
            resets,
            ..
        } = self.shell;
        let resets = *resets;
        let what = format!("run '{}'", brief(&self.script));
        let task = Task::begin(console, what.clone());
        if console.shared.observed.resets() > resets {
            return Err(task.failed(ShellFailure::GuestReset));
        }
        if let State::Unknown(earlier) = state {
            let task_before = earlier.clone();
            return Err(task.failed(ShellFailure::Unknown { task: task_before }));
        }
        let (begun, ended) = (Marker::new(), Marker::new());
        let lines = line::script_lines(&self.script, &begun, &ended)
            .map_err(|HasNul| task.failed(ShellFailure::Nul))?;
        *state = State::Unknown(what);
        let work = async {
            console.send(lines).timeout(None).await?;
            let begun = console.expect(begun.then("(\r?)\n")).past_kernel_lines();
            let begun = begun.timeout(None).await?;
            let mut ended = console.expect(ended.then("([0-9]+)\r?\n"));
            if self.past_kernel_lines {
                ended = ended.past_kernel_lines();
            }
            let ended = ended.timeout(None).await?;
            let status = ended.group(1).and_then(|it| str::from_utf8(it).ok());
            let adds_returns = begun.group(1) == Some(b"\r");
            Ok(ShellOutput {
                // `$?` is a small number, always.
                status: status.and_then(|it| it.parse().ok()).unwrap_or(-1),
                output: if adds_returns {
                    line::undo_onlcr(&ended.before)
                } else {
                    ended.before
                },
                dropped_bytes: ended.dropped_bytes,
            })
        };
        let work = task.unless_reset(resets, work);
        let output = task.within(self.timeout, work).await?;
        *state = State::Ready;
        Ok(output)
    }
}

/// Has a shell answer again; made by [`Shell::recover`].
///
/// # Errors
/// [`ShellError`], whose [`failure`](ShellError::failure) says which: what does
/// not heed Ctrl-C (an editor, a shell without job control) must be ended by
/// what is [sent](Console::send) to it. It can be tried again.
///
/// # Cancel safety
/// If the future is dropped, the shell is not recovered.
#[derive(Debug)]
#[must_use = "nothing is recovered until awaited or waited for"]
pub struct Recover<'a> {
    shell: &'a mut Shell,
    timeout: Option<Duration>,
}

timeout_option!(Recover<'_>, timeout);

operation!({'a} Recover<'a> => Result<(), ShellError>, 'a);

impl Recover<'_> {
    async fn run(self) -> Result<(), ShellError> {
        let Shell {
            console,
            state,
            resets,
            ..
        } = self.shell;
        let resets = *resets;
        let task = Task::begin(console, "answer".to_owned());
        if console.shared.observed.resets() > resets {
            return Err(task.failed(ShellFailure::GuestReset));
        }
        if matches!(state, State::Ready) {
            *state = State::Unknown("answer".to_owned());
        }
        let answer = task.unless_reset(resets, log_in::interrupt(console));
        task.within(self.timeout, answer).await?;
        *state = State::Ready;
        Ok(())
    }
}

/// The first line of a script, and not all of a long one.
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
