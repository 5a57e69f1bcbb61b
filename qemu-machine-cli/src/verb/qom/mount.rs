//! `qom mount`: the objects as files, by FUSE.

mod entries;
mod files;
mod guard;
mod inodes;
mod objects;

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::Args;
use fuser::{BackgroundSession, Config, MountOption, Session};
use nix::mount::{MntFlags, umount2};
use qemu_machine::Wait;
use qemu_machine::error::EventError;
use qemu_machine::qmp::Client;
use qemu_machine::qmp::qom::QomList;

use crate::attention::{Attention, Call};
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::output;
use crate::verb::qmp::{Server, failed};
use files::Files;
use guard::Guard;
use objects::Objects;

/// Shows the objects as files below a folder, until Ctrl-C or the end of QEMU
///
/// An object is a folder, a property is a file with its value, and a link is a
/// symlink.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Mount {
    #[command(flatten)]
    server: Server,

    /// The folder; its own files are hidden until the end
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,

    /// The object that the folder becomes, from the root
    #[arg(default_value = "/", value_parser = absolute)]
    path: String,

    /// Lets files be written, which sets properties
    #[arg(long)]
    writable: bool,
}

const EXAMPLES: &str = "\
It needs /dev/fuse, and root or the program fusermount3. Only the user who mounts
can see the files. A note on standard error says when they are there.

Examples:
  qemu-machine qom mount qmp.sock /mnt &
  grep -r . /mnt/machine/peripheral
  umount /mnt";

fn absolute(path: &str) -> Result<String, String> {
    match path.strip_prefix('/') {
        Some(_) if path.len() > 1 => Ok(path.trim_end_matches('/').to_owned()),
        Some(_) => Ok(path.to_owned()),
        None => Err("it must begin with a slash".to_owned()),
    }
}

impl Mount {
    pub(super) fn run(self) -> Result<Outcome, Failure> {
        let attention = Attention::to_signals()
            .map_err(|error| Failure::new(Outcome::Broken, format!("no signals: {error}")))?;
        let monitor = self.server.connect()?;
        let timeout = self.server.timeout;
        // An object that is not there is an error now, and not of each file.
        let listed = monitor.execute(QomList::new(&*self.path));
        listed.timeout(timeout).wait().map_err(failed)?;
        let mount_point = self.folder.canonicalize();
        let mount_point =
            mount_point.map_err(|error| Failure::file("use", &self.folder, &error))?;
        let objects = Objects::new(monitor.clone(), self.path.clone(), timeout);
        let files = Files::new(
            objects,
            &self.path,
            self.writable,
            owner(),
            attention.clone(),
        );
        let session = mount(files, &mount_point, self.writable)
            .map_err(|error| refused(&mount_point, &error))?;
        let guard = Guard::start(&mount_point);
        output::note(format_args!(
            "the objects of the {} are at {}",
            monitor.server(),
            mount_point.display()
        ));
        let outcome = attention.wait(ended(&monitor));
        // A question under way must not delay the end.
        monitor.close();
        unmount(session, &mount_point)?;
        if let Ok(guard) = guard {
            guard.dismiss();
        }
        Ok(match outcome {
            Err(Call::Signal(number)) => Outcome::Signal(number),
            _ => Outcome::Succeeded,
        })
    }
}

/// The user and the group of this process.
fn owner() -> (u32, u32) {
    let process = std::fs::metadata("/proc/self");
    process.map_or((0, 0), |it| (it.uid(), it.gid()))
}

/// Waits for the end of QEMU's monitor.
async fn ended(monitor: &Client) {
    // No event is of interest, only the end of all.
    let mut events = monitor.events_named::<String>([]);
    while !matches!(
        events.next().timeout(None).await,
        Err(EventError::Ended { .. })
    ) {}
}

fn mount(files: Files, mount_point: &Path, is_writable: bool) -> io::Result<BackgroundSession> {
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName("qemu".to_owned()),
        MountOption::Subtype("qom".to_owned()),
        MountOption::DefaultPermissions,
        MountOption::NoDev,
        MountOption::NoSuid,
        MountOption::NoExec,
        if is_writable {
            MountOption::RW
        } else {
            MountOption::RO
        },
    ];
    Session::new(files, mount_point, &config)?.spawn()
}

/// Ends the mount, even if somebody is in it: their files are then gone.
fn unmount(session: BackgroundSession, mount_point: &Path) -> Result<(), Failure> {
    let Err(error) = session.umount_and_join() else {
        return Ok(());
    };
    match umount2(mount_point, MntFlags::MNT_DETACH) {
        // It is no mount any more.
        Ok(()) | Err(nix::errno::Errno::EINVAL) => Ok(()),
        Err(_) => Err(Failure::file("unmount", mount_point, &error)),
    }
}

/// Why it cannot be mounted, and what to do.
fn refused(mount_point: &Path, error: &io::Error) -> Failure {
    let device = File::options().read(true).write(true).open(DEVICE);
    let advice = advice(device.as_ref().err().map(io::Error::kind), has_helper());
    let mount_point = mount_point.display();
    Failure::failed(format!(
        "cannot mount at {mount_point}: {}\n{advice}",
        error.to_string().trim_end()
    ))
}

/// What to do, by the error of opening the device, and whether there is a
/// program that mounts for users.
fn advice(device: Option<io::ErrorKind>, has_helper: bool) -> &'static str {
    match device {
        Some(io::ErrorKind::NotFound) => {
            "advice: there is no /dev/fuse: run 'modprobe fuse' as root, or start the container \
             with '--device /dev/fuse --cap-add SYS_ADMIN'"
        }
        Some(_) => {
            "advice: /dev/fuse cannot be opened: run this as root, or start the container with \
             '--device /dev/fuse --cap-add SYS_ADMIN'"
        }
        None if has_helper => {
            "advice: the folder must be yours; in a container, '--cap-add SYS_ADMIN' is needed"
        }
        None => {
            "advice: run this as root, or install fusermount3 (package fuse3); in a container, \
             '--cap-add SYS_ADMIN' is needed"
        }
    }
}

fn has_helper() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join("fusermount3").is_file())
}

const DEVICE: &str = "/dev/fuse";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_to_mount_is_given_from_the_root() {
        assert_eq!(absolute("/"), Ok("/".to_owned()));
        assert_eq!(absolute("/machine/"), Ok("/machine".to_owned()));
        assert!(absolute("machine").is_err() && absolute("").is_err());
    }

    #[test]
    fn a_refused_mount_has_advice_for_its_reason() {
        let denied = Some(io::ErrorKind::PermissionDenied);
        assert!(advice(Some(io::ErrorKind::NotFound), true).contains("modprobe"));
        assert!(advice(denied, true).contains("cannot be opened"));
        assert!(advice(None, false).contains("install fusermount3"));
        assert!(advice(None, true).contains("must be yours"));
    }
}
