//! Runs QEMU to list its accelerators, and to try the tiny guest. Each run is a
//! [`Machine`], so its time is bounded and nothing of it is left behind.

use crate::host::AccelDenial;
use crate::launch::LaunchError;
use crate::launch::LaunchFailure;
use crate::spec::Monitor;
use std::ffi::OsStr;
use std::future::{Future, IntoFuture};
use std::sync::Arc;
use std::time::{Duration, Instant};

use qemu_qmp_engine::{self as engine, Either, Elapsed, Watched, race};
use serde_json::json;

use super::{Accel, AccelFinding};
use crate::{Console, ExitReport, Machine, MachineBuilder, guests};

/// Why a binary did not list its accelerators.
#[derive(Debug)]
pub(super) enum NotListed {
    Launch(LaunchError),
    Exit(Arc<ExitReport>),
    /// It did not exit in time.
    Timeout(Duration),
}

/// The caller's wish to give a probe up. Each trial then ends its machine, and
/// waits for that end.
#[derive(Debug, Clone, Default)]
pub(super) struct GivenUp(Arc<Watched<bool>>);

impl GivenUp {
    pub(super) fn request(&self) {
        self.0.set(true);
    }

    pub(super) fn is_requested(&self) -> bool {
        self.0.look(|it| *it)
    }

    pub(super) fn requested(&self) -> impl Future<Output = ()> + Send + 'static {
        let given_up = Arc::clone(&self.0);
        async move { given_up.until(|it| it.then_some(())).await }
    }
}

/// The accelerators that a binary lists.
pub(super) async fn list(binary: &OsStr, given_up: &GivenUp) -> Result<Vec<Accel>, NotListed> {
    let builder = Machine::builder(binary)
        .monitor(Monitor::Off)
        .args(["-accel", "help"]);
    let launch = builder.launch().cancel_on(given_up.requested());
    let report = match launch.await {
        Ok(vm) => {
            let vm = TrialMachine(vm);
            let exit = vm.0.wait_for_exit().timeout(TIME_TO_LIST).into_future();
            let Either::Left(Ok(report)) = race(exit, given_up.requested()).await else {
                vm.end().await;
                return Err(NotListed::Timeout(TIME_TO_LIST));
            };
            report
        }
        // It exited before the launch was done.
        Err(error) if matches!(*error.failure, LaunchFailure::Exited) && error.report.is_some() => {
            error.report.expect("just seen")
        }
        Err(error) => return Err(NotListed::Launch(error)),
    };
    let listed = super::handle::parse_help(&String::from_utf8_lossy(&report.output_tail));
    if report.status.code() == Some(0) && !listed.is_empty() {
        Ok(listed)
    } else {
        Err(NotListed::Exit(report))
    }
}

/// What a binary emulates, by `query-target`; `None` if that fails.
pub(super) async fn target(binary: &OsStr, given_up: &GivenUp) -> Option<String> {
    let builder = Machine::builder(binary)
        .machine("none")
        .accel([Accel::TCG])
        .arg("-nodefaults");
    let launch = builder.launch().cancel_on(given_up.requested());
    let vm = TrialMachine(launch.await.ok()?);
    let query = vm.0.monitor().execute_json("query-target", json!({}));
    let answer = race(query.into_future(), given_up.requested()).await;
    vm.end().await;
    let Either::Left(answer) = answer else {
        return None;
    };
    Some(answer.ok()?["arch"].as_str()?.to_owned())
}

/// Runs the tiny guest's loop with an accelerator, for up to `limit`.
pub(super) async fn run(
    binary: &OsStr,
    accel: &Accel,
    limit: Duration,
    given_up: &GivenUp,
) -> AccelFinding {
    let begun = Instant::now();
    let launch = machine(binary, accel).launch_timeout(limit).launch();
    let vm = match launch.cancel_on(given_up.requested()).await {
        Ok(vm) => TrialMachine(vm),
        Err(error) => return not_launched(&error, limit),
    };
    let mut greeting = None;
    let talk = async {
        let console = vm.0.console();
        console.expect(GREETING).timeout(None).await.ok()?;
        let greeted = Instant::now();
        greeting = Some(greeted - begun);
        let command = format!("bench {TURNS}");
        console.send(format!("{command}\n")).await.ok()?;
        let answer = console.expect("\r\n> ").timeout(None).await.ok()?;
        let took = greeted.elapsed();
        Some((answer.before_text(), format!("{command} {SUM}"), took))
    };
    let left = limit.saturating_sub(begun.elapsed());
    let talk = async {
        match race(talk, given_up.requested()).await {
            Either::Left(talked) => talked,
            Either::Right(()) => None,
        }
    };
    let talked = engine::timeout(Some(left), talk).await;
    let message = || error_message(&vm.0.output_tail());
    let finding = match (talked, greeting) {
        (Ok(Some((answer, expected, run))), Some(greeting)) if answer == expected => {
            AccelFinding::Works { greeting, run }
        }
        (Ok(Some((answer, expected, _))), _) => AccelFinding::Failed {
            message: format!("the guest answered {answer:?} instead of '{expected}'"),
        },
        (Ok(None), _) => match message() {
            message if message.is_empty() => {
                failed("QEMU exited, or closed the guest's console".into())
            }
            message => failed(message),
        },
        (Err(Elapsed(_)), None) => AccelFinding::Silent {
            limit,
            message: message(),
        },
        (Err(Elapsed(_)), Some(_)) => AccelFinding::TooSlow {
            limit,
            message: message(),
        },
    };
    vm.end().await;
    finding
}

