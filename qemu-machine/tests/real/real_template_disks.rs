//! A frozen guest goes on with its disk, and the user's image stays as it is,
//! in whatever form the disk is given. What has changed at run time is refused.

use std::fs;

use crate::support::boot_sector::{disk, goes_on};
use crate::support::{Qemu, Scratch, qemus};
use qemu_machine::error::{LaunchFailure, TemplateError};
use qemu_machine::spec::OptionGroup;
use qemu_machine::{Console, MachineBuilder, Wait};

fn machine(qemu: &Qemu, scratch: &Scratch) -> MachineBuilder {
    let machine = qemu.bare().device(&OptionGroup::new("VGA")).memory("64M");
    let machine = machine.console(Console::serial());
    machine.freezable_in(scratch.path())
}

#[test]
fn the_image_of_the_user_stays_as_it_is_and_no_write_is_lost() {
    let json = r#"{"driver": "raw", "node-name": "d", "read-only": false,
        "file": {"driver": "file", "filename": "IMAGE"}}"#;
    let forms: [&[&str]; 3] = [
        &["-drive", "file=IMAGE,format=raw,if=ide,readonly=no"],
        &["-drive", "file=IMAGE,format=raw,if=ide", "-snapshot"],
        &["-blockdev", json, "-device", "ide-hd,drive=d,bus=ide.0"],
    ];
    for qemu in qemus() {
        let scratch = Scratch::new("forms");
        let image = disk("memory", &scratch);
        let before = fs::read(&image).unwrap();
        for form in forms {
            let words = form
                .iter()
                .map(|word| word.replace("IMAGE", image.to_str().unwrap()));
            let vm = machine(&qemu, &scratch).args(words).launch().wait();
            let vm = vm.unwrap();
            goes_on(&vm);
            let template = vm.freeze().wait().unwrap();
            let clones = [(); 2].map(|()| template.machine().launch().wait().unwrap());
            for clone in &clones {
                goes_on(clone);
            }
            drop(clones);
            assert!(before == fs::read(&image).unwrap(), "{form:?} wrote");
        }
    }
}

#[test]
fn a_disk_that_is_not_known_is_refused_before_the_launch() {
    let scratch = Scratch::new("unknown");
    let qemu = qemus().remove(0);
    for words in [&["disk.raw"][..], &["-readconfig", "/no/file"]] {
        let machine = machine(&qemu, &scratch).args(words.iter().copied());
        match *machine.launch().wait().unwrap_err().failure {
            LaunchFailure::NotFreezable { option, .. } => assert_eq!(option, words[0]),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn a_change_at_run_time_is_refused_by_name_and_the_guest_goes_on() {
    for qemu in qemus() {
        let scratch = Scratch::new("changed");
        let image = disk("memory", &scratch);
        let other = scratch.join("other.raw");
        fs::copy(&image, &other).unwrap();
        let [image, other] = [image, other].map(|path| path.to_str().unwrap().to_owned());
        let drive = format!("file={image},format=raw,if=ide,index=0");
        let cd = format!("file={other},format=raw,if=ide,index=2,media=cdrom");
        let machine = machine(&qemu, &scratch).args(["-drive", &drive, "-drive", &cd]);
        let snapshot = scratch.join("snapshot.qcow2");
        let snapshot = format!("snapshot_blkdev ide0-hd0 {}", snapshot.display());
        let change = format!("change ide1-cd0 {image}");
        let back = format!("change ide1-cd0 {other}");
        // A command, what the error says, and the command that undoes it.
        let changes = [
            (
                "device_add usb-kbd,id=k",
                "the device 'k' (usb-kbd)",
                "device_del k",
            ),
            (&*change, "the drive 'ide1-cd0'", &*back),
            (&*snapshot, "the drive 'ide0-hd0'", ""),
        ];
        for (command, said, undo) in changes {
            let machine = machine.clone().device(&OptionGroup::new("qemu-xhci"));
            let vm = machine.launch().wait().unwrap();
            goes_on(&vm);
            let before = fs::read_dir(scratch.path()).unwrap().count();
            let answer = vm.monitor().human(command).wait().unwrap();
            for _ in 0..2 {
                let error = vm.freeze().wait().unwrap_err();
                assert!(
                    matches!(error, TemplateError::HardwareChanged { .. }),
                    "{command}: {answer}: {error}"
                );
                assert!(error.to_string().contains(said), "{error}");
                goes_on(&vm);
            }
            let snapshots = usize::from(undo.is_empty());
            let after = fs::read_dir(scratch.path()).unwrap().count();
            assert_eq!(after, before + snapshots);
            if !undo.is_empty() {
                vm.monitor().human(undo).wait().unwrap();
                let template = vm.freeze().wait().unwrap();
                goes_on(&template.machine().launch().wait().unwrap());
            }
        }
    }
}
