//! A clone is a machine like any other: it reboots, is saved, moved, shut down
//! and frozen again. A guest is frozen at the moment at which a test fails.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::boot_sector::{self, boots, goes_on};
use crate::support::{Qemu, Scratch, qemus};
use qemu_machine::console::Pattern;
use qemu_machine::error::{ExpectFailure, LaunchFailure, MoveError, TemplateError};
use qemu_machine::qmp::command::QueryStatus;
use qemu_machine::spec::OptionGroup;
use qemu_machine::template::{Template, TemplateStore};
use qemu_machine::{Console, Machine, MachineBuilder, Wait};

/// A machine whose guest compares its memory and its disk with what it wrote.
fn checking(qemu: &Qemu, scratch: &Scratch) -> MachineBuilder {
    boots(qemu, "memory", scratch)
        .memory("64M")
        .base_dir(private(scratch))
        .freezable()
}

/// A machine without disks, whose guest serves commands.
fn tiny(qemu: &Qemu, scratch: &Scratch) -> MachineBuilder {
    qemu.tiny()
        .memory("64M")
        .base_dir(private(scratch))
        .freezable()
}

/// The folder of the private files of machines.
fn private(scratch: &Scratch) -> PathBuf {
    let folder = scratch.join("private");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A guest that counts, and holds the count nowhere but in its memory.
fn counting(machine: &MachineBuilder) -> Machine {
    let vm = machine.launch().wait().unwrap();
    vm.console().expect("> ").wait().unwrap();
    vm.console().send("tick 1\n").wait().unwrap();
    vm
}

/// Waits for the next count, which must be above this one.
fn counts_on(vm: &Machine, last: u32) -> u32 {
    let tick = Pattern::regex(r"tick (\d+)\r\n").unwrap();
    let seen = vm.console().expect(tick).wait().unwrap();
    let text = String::from_utf8(seen.matched().to_vec()).unwrap();
    let count: u32 = text.trim_start_matches("tick ").trim().parse().unwrap();
    assert!(count > last, "{count} after {last}");
    count
}

fn status(vm: &Machine) -> String {
    vm.monitor().execute(QueryStatus).wait().unwrap().status
}

#[test]
fn a_clone_is_frozen_again_and_no_layer_needs_the_files_of_another() {
    for qemu in qemus() {
        let scratch = Scratch::new("layers");
        let kept = scratch.join("kept");
        let machine = checking(&qemu, &scratch);
        let vm = machine.launch().wait().unwrap();
        goes_on(&vm);
        let first = vm.freeze().wait().unwrap();
        let ram = std::fs::read(first.path().join("ram")).unwrap();
        let disk = std::fs::read(first.path().join("disk0.qcow2")).unwrap();
        drop(vm);

        // Without it, there is nothing that could be frozen.
        let plain = first.machine().launch().wait().unwrap();
        let error = plain.freeze().wait().unwrap_err();
        assert!(error.to_string().contains("call `freezable`"), "{error}");
        goes_on(&plain);
        drop(plain);

        let clone = first.machine().freezable().launch().wait().unwrap();
        goes_on(&clone);
        let second = clone.freeze().wait().unwrap();
        drop(clone);
        goes_on(&first.machine().launch().wait().unwrap());
        assert!(ram == std::fs::read(first.path().join("ram")).unwrap());
        assert!(disk == std::fs::read(first.path().join("disk0.qcow2")).unwrap());
        drop(first);

        let layer = second.machine().freezable_in(private(&scratch));
        let clone = layer.launch().wait().unwrap();
        goes_on(&clone);
        let third = clone.freeze().keep_at(&kept).wait().unwrap();
        goes_on(&second.machine().launch().wait().unwrap());
        drop((clone, layer, second, third));
        let mut disks = names(&kept);
        disks.retain(|name| name.starts_with("disk"));
        assert_eq!(
            disks,
            ["disk0.below0.qcow2", "disk0.below1.qcow2", "disk0.qcow2"]
        );
        let opened = Template::open(&kept, &machine).unwrap();
        let clones = [(); 2].map(|()| opened.machine().launch().wait().unwrap());
        for clone in &clones {
            goes_on(clone);
        }
        clones[0].reset().wait().unwrap();
        clones[0].console().expect(">").wait().unwrap();
        for clone in clones {
            goes_on(&clone);
            clone.shutdown().wait().unwrap();
        }
        // The files below the disk are the template's too.
        std::fs::remove_file(kept.join("disk0.below0.qcow2")).unwrap();
        let error = opened.machine().launch().wait().unwrap_err();
        assert!(error.to_string().contains("disk0.below0"), "{error}");
        assert_eq!(names(&private(&scratch)), [""; 0]);
    }
}

#[test]
fn a_clone_is_saved_loaded_moved_and_powered_off() {
    for qemu in qemus() {
        let scratch = Scratch::new("saved-clone");
        let path = scratch.join("saved");
        let vm = counting(&tiny(&qemu, &scratch));
        let frozen = counts_on(&vm, 0);
        let template = vm.freeze().wait().unwrap();
        let clone = template.machine().launch().wait().unwrap();
        let saved = counts_on(&clone, frozen);
        clone.save_to(&path).wait().unwrap();
        assert_eq!(status(&clone), "postmigrate");
        clone.kill().wait().unwrap();

        let waiting = || template.machine().incoming().launch().wait().unwrap();
        let loaded = waiting();
        loaded.load_from(&path).wait().unwrap();
        let count = counts_on(&loaded, saved);
        let moved = waiting();
        loaded.migrate_to(&moved).wait().unwrap();
        let count = counts_on(&moved, count);
        loaded.shutdown().wait().unwrap();
        // A layer can be saved too, and its save be frozen.
        let layer = template.machine().freezable().incoming();
        let layer = layer.launch().wait().unwrap();
        moved.migrate_to(&layer).wait().unwrap();
        let count = counts_on(&layer, count);
        let second = layer.freeze().wait().unwrap();
        let last = second.machine().launch().wait().unwrap();
        counts_on(&last, count);
        last.console().send("\npoweroff\n").wait().unwrap();
        let report = last.wait_for_exit().wait().unwrap();
        assert!(!report.is_failure(), "{report}");
        // The template is as it was.
        counts_on(&template.machine().launch().wait().unwrap(), frozen);
    }
}

#[test]
fn a_guest_with_disks_of_its_own_is_not_saved_without_them() {
    let qemu = qemus().remove(0);
    let scratch = Scratch::new("private-disks");
    let vm = checking(&qemu, &scratch).launch().wait().unwrap();
    goes_on(&vm);
    let template = vm.freeze().wait().unwrap();
    let clone = template.machine().launch().wait().unwrap();
    let other = template.machine().incoming().launch().wait().unwrap();
    let path = scratch.join("saved");
    let saved = clone.save_to(&path).wait().unwrap_err();
    let moved = clone.migrate_to(&other).wait().unwrap_err();
    for error in [saved, moved] {
        assert!(matches!(error, MoveError::PrivateDisks { .. }), "{error}");
        assert!(error.to_string().contains("freeze"), "{error}");
    }
    assert!(!path.exists());
    goes_on(&clone);
}

#[test]
fn a_guest_that_panicked_hangs_or_is_paused_is_frozen_as_it_is() {
    for qemu in qemus() {
        let scratch = Scratch::new("failed");
        let pvpanic = OptionGroup::new("pvpanic");
        let action = ["-action", "panic=pause"];
        let machine = tiny(&qemu, &scratch).device(&pvpanic).args(action);
        for (command, state) in [
            ("panic\n", "guest-panicked"),
            ("hang\n", "running"),
            ("stop", "paused"),
        ] {
            let vm = machine.launch().wait().unwrap();
            vm.console().expect("> ").wait().unwrap();
            if command == "stop" {
                vm.monitor().execute_json("stop", ()).wait().unwrap();
            } else {
                vm.console().send(command).wait().unwrap();
                let never = vm.console().expect("never");
                let error = never.timeout(Duration::from_millis(100)).wait();
                let error = error.unwrap_err();
                let is_panic = matches!(*error.failure, ExpectFailure::GuestPanicked);
                assert_eq!(is_panic, command == "panic\n", "{error}");
            }
            assert_eq!(status(&vm), state);
            let kept = scratch.join(state);
            vm.freeze().keep_at(&kept).wait().unwrap();
            let template = Template::open(&kept, &machine).unwrap();
            let clone = template.machine().launch().wait().unwrap();
            assert_eq!(status(&clone), state, "{command}");
            if command == "stop" {
                clone.monitor().execute_json("cont", ()).wait().unwrap();
                clone.console().send("echo whole\n").wait().unwrap();
                clone.console().expect("whole").wait().unwrap();
            }
            clone.reset().wait().unwrap();
            if command != "hang\n" {
                clone.monitor().execute_json("cont", ()).wait().unwrap();
            }
            clone.console().expect("tiny guest ready").wait().unwrap();
        }
    }
}

/// Freezes the guest if the test fails, as the guide shows.
struct KeepOnFailure<'a>(&'a Machine, PathBuf);

