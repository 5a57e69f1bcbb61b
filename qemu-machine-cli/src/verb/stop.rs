//! `stop` and `kill`: the end of machines.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use qemu_machine::ExitReport;
use qemu_machine::Wait;
use qemu_machine::error::PublishedError;
use serde::Serialize;

use super::published::{Names, names_usage};
use super::qmp::failed;
use super::run::QemuResult;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::{duration, output};

/// Ends machines softly, and prints the name of each that has ended.
///
/// QEMU is asked to quit. If it does not in time, it gets SIGTERM, and then
/// SIGKILL. A machine that had to be killed is noted on standard error.
#[derive(Debug, Args)]
#[command(after_help = STOP_EXAMPLES, override_usage = names_usage("stop"))]
pub(crate) struct Stop {
    #[command(flatten)]
    names: Names,

    /// First presses the guest's power button, and gives it this time to power
    /// off
    #[arg(long, value_name = "TIME", value_parser = duration::parse, num_args = 0..=1,
          require_equals = true, default_missing_value = "60s")]
    powerdown: Option<Duration>,

    /// How long QEMU has to quit
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "20s")]
    timeout: Duration,

    /// Prints how each ended as JSON, in a line
    #[arg(long)]
    json: bool,
}

const STOP_EXAMPLES: &str = "\
Examples:
  qemu-machine stop web
  qemu-machine stop --powerdown=2m web db
  qemu-machine stop --all";

/// Kills machines, and prints the name of each.
///
/// What a guest has not written to its disks is lost.
#[derive(Debug, Args)]
#[command(after_help = KILL_EXAMPLES, override_usage = names_usage("kill"))]
pub(crate) struct Kill {
    #[command(flatten)]
    names: Names,

    /// Prints how each ended as JSON, in a line
    #[arg(long)]
    json: bool,
}

const KILL_EXAMPLES: &str = "\
Examples:
  qemu-machine kill web
  qemu-machine kill --all";

/// How a machine ended.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Ended {
    name: String,
    /// Not there if another client ended it at the same time.
    #[serde(flatten)]
    qemu: Option<QemuResult>,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Stop {
    pub(crate) fn run(self) -> Result<Outcome, Failure> {
        self.names.each(|machine| {
            let mut shutdown = machine.shutdown().quit_timeout(self.timeout);
            if let Some(time) = self.powerdown {
                shutdown = shutdown.powerdown(time);
            }
            report(machine.name(), shutdown.wait(), self.json)
        })
    }
}

impl Kill {
    pub(crate) fn run(self) -> Result<Outcome, Failure> {
        self.names
            .each(|machine| report(machine.name(), machine.kill().wait(), self.json))
    }
}

/// Prints that the machine has ended.
fn report(
    name: &str,
    ended: Result<Arc<ExitReport>, PublishedError>,
    as_json: bool,
) -> Result<(), Failure> {
    let report = match ended {
        Ok(report) => Some(report),
        // It has ended, though not so.
        Err(PublishedError::Forced(report) | PublishedError::Failed(report)) => {
            output::note(&report);
            Some(report)
        }
        // Another client was faster.
        Err(PublishedError::Ended { .. }) => None,
        Err(error) => return Err(failed(error)),
    };
    let ended = Ended {
        name: name.to_owned(),
        qemu: report.as_deref().map(QemuResult::from),
    };
    output::print(&ended, as_json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_another_client_ended_has_ended() {
        let name = || "web".to_owned();
        let ended = Err(PublishedError::Ended { name: name() });
        assert!(report("web", ended, true).is_ok());
        let ended = Ended {
            name: name(),
            qemu: None,
        };
        assert_eq!(output::json(&ended).to_string(), r#"{"name":"web"}"#);
    }
}
