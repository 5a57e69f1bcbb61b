//! `run`: a machine from its launch to its end, with what is to be done in
//! between.
//!
//! ```text
//! launch -> steps, in their order -> interact or stay -> kept, if it failed -> end
//! ```

mod detach;
mod ending;
mod life;
mod machine;
mod owner;
mod result;
mod sockets;
mod steps;
mod stopped;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use qemu_machine::error::LaunchError;
use serde_json::json;

pub(super) use machine::default_qemu;

use crate::attention::Attention;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::{duration, output};

/// Runs a machine until it ends, or until every step is done.
///
/// Steps run in the order in which they are given. After the last one, the
/// machine is ended, unless --stay or --interact is given. Without steps, the
/// machine runs until it ends by itself.
///
/// Ctrl-C ends the machine softly; a second Ctrl-C kills it. With --detach, the
/// machine lives on in the background.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Run {
    #[command(flatten)]
    machine: machine::MachineOptions,

    #[command(flatten)]
    console: ConsoleOptions,

    #[command(flatten)]
    steps: steps::Steps,

    #[command(flatten)]
    ends: EndOptions,

    #[command(flatten)]
    background: DetachOptions,

    /// More arguments for QEMU, or a whole command line that begins with
    /// qemu-system-…
    #[arg(last = true, value_name = "QEMU ARGUMENTS")]
    qemu_arguments: Vec<std::ffi::OsString>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Background")]
struct DetachOptions {
    /// Leaves the machine running in the background after the last step, and
    /// prints its name
    #[arg(short, long, conflicts_with_all = ["interact", "keep_on_failure"])]
    detach: bool,

    /// Prints the name as JSON, with the processes
    #[arg(long, requires = "detach")]
    json: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Console")]
struct ConsoleOptions {
    /// Writes the console live to standard output, or to standard error. Without
    /// a stream, it is standard error with --exec, and standard output otherwise
    #[arg(long, value_name = "stdout|stderr", num_args = 0..=1, require_equals = true,
          default_missing_value = "auto", hide_possible_values = true)]
    console: Option<Live>,

    /// Begins each line of the live console with the machine's name
    #[arg(long, requires = "console")]
    prefix: bool,

    /// Hands the console to the terminal after the last step. Ctrl-] leaves it
    /// and ends the machine
    #[arg(long, conflicts_with = "console")]
    interact: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Ends")]
struct EndOptions {
    /// After the last step, stays until the machine ends by itself
    #[arg(long)]
    stay: bool,

    /// Ends the machine after this time, with status 124: 90, 500ms, 5m, 2h
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    timeout: Option<Duration>,

    /// Gives each --expect and --login this time; 30s, or all that --timeout
    /// leaves
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    step_timeout: Option<Duration>,

    /// If a step fails, leaves the machine running until it ends or Ctrl-C
    #[arg(long)]
    keep_on_failure: bool,

    /// Prints what would be run, and runs nothing
    #[arg(long, value_name = "FORM", num_args = 0..=1, require_equals = true,
          default_missing_value = "list")]
    dry_run: Option<Form>,

    /// Writes how the run ended to this file, as JSON
    #[arg(long, value_name = "FILE")]
    result: Option<PathBuf>,
}

/// Where a live console goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Live {
    /// Not where the output of commands goes.
    Auto,
    Stdout,
    Stderr,
}

/// How a dry run is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Each word in a line.
    List,
    /// A line to paste into a shell.
    Shell,
    Json,
}

const EXAMPLES: &str = "\
Examples:
  qemu-machine run
  qemu-machine run --kernel vmlinuz --initrd initramfs --append console=ttyS0 \\
      --timeout 60 --expect '~ # ' --exec 'uname -r'
  qemu-machine run --drive disk.qcow2 --memory 1G --accel best --interact
  qemu-machine run --detach --name web --drive disk.qcow2
  qemu-machine run --console --timeout 5m -- qemu-system-x86_64 -m 1G -cdrom boot.iso";

impl Run {
    pub(crate) fn run(self) -> Result<Outcome, Failure> {
        let attention = attention()?;
        if let Some(form) = self.ends.dry_run {
            print_dry_run(&machine::plan(&self, &attention)?, form)?;
            return Ok(Outcome::Succeeded);
        }
        if self.background.detach {
            return detach::start_owner(self.background.json, &attention);
        }
        self.live(&attention, None)
    }

    /// Does it as the owner of a detached machine.
    pub(crate) fn own(self) -> Result<Outcome, Failure> {
        let channel = owner::leave_caller().map_err(|error| detach::failed(&error))?;
        let attention = attention()?;
        let owner =
            owner::Owner::begin(channel, &attention).map_err(|error| detach::failed(&error))?;
        self.live(&attention, Some(&owner))
    }

    fn live(self, attention: &Attention, owner: Option<&owner::Owner>) -> Result<Outcome, Failure> {
        let plan = machine::plan(&self, attention)?;
        let lived = life::live(&self, &plan, attention, owner);
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

fn attention() -> Result<Attention, Failure> {
    Attention::to_signals()
        .map_err(|error| Failure::new(Outcome::Broken, format!("cannot wait for signals: {error}")))
}

/// A verb fails because its QEMU was not launched.
pub(super) fn not_launched(error: &LaunchError) -> Failure {
    let ending = ending::Ending::NotLaunched(ending::NotLaunched::of(error));
    Failure::new(ending.outcome(ending::Progress::AllDone), error)
}

fn print_dry_run(plan: &machine::Plan, form: Form) -> Result<(), Failure> {
    let dry_run = plan.builder.dry_run();
    let words = dry_run.command_line.words();
    match form {
        Form::List => {
            use std::os::unix::ffi::OsStrExt;
            let lines = words.iter().flat_map(|word| [word.as_bytes(), b"\n"]);
            output::write(&lines.collect::<Vec<_>>().concat())
        }
        Form::Shell => output::line(&dry_run.shell_line),
        Form::Json => {
            let words = words.iter().map(|word| word.to_string_lossy());
            let words: Vec<_> = words.collect();
            let described = json!({"command_line": words, "shell_line": dry_run.shell_line});
            output::json(&described, true)
        }
    }
}
