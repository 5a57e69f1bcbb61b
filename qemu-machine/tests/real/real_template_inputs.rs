//! A template is refused when something that its guest was made of has changed.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::support::boot_sector::{boots, goes_on};
use crate::support::{Qemu, Scratch, qemus};
use qemu_machine::error::{LaunchFailure, TemplateError};
use qemu_machine::spec::Drive;
use qemu_machine::template::{Template, TemplateStore};
use qemu_machine::{MachineBuilder, Wait};

fn checking(qemu: &Qemu, scratch: &Scratch) -> MachineBuilder {
    let private = scratch.join("private");
    fs::create_dir_all(&private).unwrap();
    let machine = boots(qemu, "memory", scratch).memory("64M");
    machine.freezable_in(&private).base_dir(&private)
}

fn refusal(template: &Template) -> String {
    match *template.machine().launch().wait().unwrap_err().failure {
        LaunchFailure::NotOfTemplate { reason } => reason,
        other => panic!("{other}"),
    }
}

/// An empty qcow2 image of 64 KiB over another file: header, refcount table and
/// block, and a first table.
fn qcow2_over(name: &str) -> Vec<u8> {
    let mut bytes = b"QFI\xfb".to_vec();
    let word = |bytes: &mut Vec<u8>, value: u32| bytes.extend(value.to_be_bytes());
    let long = |bytes: &mut Vec<u8>, value: u64| bytes.extend(value.to_be_bytes());
    word(&mut bytes, 2);
    long(&mut bytes, 72);
    word(&mut bytes, u32::try_from(name.len()).unwrap());
    word(&mut bytes, 16);
    long(&mut bytes, 65536);
    word(&mut bytes, 0);
    word(&mut bytes, 1);
    long(&mut bytes, 3 << 16);
    long(&mut bytes, 1 << 16);
    word(&mut bytes, 1);
    word(&mut bytes, 0);
    long(&mut bytes, 0);
    bytes.extend(name.as_bytes());
    bytes.resize(1 << 16, 0);
    long(&mut bytes, 2 << 16);
    bytes.resize(2 << 16, 0);
    // Each of the four clusters is used once.
    bytes.extend([0, 1, 0, 1, 0, 1, 0, 1]);
    bytes.resize(4 << 16, 0);
    bytes
}

/// Changes the last byte, and keeps the length and the time.
fn change_secretly(path: &Path) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let found = file.metadata().unwrap();
    let at = found.len() - 1;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[!byte[0]], at).unwrap();
    file.set_modified(found.modified().unwrap()).unwrap();
}

#[test]
fn whatever_the_guest_reads_is_an_input() {
    let qemu = qemus().remove(0);
    let scratch = Scratch::new("reads");
    let names = ["read-only.img", "below.img", "word", "loaded"];
    let [read_only, below, word, loaded] = names.map(|name| scratch.join(name));
    for path in [&read_only, &below, &word, &loaded] {
        fs::write(path, vec![7; 65536]).unwrap();
    }
    let image = scratch.join("image.qcow2");
    fs::write(&image, qcow2_over("below.img")).unwrap();
    let added = [
        format!("name=opt/word,file={}", word.display()),
        format!("loader,addr=0x3000000,file={}", loaded.display()),
        format!(
            "driver=qcow2,node-name=n,read-only=on,file.driver=file,file.filename={}",
            image.display()
        ),
    ];
    let [firmware_word, device, node] = added;
    let machine = checking(&qemu, &scratch)
        .drive(
            Drive::file(&read_only)
                .format("raw")
                .interface("virtio")
                .read_only(true),
        )
        .args(["-fw_cfg", &firmware_word, "-device", &device])
        .args(["-blockdev", &node, "-device", "virtio-blk-pci,drive=n"]);
    let store = TemplateStore::at(scratch.join("store")).unwrap();
    let stored = |machine: &MachineBuilder| store.template(machine).wait().unwrap();
    let first = stored(&machine);
    assert_eq!(stored(&machine).path(), first.path());
    goes_on(&first.machine().launch().wait().unwrap());
    for path in [&read_only, &below, &word, &loaded] {
        let before = stored(&machine);
        change_secretly(path);
        let reason = refusal(&before);
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(reason.contains(name), "{name}: {reason}");
        assert_ne!(stored(&machine).path(), before.path(), "{name}");
    }
}

