//! Claims, looks and sweeps, one at a time and all at once.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use qemu_qmp::error::ErrorKind;
use qemu_qmp_engine::{Engine, Wait};

use super::entry::tests::entry;
use super::operation::PublishedError;
use super::*;
use crate::spec::MachineSpec;

/// A folder for one test.
pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn new(name: &str) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("r-{}-{number}-{name}", std::process::id());
        let path = testbed::folder_for_sockets().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn places(&self) -> Places {
        Places::at(self.0.join("own"), Some(self.0.join("other")))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn publish(places: &Places, name: &str) -> Result<Publication, RegistryError> {
    Engine::start().unwrap();
    let spec = MachineSpec::new("qemu".into());
    let made = Box::pin(Publication::prepare_in(places, &spec, name)).wait()?;
    entry(name).write_to(made.folder()).unwrap();
    Ok(made)
}

struct SetWhenDropped<'a>(&'a AtomicBool);

impl Drop for SetWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What stands in the lock's file of an owner that has died. Another process has
/// its id.
const DEAD: &str = "1 18446744073709551615\n";

/// What an owner that was killed leaves.
fn leave_behind(places: &Places, name: &str) {
    let folder = places.make_own().unwrap().join(name);
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("lock"), DEAD).unwrap();
    entry(name).write_to(&folder).unwrap();
    drop(std::os::unix::net::UnixListener::bind(folder.join("console")).unwrap());
}

fn names(places: &Places) -> Vec<String> {
    let listed = list_in(places).unwrap();
    listed.iter().map(|it| it.name().to_owned()).collect()
}

#[test]
fn a_machine_is_found_from_its_announcement_to_its_end_and_its_name_is_its_own() {
    let scratch = Scratch::new("found");
    let places = scratch.places();
    assert_eq!(names(&places), [] as [&str; 0]);
    let error = find_in(&places, "b").unwrap_err();
    assert!(
        error.to_string().contains("no published machine runs"),
        "{error}"
    );

    let [mut b, a] = ["b", "a"].map(|name| publish(&places, name).unwrap());
    assert_eq!(
        b.folder().metadata().unwrap().permissions().mode() & 0o777,
        0o700
    );
    assert_eq!(names(&places), ["a", "b"]);
    assert_eq!(find_in(&places, "b").unwrap().entry().pid, 7);
    let error = publish(&places, "b").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let text = error.to_string();
    assert!(
        text.contains("'b' is running") && text.contains(&std::process::id().to_string()),
        "{text}"
    );
    let error = find_in(&places, "../own/a").unwrap_err();
    assert!(
        error.to_string().contains("the running ones are: a, b"),
        "{error}"
    );
    assert_eq!(sweep_in(&places).unwrap(), [] as [&str; 0]);

    let (folder, removed) = b.remove();
    removed.unwrap();
    assert!(!folder.exists());
    assert_eq!(names(&places), ["a"]);
    let again = publish(&places, "b").unwrap();
    // The end of the first one is no end of the second.
    drop(b);
    assert_eq!(names(&places), ["a", "b"]);
    drop((a, again));
    assert_eq!(fs::read_dir(places.own().unwrap()).unwrap().count(), 0);
}

#[test]
fn a_machine_that_another_environment_published_is_found_and_has_its_name() {
    let scratch = Scratch::new("other");
    let places = scratch.places();
    let other = Places::at(scratch.0.join("other"), None);
    let there = publish(&other, "vm").unwrap();
    assert_eq!(names(&places), ["vm"]);
    let error = publish(&places, "vm").unwrap_err();
    assert!(matches!(error, RegistryError::NameTaken { .. }), "{error}");
    drop(there);
    leave_behind(&other, "dead");
    publish(&places, "vm").unwrap();
    assert!(!scratch.0.join("other/dead").exists());
}

#[test]
fn what_a_dead_owner_left_is_not_listed_and_is_swept_or_taken_over() {
    let scratch = Scratch::new("dead");
    let places = scratch.places();
    for name in ["x", "y", "z"] {
        leave_behind(&places, name);
    }
    // A folder whose owner died before it had the lock.
    fs::create_dir(places.own().unwrap().join("w")).unwrap();
    // What has no name of a machine is not touched.
    fs::create_dir(places.own().unwrap().join(".hidden")).unwrap();
    fs::write(places.own().unwrap().join("file"), "").unwrap();
    assert_eq!(names(&places), [] as [&str; 0]);
    find_in(&places, "x").unwrap_err();

    let living = publish(&places, "x").unwrap();
    assert!(
        !living.folder().join("console").exists(),
        "it was taken over as it was"
    );
    // The launch swept the others.
    assert_eq!(sweep_in(&places).unwrap(), [] as [&str; 0]);
    leave_behind(&places, "y");
    leave_behind(&places, "a");
    assert_eq!(sweep_in(&places).unwrap(), ["a", "y"]);
    assert_eq!(names(&places), ["x"]);
    drop(living);
    assert_eq!(fs::read_dir(places.own().unwrap()).unwrap().count(), 2);
}

/// All below a directory; a link is not followed.
fn all_below(directory: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            all.extend(all_below(&entry.path()));
        }
        all.push(entry.path());
    }
    all.sort();
    all
}

