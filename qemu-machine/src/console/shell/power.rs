//! The guest rebooted or powered off by its own shell, until QEMU reports it.
//!
//! ```text
//! Shell --reboot: command--> RESET event --> OpenShell, with the same options
//! Shell --power_off: command--> the machine's end, or SHUTDOWN and held
//! ```

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use qemu_qmp_engine::{Either, operation, race, timeout_option};

use super::error::Task;
use super::line::{self, Marker};
use super::{OpenShell, Shell, ShellError, ShellFailure, State};
use crate::console::{Console, ExpectFailure};
use crate::life::ExitReport;

/// Reboots the guest; made by [`Shell::reboot`].
///
/// # Errors
/// [`ShellError`], whose [`failure`](ShellError::failure) says which: also
/// [`CommandFailed`](ShellFailure::CommandFailed), and the end of the machine
/// where QEMU was told to exit instead (`-no-reboot`). The reset is known from
/// the monitor: a machine without one costs the deadline.
///
/// # Cancel safety
/// If the future is dropped after it was polled, the guest may reboot.
#[derive(Debug)]
#[must_use = "nothing is rebooted until awaited or waited for"]
pub struct Reboot {
    shell: Shell,
    command: String,
    timeout: Option<Duration>,
}

/// Powers the guest off; made by [`Shell::power_off`].
///
/// # Errors
/// [`ShellError`], whose [`failure`](ShellError::failure) says which: also
/// [`CommandFailed`](ShellFailure::CommandFailed), and an end of the machine
/// that is not the guest's.
///
/// # Cancel safety
/// If the future is dropped after it was polled, the guest may power off.
#[derive(Debug)]
#[must_use = "nothing is powered off until awaited or waited for"]
pub struct PowerOff {
    shell: Shell,
    command: String,
    timeout: Option<Duration>,
}

impl Shell {
    /// Has the guest reboot by a command in this shell, and waits for QEMU's
    /// `RESET` event. The shell is gone with that; what comes back opens the next
    /// one, by the same log-in.
    ///
    /// The command is `reboot`, and `reboot -f` where the first process is a
    /// shell, as in many an initramfs: nobody would heed it there.
    ///
    /// # Examples
    /// ```no_run
    /// use qemu_machine::{Machine, Wait};
    ///
    /// # fn again(vm: &Machine) -> Result<(), Box<dyn std::error::Error>> {
    /// let shell = vm.console().shell().user("root").password("secret").wait()?;
    /// let mut shell = shell.reboot().wait()?.wait()?;
    /// println!("{}", shell.run("uptime").wait()?.text());
    /// # Ok(())
    /// # }
    /// ```
    pub fn reboot(self) -> Reboot {
        Reboot {
            command: command("reboot"),
            timeout: self.console.shared.deadlines.limit(),
            shell: self,
        }
    }

    /// Has the guest power off by a command in this shell, and waits until it
    /// has: for the machine's end, whose report comes back, or, where QEMU was
    /// told to hold such a guest (`-no-shutdown`), for that, with `None`.
    ///
    /// The command is `poweroff`, or `poweroff -f` as with
    /// [`reboot`](Self::reboot).
    pub fn power_off(self) -> PowerOff {
        PowerOff {
            command: command("poweroff"),
            timeout: self.console.shared.deadlines.limit(),
            shell: self,
        }
    }
}

impl Reboot {
    /// Uses this command instead.
    pub fn command(mut self, command: impl Into<String>) -> Self {
        self.command = command.into();
        self
    }
}

timeout_option!(Reboot, timeout);

impl PowerOff {
    /// Uses this command instead.
    pub fn command(mut self, command: impl Into<String>) -> Self {
        self.command = command.into();
        self
    }
}

timeout_option!(PowerOff, timeout);

operation!(Reboot => Result<OpenShell, ShellError>);

impl Reboot {
    async fn run(self) -> Result<OpenShell, ShellError> {
        let Self {
            shell,
            command,
            timeout,
        } = self;
        let task = Task::begin(&shell.console, "reboot the guest".to_owned());
        let leave = async {
            match leave(&shell, &command).await {
                ShellFailure::GuestReset => Ok(()),
                failure => Err(failure),
            }
        };
        task.within(timeout, leave).await?;
        Ok(shell.opened.after_reset())
    }
}

operation!(PowerOff => Result<Option<Arc<ExitReport>>, ShellError>);

impl PowerOff {
    async fn run(self) -> Result<Option<Arc<ExitReport>>, ShellError> {
        let Self {
            shell,
            command,
            timeout,
        } = self;
        let task = Task::begin(&shell.console, "power the guest off".to_owned());
        let leave = async {
            match leave(&shell, &command).await {
                ShellFailure::Console(ExpectFailure::GuestShutDown { .. }) => Ok(None),
                ShellFailure::Console(ExpectFailure::MachineEnded(report))
                    if report.shutdown_reason.as_deref() == Some("guest-shutdown") =>
                {
                    Ok(Some(report))
                }
                failure => Err(failure),
            }
        };
        task.within(timeout, leave).await
    }
}

/// Runs a command that ends the shell, and gives what has ended it.
async fn leave(shell: &Shell, command: &str) -> ShellFailure {
    if shell.console.shared.observed.resets() > shell.resets {
        return ShellFailure::GuestReset;
    }
    if let State::Unknown(earlier) = &shell.state {
        let task = earlier.clone();
        return ShellFailure::Unknown { task };
    }
    let ended = race(
        run(&shell.console, command),
        shell.console.shared.observed.reset_after(shell.resets),
    );
    match ended.await {
        Either::Left(failure) => failure,
        Either::Right(()) => ShellFailure::GuestReset,
    }
}

/// Ends where the command fails, or the console can say no more.
async fn run(console: &Console, command: &str) -> ShellFailure {
    let (begun, ended) = (Marker::new(), Marker::new());
    let Ok(lines) = line::script_lines(command.as_bytes(), &begun, &ended) else {
        return ShellFailure::Nul;
    };
    let work = async {
        console.send(lines).timeout(None).await?;
        let told = console.expect(begun.then("(\r?)\n")).past_kernel_lines();
        told.timeout(None).await?;
        let told = console.expect(ended.then("([0-9]+)\r?\n"));
        let told = told.past_kernel_lines().timeout(None).await?;
        let status = told.group(1).and_then(|it| str::from_utf8(it).ok());
        let status = status.and_then(|it| it.parse().ok()).unwrap_or(-1);
        if status != 0 {
            let output = String::from_utf8_lossy(&told.before).trim().to_owned();
            return Err(ShellFailure::CommandFailed { status, output });
        }
        // The guest goes down by itself now, and says what it likes.
        let never = Marker::new().then("");
        console.expect(never).timeout(None).await?;
        pending().await
    };
    let Err(failure) = work.await as Result<std::convert::Infallible, ShellFailure>;
    failure
}

/// What is asked of the first process, or else of the kernel: a shell that is the
/// first process heeds no signal that asks for it.
fn command(name: &str) -> String {
    format!(
        "case $(tr '\\0' '\\n' </proc/1/cmdline | head -n 1) in *sh) {name} -f;; *) {name};; esac"
    )
}
