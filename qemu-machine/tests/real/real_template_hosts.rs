//! Templates and clones on a host that lacks room, or whose owner is killed.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::{Qemu, Scratch, boot_sector, qemus};
use qemu_machine::console::Pattern;
use qemu_machine::error::{LaunchFailure, TemplateError};
use qemu_machine::spec::Drive;
use qemu_machine::template::Template;
use qemu_machine::{MachineBuilder, Wait};
use serde_json::json;

const ROLE: &str = "TEMPLATE_HOSTS_ROLE";
const QEMU: &str = "TEMPLATE_HOSTS_QEMU";
const FOLDER: &str = "TEMPLATE_HOSTS_FOLDER";

/// The other process: on a small file system, or a pool's owner.
#[test]
fn the_other_process() {
    let (Ok(role), Some(binary), Some(folder)) = (
        std::env::var(ROLE),
        std::env::var_os(QEMU),
        std::env::var_os(FOLDER).map(PathBuf::from),
    ) else {
        return;
    };
    let qemu = Qemu {
        version: String::new(),
        binary: binary.into(),
    };
    match &*role {
        "full" => freezes_on_a_full_disk(&qemu, &folder),
        "filled" => has_no_room_for_more_memory(&qemu, &folder),
        "poor" => has_too_little_memory(&qemu, &folder),
        "pool" => owns_a_pool(&qemu, &folder),
        other => panic!("{other}"),
    }
}

/// The command that plays a role, after these words.
fn other(before: &[&OsStr], role: &str, qemu: &Qemu, folder: &Path) -> Command {
    let program = std::env::current_exe().unwrap();
    let mut words = before.to_vec();
    words.push(program.as_os_str());
    let mut command = Command::new(words[0]);
    command
        .args(&words[1..])
        .args(["--exact", "real_template_hosts::the_other_process"])
        .arg("--nocapture")
        .env(ROLE, role)
        .env(QEMU, &qemu.binary)
        .env(FOLDER, folder);
    command
}

/// A machine whose guest counts in its memory, with all its files in a folder.
fn tiny(qemu: &Qemu, folder: &Path) -> MachineBuilder {
    qemu.tiny().memory("64M").base_dir(folder).freezable()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// Takes all the room of a file system.
fn fill(folder: &Path) -> PathBuf {
    let path = folder.join("filler");
    let mut file = std::fs::File::create(&path).unwrap();
    let copied = std::io::copy(&mut std::io::repeat(1), &mut file);
    let error = copied.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull, "{error}");
    path
}

/// Runs on a file system with a little more room than the guest's memory.
fn freezes_on_a_full_disk(qemu: &Qemu, folder: &Path) {
    let machine = tiny(qemu, folder);
    let vm = machine.launch().wait().unwrap();
    vm.console().expect("> ").wait().unwrap();
    vm.console().send("tick 1\n").wait().unwrap();
    let counts = || vm.console().expect("tick ").wait().unwrap();
    counts();
    let before = names(folder);
    let filler = fill(folder);
    for _ in 0..2 {
        let error = vm.freeze().wait().unwrap_err();
        let is_ours = matches!(error, TemplateError::Save(_) | TemplateError::File { .. });
        assert!(is_ours, "{error}");
        counts();
    }
    std::fs::remove_file(&filler).unwrap();
    assert_eq!(names(folder), before);
    let template = vm.freeze().wait().unwrap();
    drop(vm);
    // There is no room for a copy of the memory.
    let filler = fill(folder);
    let layer = template.machine().freezable().launch().wait();
    let failure = *layer.unwrap_err().failure;
    assert!(
        matches!(failure, LaunchFailure::NoSpace { .. }),
        "{failure}"
    );
    assert!(failure.to_string().contains("0 MiB free"), "{failure}");
    std::fs::remove_file(&filler).unwrap();
    let clone = template.machine().launch().wait().unwrap();
    clone.console().expect("tick ").wait().unwrap();
    drop((clone, template));
    assert_eq!(names(folder), [""; 0]);
}

/// Runs on such a file system, too. Another program fills it while the guest runs.
fn has_no_room_for_more_memory(qemu: &Qemu, folder: &Path) {
    let vm = tiny(qemu, folder).launch().wait().unwrap();
    vm.console().expect("> ").wait().unwrap();
    fill(folder);
    // To read memory that nobody has written takes room, too.
    let all = json!({"val": 0, "size": 64 << 20, "filename": "/dev/null"});
    vm.monitor()
        .execute_json("pmemsave", all)
        .wait()
        .unwrap_err();
    let report = vm.wait_for_exit().wait().unwrap();
    assert_eq!(report.status.signal(), Some(libc::SIGBUS), "{report}");
    let said = report.to_string();
    let memory = format!("is the file {}/", folder.display());
    assert!(said.contains(&memory), "{said}");
    assert!(said.contains("0 MiB free"), "{said}");
}

/// Runs where the host has 20 MiB of memory available.
fn has_too_little_memory(qemu: &Qemu, folder: &Path) {
    let machine = tiny(qemu, &folder.join("private"));
    let template = Template::open(folder.join("kept"), &machine).unwrap();
    let failure = *template.machine().launch().wait().unwrap_err().failure;
    assert!(
        matches!(failure, LaunchFailure::NoSpace { .. }),
        "{failure}"
    );
    let said = failure.to_string();
    assert!(said.contains("20 MiB of memory available"), "{said}");
}