impl Drop for KeepOnFailure<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let frozen = self.0.freeze().keep_at(&self.1).wait();
            assert!(frozen.is_ok());
        }
    }
}

#[test]
fn a_guard_freezes_the_guest_of_a_test_that_fails() {
    let qemu = qemus().remove(0);
    let scratch = Scratch::new("guard");
    let kept = scratch.join("kept");
    let machine = tiny(&qemu, &scratch);
    let test = || {
        let vm = counting(&machine);
        let _guard = KeepOnFailure(&vm, kept.clone());
        counts_on(&vm, 0);
        std::panic::resume_unwind(Box::new("the test fails"));
    };
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(test)).unwrap_err();
    let template = Template::open(&kept, &machine).unwrap();
    counts_on(&template.machine().launch().wait().unwrap(), 1);
}

#[test]
fn a_guest_whose_inputs_changed_after_its_launch_is_not_frozen() {
    let qemu = qemus().remove(0);
    let scratch = Scratch::new("inputs");
    let machine = checking(&qemu, &scratch);
    let vm = machine.launch().wait().unwrap();
    goes_on(&vm);
    let disk = scratch.join("boot.img");
    let stamp = std::fs::metadata(&disk).unwrap().modified().unwrap();
    // Also if the clock has gone back.
    for changed in [
        stamp + Duration::from_secs(1),
        stamp - Duration::from_secs(3600),
    ] {
        let file = std::fs::File::options().write(true).open(&disk).unwrap();
        file.set_modified(changed).unwrap();
        let error = vm.freeze().wait().unwrap_err();
        assert!(
            matches!(error, TemplateError::InputChanged { .. }),
            "{error}"
        );
        assert!(error.to_string().contains("boot.img"), "{error}");
        goes_on(&vm);
        file.set_modified(stamp).unwrap();
    }
    let template = vm.freeze().wait().unwrap();
    goes_on(&template.machine().launch().wait().unwrap());
}

