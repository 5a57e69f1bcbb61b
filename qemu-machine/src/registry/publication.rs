//! A machine that this process publishes: its folder, from the launch to the end.

use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use qemu_qmp::agent::GuestAgent;
use qemu_qmp_engine::Engine;

use super::claim::{self, Claim};
use super::entry::Entry;
use super::places::Places;
use super::serve::{Door, Listening, Served, Server};
use super::{RegistryError, name, sweep_in};
use crate::life::ExitReport;
use crate::spec::MachineSpec;

/// What a launched machine says about itself.
pub(crate) struct Announcement {
    pub(crate) entry: Entry,
    /// `None` if it has no port for one.
    pub(crate) agent: Option<GuestAgent>,
    pub(crate) quit_timeout: Option<Duration>,
    pub(crate) terminate_timeout: Duration,
}

/// A machine's folder, which this process owns. A drop removes it.
#[derive(Debug)]
pub(crate) struct Publication {
    claim: Claim,
    /// Until they are served.
    sockets: Vec<Listening>,
    server: Option<Server>,
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
        let folder = directory.join(name);
        let doors = doors(spec, &folder)?;
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
        let sockets = doors.into_iter();
        let sockets = sockets.map(|(path, door)| Listening::at(&path, door));
        Ok(Self {
            sockets: sockets.collect::<Result<_, _>>()?,
            server: None,
            claim,
        })
    }

    /// Makes the machine visible, and serves it.
    pub(crate) fn announce(
        &mut self,
        engine: &'static Engine,
        served: Served,
    ) -> Result<(), RegistryError> {
        let folder = self.claim.folder();
        let written = served.entry.write_to(folder);
        written.map_err(RegistryError::file("write into", folder))?;
        let sockets = mem::take(&mut self.sockets);
        self.server = Some(Server::begin(engine, sockets, served));
        Ok(())
    }

    /// Sends each client what is left of the machine, with its report, and closes
    /// everything.
    pub(crate) async fn end(&mut self, report: &Arc<ExitReport>) {
        self.sockets.clear();
        if let Some(server) = self.server.take() {
            server.end(report).await;
        }
    }

    #[cfg(test)]
    pub(super) fn folder(&self) -> &Path {
        self.claim.folder()
    }

    /// Removes the folder. The name is free then.
    pub(crate) fn remove(&mut self) -> (PathBuf, io::Result<()>) {
        (self.claim.folder().to_owned(), self.claim.remove())
    }
}

/// The sockets of this machine: their paths and purposes.
fn doors(spec: &MachineSpec, folder: &Path) -> Result<Vec<(PathBuf, Door)>, RegistryError> {
    let mut doors = vec![(name::socket_path(folder, name::QMP)?, Door::Qmp)];
    if spec.has_guest_agent() {
        doors.push((name::socket_path(folder, name::AGENT)?, Door::Agent));
    }
    for (console, config) in spec.consoles() {
        if config.is_drained() {
            let path = name::socket_path(folder, &name::console_socket(console)?)?;
            doors.push((path, Door::Console(console.map(str::to_owned))));
        }
    }
    Ok(doors)
}
