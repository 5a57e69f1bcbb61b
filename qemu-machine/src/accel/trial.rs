//! QEMU asked, and the tiny guest run: each by a machine of this crate's own,
//! so whatever happens to it is bounded, and nothing of it stays.

use crate::host::AccelDenial;
use crate::launch::LaunchError;
use crate::launch::LaunchFailure;
use crate::spec::Monitor;
use std::ffi::OsStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use qemu_qmp_engine::{self as engine, Elapsed};
use serde_json::json;

use super::{Accel, AccelFinding};
use crate::{Console, ExitReport, Machine, MachineBuilder, guests};

/// Why a binary has not said which accelerators it has.
#[derive(Debug)]
pub(super) enum NotListed {
    Launch(LaunchError),
    Exit(Arc<ExitReport>),
    /// It has not ended in its time.
    Endless(Duration),
}

/// Which accelerators a binary says that it has.
pub(super) async fn list(binary: &OsStr) -> Result<Vec<Accel>, NotListed> {
    let builder = Machine::builder(binary)
        .monitor(Monitor::Off)
        .args(["-accel", "help"]);
    let report = match builder.launch().await {
        Ok(vm) => {
            let vm = Unattended(vm);
            let Ok(report) = vm.0.wait_for_exit().timeout(TIME_TO_LIST).await else {
                vm.end().await;
                return Err(NotListed::Endless(TIME_TO_LIST));
            };
            report
        }
        // It was faster than we.
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

/// What a binary emulates, as `query-target` says it; `None` where that cannot
/// be had.
pub(super) async fn target(binary: &OsStr) -> Option<String> {
    let builder = Machine::builder(binary)
        .machine("none")
        .accel([Accel::TCG])
        .arg("-nodefaults");
    let vm = Unattended(builder.launch().await.ok()?);
    let answer = vm.0.monitor().execute_json("query-target", json!({})).await;
    vm.end().await;
    Some(answer.ok()?["arch"].as_str()?.to_owned())
}

/// Runs the tiny guest's loop with an accelerator, for so long at most.
pub(super) async fn run(binary: &OsStr, accel: &Accel, limit: Duration) -> AccelFinding {
    let begun = Instant::now();
    let vm = match machine(binary, accel).launch_timeout(limit).launch().await {
        Ok(vm) => Unattended(vm),
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
    let talked = engine::timeout(Some(left), talk).await;
    let said = || complaint(&vm.0.output_tail());
    let finding = match (talked, greeting) {
        (Ok(Some((answer, expected, run))), Some(greeting)) if answer == expected => {
            AccelFinding::Works { greeting, run }
        }
        (Ok(Some((answer, expected, _))), _) => AccelFinding::Failed {
            said: format!("the guest was to answer '{expected}', and answered {answer:?}"),
        },
        (Ok(None), _) => match said() {
            said if said.is_empty() => failed("QEMU ended, or closed the guest's console".into()),
            said => failed(said),
        },
        (Err(Elapsed(_)), None) => AccelFinding::Silent {
            limit,
            said: said(),
        },
        (Err(Elapsed(_)), Some(_)) => AccelFinding::Endless {
            limit,
            said: said(),
        },
    };
    vm.end().await;
    finding
}

/// How long another accelerator is given for all that TCG has taken so long
/// for: enough for a host that is busier now, and for one that is slow to
/// start.
pub(super) fn time_beside(tcg: Option<&AccelFinding>) -> Duration {
    match tcg {
        Some(AccelFinding::Works { greeting, run }) => {
            3 * (*greeting + *run) + Duration::from_secs(1)
        }
        _ => TIME_WITHOUT_TCG,
    }
}

/// How long TCG is given, which runs wherever the binary does.
pub(super) const TIME_OF_TCG: Duration = Duration::from_secs(30);

/// How long an accelerator is given that there is nothing to compare with.
const TIME_WITHOUT_TCG: Duration = Duration::from_secs(5);

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
    let said = error
        .report
        .as_ref()
        .map(|report| complaint(&report.output_tail))
        .unwrap_or_default();
    match &*error.failure {
        LaunchFailure::Timeout { .. } => AccelFinding::Silent { limit, said },
        failure if said.is_empty() => failed(failure.to_string()),
        _ => failed(said),
    }
}

fn failed(said: String) -> AccelFinding {
    match AccelDenial::in_words(&said) {
        Some(denial) => AccelFinding::Denied(denial),
        None => AccelFinding::Failed { said },
    }
}

/// The first line that QEMU printed and that is more than a warning; empty
/// where there is none.
fn complaint(output: &[u8]) -> String {
    let output = String::from_utf8_lossy(output);
    let mut lines = output.lines().map(str::trim);
    let line = lines.find(|line| !line.is_empty() && !line.contains("warning:"));
    line.unwrap_or_default()
        .chars()
        .take(LONGEST_COMPLAINT_CHARS)
        .collect()
}

/// A machine that is ended in the background if nobody waits for it any more.
struct Unattended(Machine);

impl Unattended {
    async fn end(&self) {
        // It waits in the kernel, if it has not ended then; that is its own
        // affair.
        let _ = self.0.kill().await;
    }
}

impl Drop for Unattended {
    fn drop(&mut self) {
        self.0.inner.end_in_background();
    }
}

const GREETING: &str = "tiny guest ready\r\n> ";

/// So many turns of the guest's loop take TCG some 100 ms, and a processor that
/// runs them itself some 10 ms.
const TURNS: u32 = 100;

/// What the guest's loop comes to in so many turns.
const SUM: u32 = 3_177_809_671;

const LONGEST_COMPLAINT_CHARS: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_others_is_that_of_tcg_three_times_and_a_second() {
        let [greeting, run] = [50, 100].map(Duration::from_millis);
        let tcg = AccelFinding::Works { greeting, run };
        assert_eq!(time_beside(Some(&tcg)), Duration::from_millis(1450));
        assert_eq!(time_beside(None), TIME_WITHOUT_TCG);
    }

    #[test]
    fn what_qemu_complained_of_is_its_first_line_that_is_no_warning() {
        let output = b"\nqemu: warning: host lacks x\n\n KVM internal error. \nEAX=0\n";
        assert_eq!(complaint(output), "KVM internal error.");
        assert_eq!(complaint(b"qemu: warning: x\n"), "");
        assert_eq!(complaint(&[b'x'; 1000]).len(), LONGEST_COMPLAINT_CHARS);
    }
}
