//! Reboots the guest or powers it off by its own shell, and waits until QEMU
//! reports that.
//!
//! ```text
//! Shell --reboot: command--> RESET event --> OpenShell, with the same options
//! Shell --power_off: command--> the machine's end, or SHUTDOWN and paused
//! ```

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use qemu_qmp_engine::{Either, operation, race, timeout_option};

use super::error::Task;
use super::line::{Extras, Marker, TypedScript};
use super::{OpenShell, Shell, ShellError, ShellFailure, execute};
use crate::console::{Console, ExpectFailure};
use crate::life::ExitReport;

/// Reboots the guest; made by [`Shell::reboot`].
///
/// # Errors
/// [`ShellError`]; its [`failure`](ShellError::failure) is the reason:
/// - [`CommandFailed`](ShellFailure::CommandFailed);
/// - the machine's end, if QEMU exits instead (`-no-reboot`);
/// - the deadline, if the machine has no monitor: only that reports the reset.
///
/// # Cancel safety
/// If the future is dropped after its first poll, the guest may reboot.
#[derive(Debug)]
#[must_use = "nothing is rebooted until awaited or waited for"]
pub struct Reboot(Leave);

/// Powers the guest off; made by [`Shell::power_off`].
///
/// # Errors
/// [`ShellError`]; its [`failure`](ShellError::failure) is the reason:
/// - [`CommandFailed`](ShellFailure::CommandFailed);
/// - the machine's end, if the guest did not cause it.
///
/// # Cancel safety
/// If the future is dropped after its first poll, the guest may power off.
#[derive(Debug)]
#[must_use = "nothing is powered off until awaited or waited for"]
pub struct PowerOff(Leave);

/// A command that ends a shell.
#[derive(Debug)]
struct Leave {
    shell: Shell,
    command: String,
    timeout: Option<Duration>,
}

impl Shell {
    /// Reboots the guest by a command in this shell, and waits for QEMU's
    /// `RESET` event. This shell ends with that. The result opens the next one,
    /// by the same log-in.
    ///
    /// The command is `reboot`. If the first process is a shell, as in many an
    /// initramfs, it is `reboot -f`, because a shell ignores the request.
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
        Reboot(Leave::new(self, "reboot"))
    }

    /// Powers the guest off by a command in this shell, and waits until it is
    /// off. Returns the report of the machine's end. If QEMU keeps a guest that
    /// is off (`-no-shutdown`), it returns `None`.
    ///
    /// The command is `poweroff`, or `poweroff -f`, as with
    /// [`reboot`](Self::reboot).
    pub fn power_off(self) -> PowerOff {
        PowerOff(Leave::new(self, "poweroff"))
    }
}

macro_rules! command_option {
    ($($operation:ident),*) => {$(
        impl $operation {
            /// Uses this command instead.
            pub fn command(mut self, command: impl Into<String>) -> Self {
                self.0.command = command.into();
                self
            }
        }

        timeout_option!($operation, 0.timeout);
    )*};
}

command_option!(Reboot, PowerOff);

operation!(Reboot => Result<OpenShell, ShellError>);

impl Reboot {
    async fn run(self) -> Result<OpenShell, ShellError> {
        let Leave {
            shell,
            command,
            timeout,
        } = self.0;
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
        let Leave {
            shell,
            command,
            timeout,
        } = self.0;
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

impl Leave {
    fn new(shell: Shell, program: &str) -> Self {
        Self {
            command: command(program),
            timeout: shell.console.shared.deadlines.limit(),
            shell,
        }
    }
}

/// Runs a command that ends the shell, and returns how the shell ended.
async fn leave(shell: &Shell, command: &str) -> ShellFailure {
    if shell.console.shared.observed.resets() > shell.resets {
        return ShellFailure::GuestReset;
    }
    // Never finished: the shell runs nothing after this.
    let _claim = match shell.slot.begin("leave") {
        Ok(claim) => claim,
        Err(task) => return ShellFailure::Unknown { task },
    };
    let ended = race(
        run(&shell.console, command),
        shell.console.shared.observed.reset_after(shell.resets),
    );
    match ended.await {
        Either::Left(failure) => failure,
        Either::Right(()) => ShellFailure::GuestReset,
    }
}

/// Ends when the command fails, or when the console ends.
async fn run(console: &Console, command: &str) -> ShellFailure {
    let work = async {
        let script = TypedScript::new(command.as_bytes(), &Extras::default())?;
        let (done, _) = execute(console, script, true).await?;
        if !done.success() {
            let output = String::from_utf8_lossy(&done.output).trim().to_owned();
            return Err(ShellFailure::CommandFailed {
                status: done.status,
                output,
            });
        }
        // The guest goes down now, and may print anything.
        let never = Marker::new().then("");
        console.expect(never).timeout(None).await?;
        pending().await
    };
    let Err(failure) = work.await as Result<std::convert::Infallible, ShellFailure>;
    failure
}

/// Asks the first process, or else the kernel: a shell as the first process
/// ignores the signal that asks.
fn command(program: &str) -> String {
    format!(
        "case $(tr '\\0' '\\n' </proc/1/cmdline | head -n 1) in *sh) {program} -f;; *) {program};; esac"
    )
}
