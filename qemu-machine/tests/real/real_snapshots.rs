//! Snapshots of a guest with its memory and its disks.
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::{Qemu, Scratch, boot_sector, scenario};
use qemu_machine::console::Pattern;
use qemu_machine::error::{SnapshotError, SnapshotFailure};
use qemu_machine::qmp::command::QueryStatus;
use qemu_machine::spec::Drive;
use qemu_machine::{Console, Machine, MachineBuilder, Wait};
use serde_json::json;

/// The tiny guest, with two disks that can hold a snapshot.
fn with_disks(qemu: &Qemu, scratch: &Scratch) -> MachineBuilder {
    let node = |name: &str| {
        let path = scratch.join(name);
        format!(
            "driver=qcow2,node-name={name},file.driver=file,file.filename={}",
            path.display()
        )
    };
    let disk = Drive::file(qcow2(scratch, "one")).format("qcow2");
    qcow2(scratch, "two");
    qemu.tiny().drive(disk.interface("ide")).args([
        "-blockdev",
        &node("two"),
        "-device",
        "virtio-blk,drive=two",
    ])
}

fn qcow2(scratch: &Scratch, name: &str) -> std::path::PathBuf {
    let path = scratch.join(name);
    image(&["create", "-q", "-f", "qcow2"], &path, &["1M"]);
    path
}

/// Runs `qemu-img`, of the package that the set-up installs.
fn image(before: &[&str], path: &Path, after: &[&str]) {
    let status = Command::new("qemu-img")
        .args(before)
        .arg(path)
        .args(after)
        .status();
    assert!(status.unwrap().success());
}

fn status(vm: &Machine) -> String {
    vm.monitor().execute(QueryStatus).wait().unwrap().status
}

fn names(vm: &Machine) -> Vec<String> {
    let snapshots = vm.snapshots().wait().unwrap();
    snapshots.into_iter().map(|it| it.name).collect()
}

fn failure(error: SnapshotError) -> SnapshotFailure {
    *error.failure
}

scenario! {
    fn a_guest_goes_back_to_a_snapshot_and_runs_on_if_it_ran(qemu) {
        let scratch = Scratch::new("snapshots");
        let machine = with_disks(&qemu, &scratch);
        let vm = run!(machine.launch()).unwrap();
        run!(vm.console().expect("tiny guest ready")).unwrap();
        run!(vm.save_snapshot("a fresh one")).unwrap();
        assert_eq!(status(&vm), "running");
        let [fresh] = run!(vm.snapshots()).unwrap().try_into().unwrap();
        assert_eq!(fresh.name, "a fresh one");
        assert!(fresh.memory_bytes > 0 && fresh.taken.elapsed().unwrap() < Duration::from_secs(60));
        assert_eq!(fresh.disks.len(), 2);

        let console = vm.console();
        run!(console.send("unheard\n")).unwrap();
        run!(console.expect("error: unknown command")).unwrap();
        run!(vm.load_snapshot("a fresh one")).unwrap();
        assert_eq!(status(&vm), "running");
        run!(console.send("again\n")).unwrap();
        run!(console.expect("error: unknown command")).unwrap();

        run!(vm.monitor().execute_json("stop", ())).unwrap();
        run!(vm.save_snapshot("paused")).unwrap();
        run!(vm.load_snapshot("paused")).unwrap();
        assert_eq!(status(&vm), "paused");
        run!(vm.shutdown()).unwrap();

        // They are in the disks, for another machine too.
        let vm = run!(machine.launch()).unwrap();
        assert_eq!(names(&vm), ["a fresh one", "paused"]);
        run!(vm.load_snapshot("a fresh one")).unwrap();
        assert_eq!(status(&vm), "running");
        run!(vm.delete_snapshot("a fresh one")).unwrap();
        assert_eq!(names(&vm), ["paused"]);
        assert_eq!(run!(vm.monitor().execute_json("query-jobs", ())).unwrap(), json!([]));
        run!(vm.shutdown()).unwrap();
    }
}

scenario! {
    fn a_guest_and_its_disk_go_back_together(qemu) {
        let scratch = Scratch::new("together");
        let (raw, disk) = (boot_sector::disk("memory", &scratch), scratch.join("disk"));
        image(&["convert", "-O", "qcow2"], &raw, &[disk.to_str().unwrap()]);
        let disk = Drive::file(disk).format("qcow2").interface("ide");
        let machine = qemu.bare().drive(disk).console(Console::serial());
        let vm = run!(machine.launch()).unwrap();
        passes(&vm, 4);
        run!(vm.save_snapshot("s")).unwrap();
        // Until each sector that it writes is another.
        passes(&vm, 100);
        run!(vm.load_snapshot("s")).unwrap();
        passes(&vm, 100);
        run!(vm.shutdown()).unwrap();
    }
}

/// Waits for as many more passes of a guest over its memory and its disk, which it
/// compares with what it wrote.
fn passes(vm: &Machine, count: usize) {
    let console = vm.console();
    let passed = console.tail().len();
    while console.tail().len() < passed + count {
        let pass = console.expect(Pattern::regex(r"[.>]|broken").unwrap());
        let pass = pass.wait().unwrap();
        assert_ne!(pass.matched(), b"broken");
    }
}

