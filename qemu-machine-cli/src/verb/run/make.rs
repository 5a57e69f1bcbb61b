//! `template make`: boots a machine, does its steps, and freezes it.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::{Args, ValueHint};
use nix::unistd;
use qemu_machine::error::TemplateError;
use qemu_machine::template::{Template, TemplateFacts, TemplateStore};
use qemu_machine::{Machine, MachineBuilder};

use super::freeze::{FreezeOptions, keep_as_awake, place_for, with_memory};
use super::machine::{self, HostOptions, MachineOptions};
use super::stopped::{Stopped, interrupted};
use super::{BackgroundOptions, ConsoleOptions, EndOptions, Live, Run, TargetOptions, life, steps};
use crate::attention::Attention;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::verb::template::{DescribedTemplate, StoreOption};
use crate::{duration, output, progress};

/// Boots a machine, does the steps, freezes it, and prints the template's key.
///
/// If the store has it already, made of the same QEMU, files, options and steps,
/// nothing is booted. Two at once boot once. The name stands for the template that
/// was asked for last.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::verb) struct Make {
    /// The template's name for `clone`
    #[arg(value_name = "NAME", value_parser = template_name)]
    template: String,

    #[command(flatten)]
    store: StoreOption,

    /// Makes it in this directory, which must not exist, and not in the store
    #[arg(long, value_name = "DIRECTORY", value_hint = ValueHint::DirPath, conflicts_with = "store")]
    directory: Option<PathBuf>,

    #[command(flatten)]
    machine: MachineOptions,

    /// Keeps the logs of QEMU and of the console in this directory
    #[arg(long, value_name = "DIRECTORY", value_hint = ValueHint::DirPath, hide_short_help = true)]
    log_dir: Option<PathBuf>,

    #[command(flatten)]
    steps: steps::Steps,

    /// Shows the console live, on standard error
    #[arg(long, help_heading = "Console and steps")]
    console: bool,

    /// Gives up after this time: 90, 500ms, 5m, 2h
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "10m", help_heading = None)]
    timeout: Duration,

    /// Prints what the template is as JSON
    #[arg(long, help_heading = None)]
    json: bool,

    /// Arguments for QEMU, or its whole line: qemu-system-…
    #[arg(last = true, value_name = "QEMU ARGUMENTS", help_heading = None)]
    qemu_arguments: Vec<OsString>,
}

const EXAMPLES: &str = "\
Examples:
  qemu-machine template make web --drive disk.qcow2 --memory 1G --login root --exec ./start
  qemu-machine template make tests --kernel vmlinuz --append console=ttyS0 --expect '~ # '
  qemu-machine template make tests --directory ./frozen --memory 256M --expect '> '";

/// A name that `clone` takes as one.
pub(in crate::verb) fn template_name(text: &str) -> Result<String, &'static str> {
    if text.is_empty() || text == "." || text.contains('/') {
        return Err("a template's name has no slash; --directory says where it is kept");
    }
    Ok(text.to_owned())
}

impl Make {
    pub(in crate::verb) fn run(self) -> Result<Outcome, Failure> {
        let attention = Attention::of_verb()?;
        let (store, directory, as_json) = (self.store.clone(), self.directory.clone(), self.json);
        let has_shell = self.steps.have_shell();
        let run = self.into_run();
        let builder = with_memory(machine::plan(&run, &attention)?.builder);
        // Standard output has the key alone.
        let aside = OutputAside::begin();
        let aside = aside.map_err(|error| output::unwritable(&error))?;
        let limit = run.ends.timeout;
        let version = format!("{:?} {:?}", run.host.name, run.steps);
        let set_up = SetUp {
            run: Arc::new(run),
            attention: attention.clone(),
            stopped: Arc::default(),
        };
        let made = match &directory {
            Some(directory) => set_up.freeze_at(&builder, directory.clone()),
            None => set_up.make_in(&store.open()?, &builder, version, limit),
        };
        let template = made.map_err(|unmade| unmade.failure(&set_up.stopped))?;
        if has_shell {
            keep_as_awake(template.path());
        }
        drop(aside);
        let path = template.path().to_owned();
        // It is not in use any more.
        drop(template);
        let facts = TemplateFacts::read(&path).map_err(Failure::failed)?;
        let described = match &directory {
            Some(_) => DescribedTemplate::at(&path, facts),
            None => DescribedTemplate::in_store(&store.open()?, &path, facts)?,
        };
        output::print(&described.as_made(), as_json)?;
        Ok(Outcome::Succeeded)
    }