#[test]
fn what_no_owner_made_is_not_removed_by_a_sweep_or_a_launch() {
    let scratch = Scratch::new("foreign");
    let places = scratch.places();
    let own = places.make_own().unwrap().to_owned();
    // A link to a directory of something else.
    let work = scratch.0.join("work");
    fs::create_dir_all(work.join("source")).unwrap();
    fs::write(work.join("source/text"), "").unwrap();
    std::os::unix::fs::symlink(&work, own.join("link")).unwrap();
    // Directories of something else; one has a lock as a dead owner leaves it.
    fs::create_dir_all(own.join("tree/source")).unwrap();
    fs::write(own.join("tree/source/text"), "").unwrap();
    leave_behind(&places, "mixed");
    fs::write(own.join("mixed/text"), "").unwrap();
    // A lock that an open for reading would wait at.
    fs::create_dir(own.join("pipe")).unwrap();
    let lock = own.join("pipe/lock");
    let made = std::process::Command::new("mkfifo").arg(lock).status();
    assert!(made.unwrap().success());
    fs::write(own.join("file"), "").unwrap();

    let before = all_below(&scratch.0);
    assert_eq!(sweep_in(&places).unwrap(), [] as [&str; 0]);
    assert_eq!(names(&places), [] as [&str; 0]);
    for name in ["link", "tree", "mixed", "pipe", "file"] {
        find_in(&places, name).unwrap_err();
        let error = publish(&places, name).unwrap_err().to_string();
        assert!(error.contains("choose another name"), "{error}");
    }
    assert_eq!(all_below(&scratch.0), before);
}

#[test]
fn of_those_who_claim_a_name_at_once_while_others_sweep_and_look_one_has_it() {
    let scratch = Scratch::new("races");
    let places = scratch.places();
    places.make_own().unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Also when an assertion fails: the scope waits for the others.
        let _ends = SetWhenDropped(&done);
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let _ = sweep_in(&places);
                    let _ = list_in(&places);
                }
            });
        }
        for round in 0..50 {
            if round % 2 == 0 {
                let folder = places.own().unwrap().join("vm");
                // A sweep may remove it before it is complete.
                let _ = fs::create_dir(&folder);
                let _ = fs::write(folder.join("lock"), DEAD);
            }
            let claims: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| publish(&places, "vm")))
                .collect();
            let claims: Vec<_> = claims.into_iter().map(|it| it.join().unwrap()).collect();
            let owners = claims.iter().filter(|it| it.is_ok()).count();
            let errors: Vec<_> = claims.iter().filter_map(|it| it.as_ref().err()).collect();
            assert_eq!(owners, 1, "{errors:?}");
            assert!(
                errors
                    .iter()
                    .all(|it| matches!(it, RegistryError::NameTaken { .. })),
                "{errors:?}"
            );
            assert_eq!(names(&places), ["vm"]);
        }
    });
    assert_eq!(names(&places), [] as [&str; 0]);
}

#[test]
fn a_name_that_fits_no_socket_fails_before_anything_is_made() {
    let scratch = Scratch::new("long");
    let places = scratch.places();
    let error = publish(&places, &"x".repeat(108)).unwrap_err();
    assert!(
        matches!(error, RegistryError::PathTooLong { .. }),
        "{error}"
    );
    let error = publish(&places, "a/b").unwrap_err();
    assert!(matches!(error, RegistryError::Name { .. }), "{error}");
    assert_eq!(names(&places), [] as [&str; 0]);
}

#[test]
fn a_client_that_the_end_of_its_machine_cuts_off_learns_of_that_end() {
    let scratch = Scratch::new("cut-off");
    let places = scratch.places();
    let mut made = publish(&places, "vm").unwrap();
    let mut qemu = std::process::Command::new("true").spawn().unwrap();
    let mut entry = entry("vm");
    entry.pid = qemu.id();
    entry.write_to(made.folder()).unwrap();
    qemu.wait().unwrap();
    let machine = find_in(&places, "vm").unwrap();
    let report = std::sync::Arc::new(super::report_json::tests::report());
    std::thread::scope(|scope| {
        let stop = scope.spawn(|| machine.shutdown().wait());
        let kill = scope.spawn(|| machine.kill().wait());
        // They are connected or not; nobody serves them.
        Box::pin(made.end(&report)).wait();
        for ended in [stop.join().unwrap(), kill.join().unwrap()] {
            let error = ended.unwrap_err();
            assert!(matches!(error, PublishedError::Ended { .. }), "{error}");
        }
    });
    // The folder is still there.
    assert!(machine.is_alive());
}

#[test]
fn an_owner_that_does_not_greet_is_given_up_early() {
    let scratch = Scratch::new("silent");
    let places = scratch.places();
    let _made = publish(&places, "vm").unwrap();
    let machine = find_in(&places, "vm").unwrap();
    for ended in [machine.shutdown().wait(), machine.kill().wait()] {
        let error = ended.unwrap_err();
        let limit = match &error {
            PublishedError::Timeout { limit, .. } => *limit,
            _ => panic!("{error}"),
        };
        assert!(limit < std::time::Duration::from_secs(1), "{error}");
    }
}