scenario! {
    fn a_snapshot_that_cannot_be_is_refused_by_name_and_the_guest_is_not_touched(qemu) {
        let scratch = Scratch::new("refused");
        let machine = with_disks(&qemu, &scratch);
        let vm = run!(machine.launch()).unwrap();
        run!(vm.save_snapshot("s")).unwrap();
        // QEMU's own words.
        let twice = run!(vm.save_snapshot("s")).unwrap_err();
        assert!(twice.to_string().contains("Snapshot 's' already exists"), "{twice}");
        let number = failure(run!(vm.save_snapshot("17")).unwrap_err());
        assert!(matches!(number, SnapshotFailure::Name { .. }), "{number}");
        for missing in [run!(vm.load_snapshot("t")), run!(vm.delete_snapshot("t"))] {
            let error = missing.unwrap_err();
            assert!(error.to_string().ends_with("snapshot 't': no disk has it; existing snapshots: 's'"), "{error}");
        }
        assert_eq!(status(&vm), "running");
        assert_eq!(run!(vm.monitor().execute_json("query-jobs", ())).unwrap(), json!([]));

        // Disks that it has handed over.
        run!(vm.save_to(scratch.join("saved"))).unwrap();
        let away = failure(run!(vm.save_snapshot("away")).unwrap_err());
        assert!(matches!(away, SnapshotFailure::Inactive { .. }), "{away}");
        run!(vm.monitor().execute_json("cont", ())).unwrap();
        run!(vm.save_snapshot("back")).unwrap();
        run!(vm.shutdown()).unwrap();

        // One disk has lost it.
        image(&["snapshot", "-d", "s"], &scratch.join("two"), &[]);
        let vm = run!(machine.launch()).unwrap();
        let lacking = run!(vm.load_snapshot("s")).unwrap_err();
        assert!(lacking.to_string().ends_with("these disks do not have it: 'two'"), "{lacking}");
        assert_eq!(status(&vm), "running");
        run!(vm.shutdown()).unwrap();
    }
}

scenario! {
    fn a_disk_that_cannot_hold_a_snapshot_is_named_or_left_out(qemu) {
        let scratch = Scratch::new("raw");
        let raw = scratch.join("raw");
        std::fs::File::create(&raw).unwrap().set_len(1 << 20).unwrap();
        let vm = run!(qemu.tiny().launch()).unwrap();
        let none = failure(run!(vm.save_snapshot("s")).unwrap_err());
        assert!(matches!(none, SnapshotFailure::NoDisk), "{none}");
        run!(vm.shutdown()).unwrap();

        let disk = Drive::file(&raw).format("raw").interface("ide").set("id", "plain");
        let vm = run!(with_disks(&qemu, &scratch).drive(disk).launch()).unwrap();
        let error = run!(vm.save_snapshot("s")).unwrap_err();
        assert!(error.to_string().contains("cannot store snapshots: 'plain' (raw)"), "{error}");
        run!(vm.save_snapshot("s").disks(["two"])).unwrap();
        let [only] = run!(vm.snapshots()).unwrap().try_into().unwrap();
        assert_eq!(only.disks, ["two"]);
        run!(vm.load_snapshot("s").disks(["two"])).unwrap();
        let wrong = failure(run!(vm.save_snapshot("t").disks(["three"])).unwrap_err());
        assert!(matches!(wrong, SnapshotFailure::NoSuchDisk { .. }), "{wrong}");
        run!(vm.shutdown()).unwrap();
    }
}

scenario! {
    fn a_load_that_fails_in_qemu_leaves_the_guest_paused_and_says_why(qemu) {
        let scratch = Scratch::new("other-machine");
        let machine = with_disks(&qemu, &scratch);
        let vm = run!(machine.launch()).unwrap();
        run!(vm.save_snapshot("s")).unwrap();
        run!(vm.shutdown()).unwrap();
        let vm = run!(machine.clone().memory("64M").launch()).unwrap();
        let error = run!(vm.load_snapshot("s")).unwrap_err();
        assert!(matches!(*error.failure, SnapshotFailure::Job(_)), "{error}");
        assert!(error.to_string().contains("VM state"), "{error}");
        assert_eq!(status(&vm), "restore-vm");
        run!(vm.shutdown()).unwrap();
    }
}

scenario! {
    fn a_human_command_fails_on_its_error_only_if_asked_to(qemu) {
        let vm = run!(qemu.tiny().launch()).unwrap();
        let told = run!(vm.monitor().human("loadvm missing")).unwrap();
        assert!(told.contains("Error:"), "{told}");
        let error = run!(vm.monitor().human("loadvm missing").fail_on_error()).unwrap_err();
        assert_eq!(error.reply().unwrap().desc, told.trim());
        assert!(error.to_string().contains("command 'human-monitor-command' failed: Error:"), "{error}");
        let fine = run!(vm.monitor().human("info status").fail_on_error()).unwrap();
        assert!(fine.contains("VM status"), "{fine}");
        run!(vm.shutdown()).unwrap();
    }
}
