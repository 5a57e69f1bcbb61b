//! `pool start`: owns a pool until somebody stops it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use clap::{Args, ValueHint};
use qemu_machine::error::TemplateError;
use qemu_machine::template::{SharedPool, Template, TemplateFacts};
use qemu_machine::{Machine, MachineBuilder};
use serde::{Deserialize, Serialize};
use signal_hook::consts::SIGTERM;

use super::clone::locate;
use super::ending::Progress;
use super::freeze::wakes_by_default;
use super::machine::{HostOptions, MachineOptions, SocketOptions};
use super::make::OutputAside;
use super::owner::Owner;
use super::stopped::interrupted;
use super::{
    BackgroundOptions, COMMAND_RING_BYTES, ConsoleOptions, EndOptions, Run, TargetOptions, detach,
    life, steps,
};
use crate::attention::{Attention, Call};
use crate::blocking::in_thread;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::verb::template::StoreOption;
use crate::{duration, output};

/// Keeps clones of a template ready, until `pool stop` or Ctrl-C.
///
/// It prints the pool's name once they are ready. The steps run in each clone
/// before, so the programs that they run answer faster then. The machines are
/// named POOL-1, POOL-2 and so on, and end with the pool.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::verb) struct StartPool {
    /// A template's name or key, or a directory (with a slash in it)
    #[arg(value_name = "TEMPLATE")]
    template: String,

    #[command(flatten)]
    store: StoreOption,

    /// How many clones to keep ready
    #[arg(long, value_name = "NUMBER", default_value = "2",
          value_parser = clap::value_parser!(u16).range(1..))]
    size: u16,

    /// The pool's name; by default that of the template
    #[arg(long)]
    name: Option<String>,

    /// Goes on in the background once the clones are ready
    #[arg(short, long)]
    detach: bool,

    #[command(flatten)]
    identity: IdentityOptions,

    /// Keeps the logs of QEMU and of the consoles in this directory
    #[arg(long, value_name = "DIRECTORY", value_hint = ValueHint::DirPath)]
    log_dir: Option<PathBuf>,

    /// Lets `freeze NAME` keep the guest of a machine that was taken. Each clone
    /// has a copy of its memory then
    #[arg(long)]
    freezable: bool,

    #[command(flatten)]
    steps: steps::Steps,

    /// Gives each --expect and --login this time
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "30s",
          help_heading = "Console and steps")]
    step_timeout: Duration,

    /// Prints the pool as JSON
    #[arg(long)]
    json: bool,
}

/// Whether the guests get their own identity.
#[derive(Debug, Args)]
struct IdentityOptions {
    /// Leaves clock, random seed, ids and addresses as they were frozen
    #[arg(long)]
    no_wake: bool,

    /// Gives a Linux guest its own; the default with an agent, a kernel or a shell
    #[arg(long, conflicts_with = "no_wake")]
    wake: bool,
}

const EXAMPLES: &str = "\
Examples:
  qemu-machine pool start web --size 4 --name tests --detach
  qemu-machine pool start tests --exec 'make --version'";

/// A pool whose clones are ready.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::verb) struct StartedPool {
    /// The pool's name.
    name: String,
    /// The process that owns the pool: a signal to it ends the pool.
    owner_pid: u32,
    /// How many machines it keeps ready.
    size: usize,
    /// How many are ready. Fewer if the host has too little memory.
    ready: usize,
}

impl fmt::Display for StartedPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl StartPool {
    pub(in crate::verb) fn run(self) -> Result<Outcome, Failure> {
        let attention = Attention::of_verb()?;
        if self.detach {
            return detach::start_owner::<StartedPool>(self.json, &attention);
        }
        self.live(&attention, None)
    }

    /// The same by the owner of a detached pool.
    pub(in crate::verb) fn own(self) -> Result<Outcome, Failure> {
        Owner::run(|attention, owner| self.live(attention, Some(owner)))
    }

    fn live(self, attention: &Attention, owner: Option<&Owner>) -> Result<Outcome, Failure> {
        let (in_work, work) = mpsc::channel();
        let ended = self.serve(attention, owner, in_work);
        // The pool has ended. A clone that was not warm yet ends in its thread.
        let _ = work.recv_timeout(ENDING);
        ended
    }