#[test]
fn a_store_keeps_layers_each_made_once() {
    let qemu = qemus().remove(0);
    let scratch = Scratch::new("stored-layers");
    let store = TemplateStore::at(scratch.join("store")).unwrap();
    let made = Arc::new(AtomicUsize::new(0));
    let open = |machine: &MachineBuilder| {
        let made = Arc::clone(&made);
        let template = store.template(machine).set_up(move |vm| async move {
            made.fetch_add(1, Ordering::Relaxed);
            vm.console().expect(Pattern::regex(r"\.").unwrap()).await?;
            Ok(())
        });
        template.wait().unwrap()
    };
    let machine = checking(&qemu, &scratch);
    for _ in 0..2 {
        let base = open(&machine);
        let layer = open(&base.machine());
        assert_ne!(base.path(), layer.path());
        goes_on(&layer.machine().launch().wait().unwrap());
        assert_eq!(made.load(Ordering::Relaxed), 2);
    }
    // It cannot take a guest of another template.
    let base = open(&machine);
    let error = base.machine().smp(2).freezable().launch().wait();
    let failure = *error.unwrap_err().failure;
    assert!(
        matches!(failure, LaunchFailure::NotOfTemplate { .. }),
        "{failure}"
    );
}

#[test]
fn a_disk_that_blockdev_adds_is_an_overlay_too() {
    for qemu in qemus() {
        let scratch = Scratch::new("blockdev");
        let image = boot_sector::disk("memory", &scratch);
        let whole = std::fs::read(&image).unwrap();
        let image = image.display();
        for nodes in [
            vec![format!(
                "driver=raw,node-name=d,file.driver=file,file.filename={image}"
            )],
            vec![
                format!("driver=file,filename={image},node-name=f"),
                "driver=raw,node-name=d,file=f".to_owned(),
            ],
        ] {
            let mut machine = qemu.bare().memory("64M").base_dir(private(&scratch));
            for node in nodes {
                machine = machine.args(["-blockdev", &node]);
            }
            let machine = machine
                .device(&OptionGroup::new("VGA"))
                .device(
                    &OptionGroup::new("ide-hd")
                        .set("drive", "d")
                        .set("bus", "ide.0"),
                )
                .console(Console::serial())
                .freezable();
            let vm = machine.launch().wait().unwrap();
            goes_on(&vm);
            let template = vm.freeze().wait().unwrap();
            let clones = [(); 2].map(|()| template.machine().launch().wait().unwrap());
            clones.iter().for_each(goes_on);
        }
        assert!(whole == std::fs::read(scratch.join("boot.img")).unwrap());
    }
}