/// Plays a role in a mount namespace that this script prepares.
fn in_other_mounts(prepare: &str, role: &str, qemu: &Qemu, folder: &Path) {
    let script = format!("{prepare} && shift && exec \"$@\"");
    let words = ["unshare", "--map-root-user", "--mount", "sh", "-c", &script];
    let mut words: Vec<&OsStr> = words.map(OsStr::new).to_vec();
    words.extend([OsStr::new("sh"), folder.as_os_str()]);
    let done = other(&words, role, qemu, folder).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
}

const SMALL: &str = "mount -t tmpfs -o size=66m tmpfs \"$1\"";

#[test]
fn a_full_disk_fails_the_freeze_and_the_guest_goes_on() {
    for qemu in qemus() {
        let scratch = Scratch::new("full");
        in_other_mounts(SMALL, "full", &qemu, scratch.path());
    }
}

#[test]
fn a_guest_whose_memory_cannot_grow_ends_with_the_reason() {
    for qemu in qemus() {
        let scratch = Scratch::new("filled");
        in_other_mounts(SMALL, "filled", &qemu, scratch.path());
    }
}

#[test]
fn a_host_without_memory_for_a_clone_refuses_it_before_the_launch() {
    let qemu = qemus().remove(0);
    let scratch = Scratch::new("poor");
    std::fs::create_dir(scratch.join("private")).unwrap();
    let vm = tiny(&qemu, &scratch.join("private")).launch();
    let vm = vm.wait().unwrap();
    vm.console().expect("> ").wait().unwrap();
    drop(vm.freeze().keep_at(scratch.join("kept")).wait().unwrap());
    drop(vm);
    let poor = "echo 'MemAvailable: 20480 kB' >\"$1/meminfo\" && \
                mount --bind \"$1/meminfo\" /proc/meminfo";
    in_other_mounts(poor, "poor", &qemu, scratch.path());
}

#[test]
fn a_full_disk_refuses_a_clone_for_which_there_is_no_overlay() {
    let qemu = qemus().remove(0);
    let scratch = Scratch::new("no-overlay");
    let image = boot_sector::disk("memory", &scratch);
    let machine = tiny(&qemu, scratch.path());
    let disk = Drive::file(image).format("raw").interface("ide");
    let machine = machine.drive(disk);
    let vm = machine.launch().wait().unwrap();
    vm.console().expect("> ").wait().unwrap();
    let template = vm.freeze().wait().unwrap();
    let clone = template.machine().base_dir("/dev/full");
    let failure = *clone.launch().wait().unwrap_err().failure;
    assert!(matches!(failure, LaunchFailure::File { .. }), "{failure}");
    let clone = template.machine().launch().wait().unwrap();
    clone.console().send("echo whole\n").wait().unwrap();
    clone.console().expect("whole").wait().unwrap();
}

/// Keeps clones ready until it is killed. Each has our standard output, so its
/// end is seen from outside.
fn owns_a_pool(qemu: &Qemu, folder: &Path) {
    let output = std::io::stdout().as_fd().try_clone_to_owned().unwrap();
    let private = folder.join("private");
    let machine = tiny(qemu, &private).add_fd(1, output, None);
    let template = Template::open(folder.join("kept"), &machine).unwrap();
    let pool = template.pool(3).start().unwrap();
    println!("making");
    let runtime = tokio::runtime::Builder::new_current_thread();
    let filled = { runtime }.build().unwrap();
    let filled = filled.block_on(pool.wait_until_filled());
    assert_eq!(filled, 3);
    println!("filled");
    std::thread::park();
}

#[test]
fn a_killed_owner_of_a_pool_leaves_no_clone() {
    for qemu in qemus() {
        let scratch = Scratch::new("pool-owner");
        let (private, kept) = (scratch.join("private"), scratch.join("kept"));
        std::fs::create_dir(&private).unwrap();
        let machine = tiny(&qemu, &private);
        let vm = machine.launch().wait().unwrap();
        vm.console().expect("> ").wait().unwrap();
        drop(vm.freeze().keep_at(&kept).wait().unwrap());
        drop(vm);
        for step in ["making", "filled"] {
            let mut owner = other(&[], "pool", &qemu, scratch.path());
            let mut owner = owner.stdout(Stdio::piped()).spawn().unwrap();
            let mut output = BufReader::new(owner.stdout.take().unwrap());
            let mut line = String::new();
            while !line.contains(step) {
                line.clear();
                assert_ne!(output.read_line(&mut line).unwrap(), 0, "it ended");
            }
            owner.kill().unwrap();
            owner.wait().unwrap();
            // It ends when the last clone has.
            output.read_to_string(&mut line).unwrap();
        }
        let template = Template::open(&kept, &machine).unwrap();
        let clone = template.machine().launch().wait().unwrap();
        clone.console().send("echo whole\n").wait().unwrap();
        let whole = Pattern::regex("whole").unwrap();
        clone.console().expect(whole).wait().unwrap();
        drop(clone);
        assert_eq!(names(&private), [""; 0]);
    }
}