    fn serve(
        self,
        attention: &Attention,
        owner: Option<&Owner>,
        in_work: mpsc::Sender<()>,
    ) -> Result<Outcome, Failure> {
        if let Some(directory) = &self.log_dir {
            std::fs::create_dir_all(directory)
                .map_err(|error| Failure::file("make the directory", directory, &error))?;
        }
        let path = locate(&self.template, &self.store)?;
        let facts = TemplateFacts::read(&path).map_err(Failure::failed)?;
        let template = Template::open_as_frozen(&path).map_err(Failure::failed)?;
        let IdentityOptions { wake, no_wake } = self.identity;
        let wakes = wake || (!no_wake && wakes_by_default(&path, &facts));
        let (as_json, size) = (self.json, usize::from(self.size));
        let log = self.log_dir.as_deref();
        let log = log.map(|it| it.join(format!("{}.owner.log", self.name())));
        // Standard output has the name alone.
        let aside = OutputAside::begin().map_err(|error| output::unwritable(&error))?;
        let files = self.freezable.then(|| self.store.open()).transpose()?;
        let files = files.map(|store| store.path().to_owned());
        let published = self.publish(template, files, wakes, facts.has_guest_agent, in_work);
        let pool = match attention.wait(published) {
            Err(call) => return Ok(ended_by(call)),
            Ok(pool) => pool.map_err(not_started)?,
        };
        let ready = match attention.wait(filled(&pool, size)) {
            Err(call) => return Ok(ended_by(call)),
            Ok(ready) => ready.map_err(not_started)?,
        };
        let started = StartedPool {
            name: pool.name().to_owned(),
            owner_pid: std::process::id(),
            size,
            ready,
        };
        let _aside = if let Some(owner) = owner {
            let reported = owner.report(&started, log.as_deref());
            reported.map_err(|stopped| Failure {
                outcome: stopped.ending.outcome(Progress::AllDone),
                message: stopped.message,
            })?;
            aside.leave();
            None
        } else {
            drop(aside);
            output::print(&started, as_json)?;
            Some(OutputAside::begin().map_err(|error| output::unwritable(&error))?)
        };
        match attention.wait(pool.wait_until_stopped()) {
            Ok(()) => Ok(Outcome::Succeeded),
            Err(call) => Ok(ended_by(call)),
        }
    }

    fn name(&self) -> String {
        let of_template = || {
            if self.template.contains('/') {
                format!("pool-{}", std::process::id())
            } else {
                self.template.clone()
            }
        };
        self.name.clone().unwrap_or_else(of_template)
    }

    async fn publish(
        self,
        template: Template,
        files: Option<PathBuf>,
        wakes: bool,
        has_agent: bool,
        in_work: mpsc::Sender<()>,
    ) -> Result<SharedPool, TemplateError> {
        let (name, size, log_dir) = (self.name(), self.size, self.log_dir.clone());
        let has_commands = self.steps.have_commands() && !has_agent;
        let run = Arc::new(self.into_run(has_agent));
        let warm_up = move |vm: Machine| {
            let (run, ends) = (Arc::clone(&run), EndsWhenDropped(Attention::default()));
            let (attention, in_work) = (ends.0.clone(), in_work.clone());
            async move {
                let _ends = ends;
                let warm = in_thread(move || {
                    let warm = life::warm_up(&run, wakes, &vm, &attention);
                    drop((vm, in_work));
                    warm.map_err(|stopped| stopped.message.unwrap_or_default().into())
                });
                warm.await
            }
        };
        let pool = template.pool(size.into()).warm_up(warm_up);
        let pool = pool.machine(move |it| {
            let it = describe(it, log_dir.as_deref(), has_commands);
            match &files {
                Some(files) => it.freezable_in(files),
                None => it,
            }
        });
        pool.publish(name).await
    }

    /// The steps, as those of a run.
    fn into_run(self, has_agent: bool) -> Run {
        Run {
            target: TargetOptions::default(),
            machine: MachineOptions {
                agent: has_agent,
                ..MachineOptions::default()
            },
            host: HostOptions::default(),
            sockets: SocketOptions::default(),
            console: ConsoleOptions::default(),
            steps: self.steps,
            background: BackgroundOptions { detach: true },
            ends: EndOptions {
                step_timeout: Some(self.step_timeout),
                ..EndOptions::default()
            },
            freeze: super::freeze::FreezeOptions::default(),
            qemu_arguments: Vec::new(),
        }
    }
}

/// Waits until the clones are ready. Fails with the reason if none is.
async fn filled(pool: &SharedPool, size: usize) -> Result<usize, TemplateError> {
    let ready = pool.pool().wait_until_filled().await;
    if ready == 0 {
        // It says why not. Without memory for all of them, it can make one.
        drop(pool.pool().take().await?);
    }
    if ready < size {
        output::note(format_args!(
            "{ready} of {size} machines are ready; `pool take` makes one when it needs it"
        ));
    }
    Ok(ready)
}

/// The logs and the console of a clone.
fn describe(
    mut builder: MachineBuilder,
    log_dir: Option<&Path>,
    has_commands: bool,
) -> MachineBuilder {
    let mut consoles = builder.spec().consoles();
    let first = consoles.find(|(name, _)| name.is_none());
    let first = first.map(|(_, config)| config.clone());
    drop(consoles);
    if let Some(mut first) = first {
        if let (Some(directory), Some(name)) = (log_dir, builder.spec().name()) {
            first = first.log(directory.join(format!("{name}.console")));
        }
        if has_commands {
            first = first.ring_bytes(COMMAND_RING_BYTES);
        }
        builder = builder.console(first);
    }
    match log_dir {
        Some(directory) => builder.log_dir(directory),
        None => builder,
    }
}

/// The warm-up of a clone: if nobody waits for it, its waits end.
struct EndsWhenDropped(Attention);

impl Drop for EndsWhenDropped {
    fn drop(&mut self) {
        self.0.call(Call::Signal(SIGTERM));
    }
}

/// How long the end waits for clones that were not warm yet. A machine ends
/// within this time when its last handle is dropped.
const ENDING: Duration = Duration::from_secs(5);

fn not_started(error: TemplateError) -> Failure {
    match error {
        TemplateError::Launch(error) => super::not_launched(&error),
        error => Failure::new(Outcome::of(error.kind()), error),
    }
}

fn ended_by(call: Call) -> Outcome {
    let stopped = interrupted(call);
    stopped.ending.outcome(Progress::AllDone)
}
