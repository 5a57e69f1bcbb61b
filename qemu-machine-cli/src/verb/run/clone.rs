//! `clone`: a machine from a template, with the life of a run.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;
use qemu_machine::MachineBuilder;
use qemu_machine::template::{Template, TemplateFacts, TemplateStore};

use super::freeze::{FreezeOptions, wakes_by_default};
use super::machine::{self, HostOptions, MachineOptions};
use super::{
    BackgroundOptions, ConsoleOptions, EndOptions, Run, TargetOptions, detach, dry_run, owner,
    steps,
};
use crate::attention::Attention;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::verb::template::StoreOption;

/// Runs a machine whose guest goes on where a template was frozen.
///
/// It takes the time of a launch, not of a boot. Each clone is apart from the
/// others: what it writes to memory and disks is its own, and ends with it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CloneMachine {
    /// A template's name or key, or a directory (with a slash in it)
    #[arg(value_name = "TEMPLATE")]
    template: String,

    #[command(flatten)]
    store: StoreOption,

    /// Leaves clock, random seed, ids and addresses as they were frozen
    #[arg(long)]
    no_wake: bool,

    /// Gives a Linux guest its own; the default with an agent, a kernel or a shell
    #[arg(long, conflicts_with = "no_wake", hide_short_help = true)]
    wake: bool,

    /// Has this network instead of the one with the same id: user,id=net0,…
    #[arg(long, value_name = "NETWORK", hide_short_help = true)]
    netdev: Vec<OsString>,

    /// Has this shared folder instead of the one with the same id
    #[arg(long, value_name = "FOLDER", hide_short_help = true)]
    fsdev: Vec<OsString>,

    /// Prints the name of a detached clone as JSON
    #[arg(long, requires = "detach", hide_short_help = true)]
    json: bool,

    #[command(flatten)]
    host: HostOptions,

    #[command(flatten)]
    console: ConsoleOptions,

    #[command(flatten)]
    steps: steps::Steps,

    #[command(flatten)]
    background: BackgroundOptions,

    #[command(flatten)]
    ends: EndOptions,

    #[command(flatten)]
    freeze: FreezeOptions,
}

const EXAMPLES: &str = "\
Examples:
  qemu-machine clone web --exec 'systemctl is-system-running'
  qemu-machine clone --detach --name web1 web
  qemu-machine clone ./failures/test-7 --interact";

impl CloneMachine {
    pub(crate) fn run(self) -> Result<Outcome, Failure> {
        let attention = Attention::of_verb()?;
        if self.background.detach && self.ends.dry_run.is_none() {
            return detach::start_owner::<owner::Detached>(self.json, &attention);
        }
        self.live(&attention, None)
    }

    /// The same by the owner of a detached clone.
    pub(crate) fn own(self) -> Result<Outcome, Failure> {
        owner::Owner::run(|attention, owner| self.live(attention, Some(owner)))
    }

    fn live(self, attention: &Attention, owner: Option<&owner::Owner>) -> Result<Outcome, Failure> {
        let path = locate(&self.template, &self.store)?;
        let facts = TemplateFacts::read(&path).map_err(Failure::failed)?;
        // From here on it is in use, until the clone has ended.
        let template = Template::open_as_frozen(&path).map_err(Failure::failed)?;
        let wakes = self.wake || (!self.no_wake && wakes_by_default(&path, &facts));
        let run = Run {
            target: TargetOptions::default(),
            machine: MachineOptions {
                agent: facts.has_guest_agent,
                ..MachineOptions::default()
            },
            host: self.host,
            sockets: machine::SocketOptions::default(),
            console: self.console,
            steps: self.steps,
            background: self.background,
            ends: self.ends,
            freeze: self.freeze,
            qemu_arguments: Vec::new(),
        };
        let builder = template.machine();
        let builder = replaced(builder, "-netdev", &self.netdev);
        let builder = replaced(builder, "-fsdev", &self.fsdev);
        let plan = machine::plan_clone(&run, builder, wakes, attention)?;
        drop(template);
        if let Some(form) = run.ends.dry_run {
            dry_run::print(&plan, form)?;
            return Ok(Outcome::Succeeded);
        }
        run.live_as(plan, attention, owner)
    }
}

fn replaced(builder: MachineBuilder, option: &str, values: &[OsString]) -> MachineBuilder {
    values.iter().fold(builder, |builder, value| {
        builder.replace_option(option, value)
    })
}

/// The directory of a template. A text with a slash is its path.
pub(in crate::verb) fn locate(template: &str, store: &StoreOption) -> Result<PathBuf, Failure> {
    if template.contains('/') || template == "." {
        return Ok(Path::new(template).to_owned());
    }
    let store: TemplateStore = store.open_existing()?;
    let found = store.find(template).map_err(Failure::failed)?;
    Ok(found.path)
}
