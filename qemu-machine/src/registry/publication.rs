//! A machine that this process publishes: its folder, from the launch to the end.

use std::io;
use std::path::PathBuf;

use super::claim::{self, Claim};
use super::entry::Entry;
use super::places::Places;
use super::{RegistryError, name, sweep_in};
use crate::spec::MachineSpec;

/// What a launched machine says about itself.
pub(crate) struct Announcement {
    pub(crate) entry: Entry,
}

/// A machine's folder, which this process owns. A drop removes it.
#[derive(Debug)]
pub(crate) struct Publication {
    claim: Claim,
}

impl Publication {
    /// Claims the name of a machine, and removes what dead owners left.
    pub(crate) async fn prepare(spec: &MachineSpec, name: &str) -> Result<Self, RegistryError> {
        Self::prepare_in(&Places::of_this_user(), spec, name).await
    }

    pub(super) async fn prepare_in(
        places: &Places,
        spec: &MachineSpec,
        name: &str,
    ) -> Result<Self, RegistryError> {
        name::check_machine(name)?;
        let directory = places.make_own()?;
        let files = socket_files(spec)?;
        let folder = directory.join(name);
        for file in &files {
            name::socket_path(&folder, file)?;
        }
        let claim = Claim::take(directory, name).await?;
        // Claimed first: of two that claim in two places, at most one stays.
        let elsewhere = places.existing()?.into_iter().skip(1);
        if elsewhere
            .map(|it| it.join(name))
            .any(|it| claim::is_owned(&it))
        {
            return Err(RegistryError::NameTaken {
                name: name.to_owned(),
                owner_pid: None,
            });
        }
        // What it cannot remove, a later one does.
        let _ = sweep_in(places);
        Ok(Self { claim })
    }

    /// Makes the machine visible.
    pub(crate) fn announce(&mut self, entry: &Entry) -> Result<(), RegistryError> {
        let folder = self.claim.folder();
        let written = entry.write_to(folder);
        written.map_err(RegistryError::file("write into", folder))
    }

    #[cfg(test)]
    pub(super) fn folder(&self) -> &std::path::Path {
        self.claim.folder()
    }

    /// Removes the folder. The name is free then.
    pub(crate) fn remove(&mut self) -> (PathBuf, io::Result<()>) {
        (self.claim.folder().to_owned(), self.claim.remove())
    }
}

/// The files of the sockets of this machine.
fn socket_files(spec: &MachineSpec) -> Result<Vec<String>, RegistryError> {
    let mut files = vec![name::QMP.to_owned()];
    if spec.has_guest_agent() {
        files.push(name::AGENT.to_owned());
    }
    for (console, config) in spec.consoles() {
        if config.is_drained() {
            files.push(name::console_socket(console)?);
        }
    }
    Ok(files)
}
