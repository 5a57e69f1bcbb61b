//! A frozen guest goes on with its disk, and the user's image stays as it is,
//! in whatever form the disk is given.

use std::fs;

use crate::support::boot_sector::{disk, goes_on};
use crate::support::{Qemu, Scratch, qemus};
use qemu_machine::error::LaunchFailure;
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