    fn into_run(self) -> Run {
        Run {
            target: TargetOptions::default(),
            machine: self.machine,
            host: HostOptions {
                name: Some(self.template),
                log_dir: self.log_dir,
                ..HostOptions::default()
            },
            sockets: machine::SocketOptions::default(),
            console: ConsoleOptions {
                console: self.console.then_some(Live::Stderr),
                ..ConsoleOptions::default()
            },
            steps: self.steps,
            // So that a console is not shown by itself.
            background: BackgroundOptions { detach: true },
            ends: EndOptions {
                timeout: Some(self.timeout),
                ..EndOptions::default()
            },
            freeze: FreezeOptions::default(),
            qemu_arguments: self.qemu_arguments,
        }
    }
}

/// The steps, and how they ended.
#[derive(Clone)]
struct SetUp {
    run: Arc<Run>,
    attention: Attention,
    stopped: Arc<Mutex<Option<Stopped>>>,
}

impl SetUp {
    /// Does the steps. If one fails, why is kept for the status.
    fn walk(&self, machine: &Machine) -> Result<(), String> {
        life::set_up(&self.run, machine, &self.attention).map_err(|stopped| {
            let message = stopped.message.clone().unwrap_or_default();
            let mut kept = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
            *kept = Some(stopped);
            message
        })
    }

    /// Makes a template in a store, if it is not there.
    fn make_in(
        &self,
        store: &TemplateStore,
        builder: &MachineBuilder,
        version: String,
        limit: Option<Duration>,
    ) -> Result<Template, Unmade> {
        let set_up = self.clone();
        let making = store.template(builder).version(version).timeout(limit);
        let making = making.set_up(move |vm| async move {
            // This waits in the poll of the outer wait, on its thread.
            set_up.walk(&vm).map_err(Into::into)
        });
        let _phase = progress::phase("making the template");
        let made = self.attention.wait(making);
        let made = made.map_err(|call| Unmade::Stopped(interrupted(call)))?;
        made.map_err(Unmade::Template)
    }

    /// Makes a template at this path, outside of the store.
    fn freeze_at(&self, builder: &MachineBuilder, path: PathBuf) -> Result<Template, Unmade> {
        let place = place_for(&path).map_err(Unmade::Failure)?;
        let launch = builder.clone().freezable_in(place).launch();
        let launch = launch.cancel_on(self.attention.called());
        let launched = qemu_machine::Wait::wait(launch);
        let machine = launched.map_err(|error| match self.attention.take() {
            Some(call) => Unmade::Stopped(interrupted(call)),
            None => Unmade::Template(TemplateError::Launch(error)),
        })?;
        let walked = self.walk(&machine);
        walked.map_err(|_| Unmade::Stopped(Stopped::quietly(super::ending::Ending::StepFailed)))?;
        let frozen = self.attention.wait(machine.freeze().keep_at(path));
        let frozen = frozen.map_err(|call| Unmade::Stopped(interrupted(call)))?;
        frozen.map_err(Unmade::Template)
    }
}

/// Why there is no template.
enum Unmade {
    Failure(Failure),
    Stopped(Stopped),
    Template(TemplateError),
}

impl Unmade {
    /// The failure, which is that of the step that failed.
    fn failure(self, step: &Mutex<Option<Stopped>>) -> Failure {
        let of_step = step.lock().unwrap_or_else(PoisonError::into_inner).take();
        let stopped = match (of_step, self) {
            (Some(stopped), _) | (None, Self::Stopped(stopped)) => stopped,
            (None, Self::Failure(failure)) => return failure,
            (None, Self::Template(TemplateError::Launch(error))) => {
                return super::not_launched(&error);
            }
            (None, Self::Template(error)) => {
                return Failure::new(Outcome::of(error.kind()), error);
            }
        };
        Failure {
            outcome: stopped.ending.outcome(super::ending::Progress::StepsLeft),
            message: stopped.message,
        }
    }
}

impl fmt::Debug for SetUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SetUp").finish_non_exhaustive()
    }
}

/// Makes standard error standard output, until it is dropped: the commands of a
/// set-up print what nobody has asked for.
pub(super) struct OutputAside(Option<OwnedFd>);

impl OutputAside {
    pub(super) fn begin() -> io::Result<Self> {
        // No child gets it.
        let stdout = io::stdout().as_fd().try_clone_to_owned()?;
        unistd::dup2_stdout(io::stderr())?;
        Ok(Self(Some(stdout)))
    }

    /// Leaves standard output as it is now.
    pub(super) fn leave(mut self) {
        self.0 = None;
    }
}

impl Drop for OutputAside {
    fn drop(&mut self) {
        if let Some(stdout) = &self.0 {
            let _ = unistd::dup2_stdout(stdout);
        }
    }
}