#[test]
fn another_qemu_behind_a_script_is_refused() {
    let mut all = qemus();
    let (first, other) = (all.remove(0), all.remove(0));
    let scratch = Scratch::new("behind");
    let script = Qemu {
        version: first.version.clone(),
        binary: scratch.join("qemu"),
    };
    let (which, copy) = (scratch.join("which"), scratch.join("copy"));
    let text = format!("#!/bin/sh\nexec $(cat {}) \"$@\"\n", which.display());
    fs::write(&script.binary, text).unwrap();
    fs::set_permissions(&script.binary, Permissions::from_mode(0o755)).unwrap();
    let points_at = |path: &Path| fs::write(&which, path.as_os_str().as_encoded_bytes()).unwrap();
    points_at(&first.binary);
    let vm = checking(&script, &scratch).launch().wait().unwrap();
    let program = fs::read_link(format!("/proc/{}/exe", vm.pid().unwrap())).unwrap();
    vm.kill().wait().unwrap();
    fs::copy(&program, &copy).unwrap();
    // A program, or a script of the set-up that says where its libraries are.
    let text = fs::read_to_string(&first.binary);
    let text = text.unwrap_or_else(|_| format!("#!/bin/sh\nexec '{}' \"$@\"\n", program.display()));
    let [from, to] = [&program, &copy].map(|path| format!("exec '{}'", path.display()));
    assert!(text.contains(&from), "{text}");
    let text = text.replace(&from, &to);
    let inner = scratch.join("inner");
    fs::write(&inner, text).unwrap();
    fs::set_permissions(&inner, Permissions::from_mode(0o755)).unwrap();
    points_at(&inner);

    let vm = checking(&script, &scratch).launch().wait().unwrap();
    goes_on(&vm);
    let template = vm.freeze().wait().unwrap();
    goes_on(&template.machine().launch().wait().unwrap());
    points_at(&other.binary);
    let reason = refusal(&template);
    assert!(reason.contains(&other.version), "{reason}");
    points_at(&inner);
    goes_on(&template.machine().launch().wait().unwrap());
    change_secretly(&copy);
    let reason = refusal(&template);
    assert!(reason.contains("copy has changed"), "{reason}");

    // Nobody knows whether clones would run the same, if it was replaced.
    let vm = checking(&script, &scratch).launch().wait().unwrap();
    goes_on(&vm);
    fs::remove_file(&copy).unwrap();
    let error = vm.freeze().wait().unwrap_err();
    assert!(
        matches!(error, TemplateError::InputChanged { .. }),
        "{error}"
    );
    goes_on(&vm);
}

#[test]
fn a_link_with_another_target_is_refused() {
    let qemu = qemus().remove(0);
    let scratch = Scratch::new("linked");
    let [first, second, link] = ["first", "second", "link"].map(|name| scratch.join(name));
    for path in [&first, &second] {
        fs::write(path, vec![7; 65536]).unwrap();
    }
    symlink(&first, &link).unwrap();
    let image = Drive::file(&link).format("raw").interface("virtio");
    let word = format!("name=opt/word,file={}", link.display());
    let machine = || checking(&qemu, &scratch);
    for machine in [
        machine().drive(image.read_only(true)),
        machine().args(["-fw_cfg", &word]),
    ] {
        let vm = machine.launch().wait().unwrap();
        goes_on(&vm);
        let template = vm.freeze().wait().unwrap();
        goes_on(&template.machine().launch().wait().unwrap());
        let retarget = |to: &Path| {
            fs::remove_file(&link).unwrap();
            symlink(to, &link).unwrap();
        };
        retarget(&second);
        let reason = refusal(&template);
        let told = format!("{} is another file than the template's", link.display());
        assert!(reason.contains(&told), "{reason}");
        retarget(&first);
        goes_on(&template.machine().launch().wait().unwrap());
    }
}

#[test]
fn a_relative_path_is_that_of_the_caller() {
    let qemu = qemus().remove(0);
    let scratch = Scratch::new("relative");
    let here = std::env::current_dir().unwrap();
    let root: PathBuf = here.components().skip(1).map(|_| "..").collect();
    let relative = root.join(scratch.path().strip_prefix("/").unwrap());
    let machine = boots(&qemu, "memory", &scratch).memory("64M");
    let machine = machine.freezable_in(&relative).base_dir(&relative);
    let vm = machine.clone().current_dir("/").launch().wait().unwrap();
    goes_on(&vm);
    let kept = relative.join("kept");
    let template = vm.freeze().keep_at(&kept).wait().unwrap();
    for template in [template, Template::open(&kept, &machine).unwrap()] {
        let clone = template.machine().current_dir("/");
        goes_on(&clone.launch().wait().unwrap());
    }
}
