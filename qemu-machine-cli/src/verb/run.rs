//! `run`: a machine from its launch to its end, and the steps in between.
//!
//! ```text
//! launch -> steps, in their order -> interact or stay -> kept, if it failed -> end
//! ```

mod clone;
mod detach;
mod dry_run;
mod ending;
mod freeze;
mod life;
mod machine;
mod make;
mod monitor;
mod owner;
mod pool;
mod result;
mod sockets;
mod steps;
mod stopped;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use qemu_machine::error::LaunchError;

pub(super) use clone::{CloneMachine, locate};
pub(super) use freeze::{keep_as_it_was, wakes_by_default};
pub(super) use machine::{COMMAND_RING_BYTES, default_qemu};
pub(super) use make::{Make, template_name};
pub(super) use pool::StartPool;
#[cfg(test)]
pub(super) use pool::StartedPool;
pub(super) use result::QemuResult;
pub(super) use steps::Login;
pub(crate) use steps::{check as check_steps, is_step};

use crate::advice::in_our_words;
use crate::attention::Attention;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::{config, duration, output};

/// Runs a machine until it ends, or until every step is done.
///
/// Steps run in their order. Ctrl-C ends the machine softly, a second one kills it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Run {
    #[command(flatten)]
    target: TargetOptions,

    #[command(flatten)]
    machine: machine::MachineOptions,

    #[command(flatten)]
    host: machine::HostOptions,

    #[command(flatten)]
    sockets: machine::SocketOptions,

    #[command(flatten)]
    console: ConsoleOptions,

    #[command(flatten)]
    steps: steps::Steps,

    #[command(flatten)]
    background: BackgroundOptions,

    #[command(flatten)]
    ends: EndOptions,

    #[command(flatten)]
    freeze: freeze::FreezeOptions,

    /// Arguments for QEMU, or its whole line: qemu-system-…
    #[arg(last = true, value_name = "QEMU ARGUMENTS", help_heading = None)]
    qemu_arguments: Vec<std::ffi::OsString>,
}

/// The configuration is read first. The other options then have its words.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Targets")]
struct TargetOptions {
    /// A target of qemu-machine.toml, for what is not given here
    #[arg(value_name = "TARGET", help_heading = None)]
    target: Option<String>,

    /// The configuration; by default, the nearest qemu-machine.toml in this
    /// directory or above
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    config: Option<PathBuf>,

    /// Lists the targets, and runs nothing
    #[arg(
        long,
        conflicts_with = "target",
        group = "prints",
        hide_short_help = true
    )]
    list_targets: bool,

    /// Prints the targets, or the name of a detached machine, as JSON
    #[arg(long, requires = "prints", hide_short_help = true)]
    json: bool,
}

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Console and steps")]
struct ConsoleOptions {
    /// Shows the console live, on stdout or stderr
    ///
    /// Without a value, on standard output; with --exec, on standard error.
    #[arg(long, value_name = "WHERE", num_args = 0..=1, require_equals = true,
          default_missing_value = "auto", hide_possible_values = true)]
    console: Option<Live>,

    /// Begins each line of the live console with the machine's name
    #[arg(long, requires = "console", hide_short_help = true)]
    prefix: bool,

    /// Gives you the console after the last step
    ///
    /// Ctrl-] leaves it, and ends the machine.
    #[arg(long, conflicts_with = "console")]
    interact: bool,

    /// Gives you the monitor after the last step, as `qmp` does; leaving it ends it
    #[arg(long, conflicts_with = "interact", hide_short_help = true)]
    qmp_shell: bool,
}

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Ends")]
struct BackgroundOptions {
    /// Goes on in the background after the last step
    #[arg(short, long, group = "prints", conflicts_with_all = ["interact", "qmp_shell", "keep_on_failure"])]
    detach: bool,
}

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Ends")]
struct EndOptions {
    /// After the last step, waits until the machine ends
    #[arg(long)]
    stay: bool,

