//! What `run` does so that its guest can be frozen, and be cloned later.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};
use qemu_machine::template::{FreezeOffer, TemplateFacts};
use qemu_machine::{Machine, MachineBuilder};

use crate::attention::Attention;
use crate::failure::Failure;
use crate::verb::template::user_store;
use crate::{output, progress};

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Ends")]
pub(super) struct FreezeOptions {
    /// If a step fails, freezes the guest into this directory; `clone DIRECTORY`
    /// goes on from there
    #[arg(long, value_name = "DIRECTORY", value_hint = ValueHint::DirPath,
          conflicts_with = "keep_on_failure", hide_short_help = true)]
    freeze_on_failure: Option<PathBuf>,

    /// Lets `freeze NAME` keep the guest as a template
    #[arg(long, conflicts_with = "freeze_on_failure", hide_short_help = true)]
    freezable: bool,
}

impl FreezeOptions {
    /// Prepares the machine, if its guest may be frozen.
    pub(super) fn prepare(&self, builder: MachineBuilder) -> Result<MachineBuilder, Failure> {
        let place = match &self.freeze_on_failure {
            Some(directory) => place_for(directory)?,
            None if self.freezable => user_store()?.path().to_owned(),
            None => return Ok(builder),
        };
        Ok(with_memory(builder).freezable_in(place))
    }

    /// Lets other programs freeze the machine, until this is dropped.
    pub(super) fn offer(&self, machine: &Machine) -> Option<FreezeOffer> {
        if !self.freezable {
            return None;
        }
        let offer = machine.offer_freeze();
        offer.map_err(output::note).ok()
    }

    /// Freezes the guest of a run that failed. Returns where it is.
    pub(super) fn after_failure(
        &self,
        machine: &Machine,
        attention: &Attention,
    ) -> Option<PathBuf> {
        let directory = self.freeze_on_failure.as_ref()?;
        if machine.report().is_some() {
            output::note("the machine has ended, so its guest cannot be frozen");
            return None;
        }
        let _phase = progress::phase("freezing the guest");
        match attention.wait(machine.freeze().keep_at(directory)) {
            Ok(Ok(_)) => {
                keep_as_it_was(directory);
                output::note(format_args!(
                    "the guest is frozen in {}; `qemu-machine clone {}` goes on from there",
                    directory.display(),
                    for_clone(directory).display()
                ));
                Some(directory.clone())
            }
            Ok(Err(error)) => {
                output::note(format_args!("the guest is not frozen: {error}"));
                None
            }
            // The call ends the machine.
            Err(call) => {
                attention.call(call);
                None
            }
        }
    }
}

/// The path as `clone` takes it: a word without a slash is a name in the store.
fn for_clone(directory: &Path) -> PathBuf {
    if directory.as_os_str().as_encoded_bytes().contains(&b'/') {
        directory.to_owned()
    } else {
        Path::new(".").join(directory)
    }
}

/// The directory in which a template of this path can be made. Fails if the path
/// is in use, before anything runs.
pub(super) fn place_for(directory: &Path) -> Result<PathBuf, Failure> {
    if directory.symlink_metadata().is_ok() {
        let exists = io::ErrorKind::AlreadyExists.into();
        return Err(Failure::file("make a template at", directory, &exists));
    }
    let parent = directory.parent().filter(|it| !it.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    parent
        .canonicalize()
        .map_err(|error| Failure::file("make a template in", parent, &error))
}

/// Gives the machine QEMU's default memory, if it has no size: a guest that can
/// be frozen needs a known one.
pub(super) fn with_memory(builder: MachineBuilder) -> MachineBuilder {
    let mut words = builder.spec().arguments().iter();
    if words.any(|word| word == "-m" || word == "--m") {
        return builder;
    }
    builder.memory("128M")
}

/// Whether clones of this template get their own identity, if nothing is said.
/// That needs a Linux with an agent, or with a shell at its prompt.
pub(in crate::verb) fn wakes_by_default(directory: &Path, facts: &TemplateFacts) -> bool {
    match fs::read_to_string(directory.join(WAKE)) {
        Ok(said) => said.trim() == "yes",
        Err(_) => facts.has_guest_agent || facts.boots_kernel,
    }
}

/// Notes that clones have a shell at the prompt.
pub(super) fn keep_as_awake(directory: &Path) {
    let _ = fs::write(directory.join(WAKE), "yes\n");
}

/// Notes that clones stay as the guest was: whatever runs in the console then
/// must not get a script.
pub(in crate::verb) fn keep_as_it_was(directory: &Path) {
    let _ = fs::write(directory.join(WAKE), "no\n");
}

/// A file in the template, for this program only.
const WAKE: &str = "wake";