/// The time limit of another accelerator, from the time that TCG took. It is
/// enough for a host that is busier now, and for a slow start.
pub(super) fn time_limit(tcg: Option<&AccelFinding>) -> Duration {
    match tcg {
        Some(AccelFinding::Works { greeting, run }) => {
            3 * (*greeting + *run) + Duration::from_secs(1)
        }
        _ => TIME_LIMIT_WITHOUT_TCG,
    }
}

/// The time limit of TCG, which runs on every host.
pub(super) const TCG_TIME_LIMIT: Duration = Duration::from_secs(30);

/// The time limit of an accelerator if TCG did not work.
const TIME_LIMIT_WITHOUT_TCG: Duration = Duration::from_secs(5);

const TIME_TO_LIST: Duration = Duration::from_secs(30);

fn machine(binary: &OsStr, accel: &Accel) -> MachineBuilder {
    Machine::builder(binary)
        .name(format!("trial-of-{accel}"))
        .accel([accel])
        .arg("-nodefaults")
        .memory("16M")
        .firmware(guests::tiny())
        .console(Console::serial())
}

fn not_launched(error: &LaunchError, limit: Duration) -> AccelFinding {
    let message = error
        .report
        .as_ref()
        .map(|report| error_message(&report.output_tail))
        .unwrap_or_default();
    match &*error.failure {
        LaunchFailure::Timeout { .. } => AccelFinding::Silent { limit, message },
        failure if message.is_empty() => failed(failure.to_string()),
        _ => failed(message),
    }
}

fn failed(message: String) -> AccelFinding {
    match AccelDenial::in_words(&message) {
        Some(denial) => AccelFinding::Denied(denial),
        None => AccelFinding::Failed { message },
    }
}

/// The first line of QEMU's output that is not a warning; empty if there is
/// none.
fn error_message(output: &[u8]) -> String {
    let output = String::from_utf8_lossy(output);
    let mut lines = output.lines().map(str::trim);
    let line = lines.find(|line| !line.is_empty() && !line.contains("warning:"));
    line.unwrap_or_default()
        .chars()
        .take(MESSAGE_LIMIT_CHARS)
        .collect()
}

/// A machine that is killed in the background if the trial's future is dropped.
struct TrialMachine(Machine);

impl TrialMachine {
    async fn end(&self) {
        // If this fails, QEMU is stuck in the kernel and cannot be ended.
        let _ = self.0.kill().await;
    }
}

impl Drop for TrialMachine {
    fn drop(&mut self) {
        self.0.inner.end_in_background();
    }
}

const GREETING: &str = "tiny guest ready\r\n> ";

/// The number of loop turns: TCG runs them in about 100 ms, a hypervisor in
/// about 10 ms.
const TURNS: u32 = 100;

/// The sum that the guest's loop computes in that number of turns.
const SUM: u32 = 3_177_809_671;

const MESSAGE_LIMIT_CHARS: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_others_is_that_of_tcg_three_times_and_a_second() {
        let [greeting, run] = [50, 100].map(Duration::from_millis);
        let tcg = AccelFinding::Works { greeting, run };
        assert_eq!(time_limit(Some(&tcg)), Duration::from_millis(1450));
        assert_eq!(time_limit(None), TIME_LIMIT_WITHOUT_TCG);
    }

    #[test]
    fn what_qemu_complained_of_is_its_first_line_that_is_no_warning() {
        let output = b"\nqemu: warning: host lacks x\n\n KVM internal error. \nEAX=0\n";
        assert_eq!(error_message(output), "KVM internal error.");
        assert_eq!(error_message(b"qemu: warning: x\n"), "");
        assert_eq!(error_message(&[b'x'; 1000]).len(), MESSAGE_LIMIT_CHARS);
    }
}