    /// Ends the machine after this time: 90, 500ms, 5m, 2h
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    timeout: Option<Duration>,

    /// Gives each --expect and --login this time; 30s, or all that --timeout
    /// leaves
    #[arg(long, value_name = "TIME", value_parser = duration::parse, hide_short_help = true)]
    step_timeout: Option<Duration>,

    /// Gives the first --exec our standard input; without it, its input is empty
    #[arg(
        long,
        conflicts_with = "interact",
        help_heading = "Steps",
        hide_short_help = true
    )]
    exec_stdin: bool,

    /// If a step fails, leaves the machine running until it ends or Ctrl-C
    #[arg(long, hide_short_help = true)]
    keep_on_failure: bool,

    /// Prints what would be run, as list, shell or json
    #[arg(long, value_name = "FORM", num_args = 0..=1, require_equals = true,
          default_missing_value = "list", hide_possible_values = true)]
    dry_run: Option<dry_run::Form>,

    /// Writes how the run ended to this file, as JSON
    #[arg(long, value_name = "FILE")]
    result: Option<PathBuf>,
}

/// Where a live console goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Live {
    /// Standard error if commands print on standard output.
    Auto,
    Stdout,
    Stderr,
}

const EXAMPLES: &str = "\
Examples:
  qemu-machine run --kernel linux --append console=ttyS0 --login root --exec id
  qemu-machine run --detach --name web --drive disk.qcow2 --memory 1G
  qemu-machine run --console --timeout 5m -- qemu-system-x86_64 -cdrom boot.iso";

impl Run {
    pub(crate) fn run(self) -> Result<Outcome, Failure> {
        if self.target.list_targets {
            let targets = config::targets(self.target.config.as_deref())?;
            output::print(&targets, self.target.json)?;
            return Ok(Outcome::Succeeded);
        }
        if self.target.config.is_some() && self.target.target.is_none() {
            return Err(Failure::usage("--config needs a TARGET to run"));
        }
        let attention = Attention::of_verb()?;
        if let Some(form) = self.ends.dry_run {
            dry_run::print(&machine::plan(&self, &attention)?, form)?;
            return Ok(Outcome::Succeeded);
        }
        if self.background.detach {
            return detach::start_owner::<owner::Detached>(self.target.json, &attention);
        }
        self.live(&attention, None)
    }

    /// The same by the owner of a detached machine.
    pub(crate) fn own(self) -> Result<Outcome, Failure> {
        owner::Owner::run(|attention, owner| self.live(attention, Some(owner)))
    }

    fn live(self, attention: &Attention, owner: Option<&owner::Owner>) -> Result<Outcome, Failure> {
        let plan = machine::plan(&self, attention)?;
        self.live_as(plan, attention, owner)
    }

    fn live_as(
        self,
        mut plan: machine::Plan,
        attention: &Attention,
        owner: Option<&owner::Owner>,
    ) -> Result<Outcome, Failure> {
        plan.builder = plan.builder.publish().ends_owner();
        let lived = life::live(&self, plan, attention, owner);
        if let Some(message) = &lived.message {
            output::error(message);
        }
        let outcome = lived.outcome();
        if let Some(path) = &self.ends.result {
            result::write(path, &lived, outcome)?;
        }
        Ok(outcome)
    }
}

/// The failure of a verb whose QEMU was not launched.
pub(super) fn not_launched(error: &LaunchError) -> Failure {
    let ending = ending::Ending::NotLaunched(ending::NotLaunched::of(error));
    Failure::new(
        ending.outcome(ending::Progress::AllDone),
        in_our_words(error),
    )
}

/// What the verb prints as JSON.
#[cfg(test)]
#[derive(schemars::JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "its schema alone is of use")]
pub(super) enum Output {
    Result(result::RunResult),
    DryRun(dry_run::DryRun),
    Targets(config::Targets),
    Detached(owner::Detached),
}
