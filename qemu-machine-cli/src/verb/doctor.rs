//! `doctor`: checks this host for machines, and says what to do.

mod host;

use std::ffi::OsString;
use std::fmt;

use clap::Args;
use qemu_machine::error::{ErrorKind, LaunchError};
use qemu_machine::qmp::Client;
use qemu_machine::{Accel, Machine, Wait};
use serde::Serialize;

use super::run::default_qemu;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::output;

/// Checks this host: kernel, QEMU, KVM, temporary files, limits and firmware.
///
/// Fails if a machine cannot run. A warning costs speed or comfort alone.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  qemu-machine doctor --qemu qemu-system-aarch64")]
pub(crate) struct Doctor {
    /// The QEMU to check
    #[arg(long, value_name = "BINARY")]
    qemu: Option<OsString>,

    /// Prints the findings as JSON
    #[arg(long)]
    json: bool,
}

/// The findings, in the order of the checks.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Findings(Vec<Finding>);

/// The state of one thing.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Finding {
    name: &'static str,
    state: State,
    #[serde(rename = "finding")]
    what: String,
    /// What to do; null if nothing is to be done, or nothing is known.
    advice: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
enum State {
    /// Nothing is to be done.
    #[serde(rename = "ok")]
    Good,
    /// Machines run, but not as well as they could.
    Warning,
    /// No machine runs.
    Bad,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Warning => "warning",
            Self::Bad => "bad",
        }
    }
}

impl Finding {
    fn good(name: &'static str, what: impl Into<String>) -> Self {
        let (state, what) = (State::Good, what.into());
        Self {
            name,
            state,
            what,
            advice: None,
        }
    }

    fn warning(name: &'static str, what: impl Into<String>, advice: impl Into<String>) -> Self {
        let (state, what, advice) = (State::Warning, what.into(), Some(advice.into()));
        Self {
            name,
            state,
            what,
            advice,
        }
    }

    fn bad(name: &'static str, what: impl Into<String>, advice: Option<String>) -> Self {
        let (state, what) = (State::Bad, what.into());
        Self {
            name,
            state,
            what,
            advice,
        }
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.0 {
            let Finding { name, what, .. } = finding;
            // Its other lines are below the first.
            let what = what.replace('\n', "\n         ");
            writeln!(f, "{:8} {name}: {what}", finding.state.name())?;
            if let Some(advice) = &finding.advice {
                writeln!(f, "{:8}   advice: {advice}", "")?;
            }
        }
        Ok(())
    }
}

impl Doctor {
    pub(crate) fn run(self) -> Result<Outcome, Failure> {
        let binary = self.qemu.unwrap_or_else(|| default_qemu().into());
        let (qemu, guests) = qemu(binary);
        let mut findings = vec![host::kernel(), qemu, kvm(&guests)];
        findings.extend([host::temporary_files(), host::shell(), host::descriptors()]);
        findings.extend([host::memory(), host::processes()]);
        findings.extend(host::firmware(&guests.processor));
        let findings = Findings(findings);
        output::print(&findings, self.json)?;
        let is_bad = findings.0.iter().any(|it| it.state == State::Bad);
        Ok(if is_bad {
            Outcome::Failed
        } else {
            Outcome::Succeeded
        })
    }
}

/// What guests a QEMU runs.
struct Guests {
    /// Their processor, by QEMU's name.
    processor: String,
    /// Whether this QEMU has KVM for them; `None` if it does not say.
    has_kvm: Option<bool>,
}

/// Whether the binary starts and answers, and what guests it runs.
fn qemu(binary: OsString) -> (Finding, Guests) {
    let name = binary.to_string_lossy().into_owned();
    match Machine::builder(binary).machine("none").launch().wait() {
        Ok(machine) => {
            let monitor = machine.monitor();
            let greeting = monitor.greeting();
            let version = greeting.and_then(|it| it.version.as_ref());
            let version =
                version.map_or_else(|| "of no known version".to_owned(), ToString::to_string);
            let what = format!("{name} starts and answers: {version}");
            (Finding::good("qemu", what), Guests::of(monitor))
        }
        Err(error) => {
            let finding = Finding::bad("qemu", what_failed(&name, &error), error.advice());
            (finding, Guests::default())
        }
    }
}

/// Why it did not start, with the first lines that it printed.
fn what_failed(binary: &str, error: &LaunchError) -> String {
    let mut what = error.failure.to_string();
    let Some(report) = &error.report else {
        return what;
    };
    // After a timeout, we have killed it, so its status says nothing.
    if error.kind() != ErrorKind::Timeout {
        what = format!("{what}; '{binary}' {}", report.status);
    }
    let printed = String::from_utf8_lossy(&report.output_tail);
    let mut lines = printed.lines().filter(|it| !it.trim().is_empty());
    for line in lines.by_ref().take(SHOWN_LINES) {
        what.push_str("\n  ");
        let shown: String = line.trim_end().chars().take(SHOWN_LETTERS).collect();
        what += &output::printable(&shown);
    }
    if lines.next().is_some() {
        what += "\n  ...";
    }
    what
}

const SHOWN_LINES: usize = 5;
const SHOWN_LETTERS: usize = 200;

/// Those of this processor.
impl Default for Guests {
    fn default() -> Self {
        Self {
            processor: std::env::consts::ARCH.to_owned(),
            has_kvm: None,
        }
    }
}

impl Guests {
    fn of(monitor: &Client) -> Self {
        let ask = |command: &str| monitor.execute_json(command, ()).wait().ok();
        let target = ask("query-target");
        let processor = target.and_then(|it| it["arch"].as_str().map(str::to_owned));
        Self {
            processor: processor.unwrap_or_else(|| Self::default().processor),
            has_kvm: ask("query-kvm").and_then(|it| it["present"].as_bool()),
        }
    }
}

/// Whether KVM is there for these guests, and permitted. Only `accel` shows
/// whether it works.
fn kvm(guests: &Guests) -> Finding {
    if guests.has_kvm == Some(false) {
        let processor = &guests.processor;
        return Finding::warning(
            "kvm",
            format!("this QEMU has none for guests with the processor {processor}"),
            "its machines run without it, slower; KVM is for guests with this host's processor",
        );
    }
    match Accel::KVM.permitted() {
        Ok(()) => Finding::good(
            "kvm",
            "permitted; `qemu-machine accel` shows whether it works",
        ),
        Err(denial) => {
            let advice = denial.advice().unwrap_or("machines run without it, slower");
            Finding::warning("kvm", denial.to_string(), advice)
        }
    }
}
