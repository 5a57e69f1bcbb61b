//! A store of templates: which one is found, and what stays while it is in use.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use crate::support::boot_sector::{self, goes_on};
use crate::support::{Qemu, Scratch, qemus};
use qemu_machine::spec::{Drive, OptionGroup};
use qemu_machine::template::{Template, TemplateStore};
use qemu_machine::{Console, MachineBuilder, Wait};

/// A store that counts its boots.
struct Counted {
    store: TemplateStore,
    boots: Arc<AtomicUsize>,
}

impl Counted {
    fn at(scratch: &Scratch) -> Self {
        Self {
            store: TemplateStore::at(scratch.join("store")).unwrap(),
            boots: Arc::default(),
        }
    }

    fn template(&self, machine: &MachineBuilder) -> Template {
        let boots = Arc::clone(&self.boots);
        let made = self.store.template(machine).set_up(move |vm| async move {
            boots.fetch_add(1, Ordering::Relaxed);
            vm.console().expect(".").await?;
            Ok(())
        });
        made.wait().unwrap()
    }

    fn boots(&self) -> usize {
        self.boots.load(Ordering::Relaxed)
    }
}

/// Makes a workspace: a disk, and a script that becomes QEMU.
fn fill(workspace: &Scratch, qemu: &Qemu) {
    boot_sector::disk("memory", workspace);
    let program = workspace.join("qemu");
    let script = format!("#!/bin/sh\nexec '{}' \"$@\"\n", qemu.binary.display());
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
}

/// A machine of QEMU and the disk of a workspace, which says how far it is.
fn machine_of(workspace: &Path) -> MachineBuilder {
    let qemu = Qemu {
        version: String::new(),
        binary: workspace.join("qemu"),
    };
    qemu.bare()
        .current_dir(workspace)
        .memory("64M")
        .device(&OptionGroup::new("VGA"))
        .drive(Drive::file("boot.img").format("raw").interface("ide"))
        .console(Console::serial())
}

#[test]
fn equal_files_of_two_workspaces_make_two_templates() {
    let qemu = qemus().remove(0);
    let scratch = Scratch::new("workspaces");
    let store = Counted::at(&scratch);
    let all = ["first", "second"].map(Scratch::new);
    for workspace in &all {
        fill(workspace, &qemu);
    }
    let opened = || {
        let templates = all.iter().map(|it| store.template(&machine_of(it.path())));
        let templates: Vec<Template> = templates.collect();
        templates
    };
    let templates = opened();
    let clones = templates.iter().map(|it| it.machine().launch().wait());
    let clones: Vec<_> = clones.map(Result::unwrap).collect();
    // Each finds its own, again and again.
    assert_ne!(templates[0].path(), templates[1].path());
    for (found, made) in opened().iter().zip(&templates) {
        assert_eq!(found.path(), made.path());
    }
    assert_eq!(store.boots(), 2);
    clones.iter().for_each(goes_on);
    // The second does not end with the first.
    drop(clones);
    let path = templates[1].path().to_owned();
    drop(templates);
    let [first, second] = all;
    drop(first);
    let frozen = Template::open_as_frozen(path).unwrap();
    goes_on(&frozen.machine().launch().wait().unwrap());
    goes_on(
        &store
            .template(&machine_of(second.path()))
            .machine()
            .launch()
            .wait()
            .unwrap(),
    );
}

#[test]
fn a_template_does_not_end_with_another_workspace_s_links() {
    let qemu = qemus().remove(0);
    let scratch = Scratch::new("links");
    let store = Counted::at(&scratch);
    fill(&scratch, &qemu);
    let all = ["first", "second"].map(Scratch::new);
    for workspace in &all {
        for name in ["qemu", "boot.img"] {
            symlink(scratch.join(name), workspace.join(name)).unwrap();
        }
    }
    let paths = [0, 1].map(|it| {
        let template = store.template(&machine_of(all[it].path()));
        template.path().to_owned()
    });
    let [first, _second] = all;
    drop(first);
    let frozen = Template::open_as_frozen(&paths[1]).unwrap();
    goes_on(&frozen.machine().launch().wait().unwrap());
}

#[test]
fn a_template_does_not_end_with_the_directory_in_which_it_was_made() {
    let qemu = qemus().remove(0);
    let scratch = Scratch::new("directory");
    let store = Counted::at(&scratch);
    let directory = scratch.join("directory");
    fs::create_dir(&directory).unwrap();
    let machine = boot_sector::boots(&qemu, "memory", &scratch).current_dir(&directory);
    let path = store.template(&machine.memory("64M")).path().to_owned();
    fs::remove_dir(&directory).unwrap();
    let frozen = Template::open_as_frozen(path).unwrap();
    goes_on(&frozen.machine().launch().wait().unwrap());
}

#[test]
fn a_damaged_template_in_use_is_made_again_and_stays_until_it_is_free() {
    for qemu in qemus() {
        let scratch = Scratch::new("in-use");
        let store = Counted::at(&scratch);
        let workspace = Scratch::new("workspace");
        fill(&workspace, &qemu);
        let machine = machine_of(workspace.path());
        let template = store.template(&machine);
        let path = template.path().to_owned();
        let clone = template.machine().launch().wait().unwrap();
        drop(template);
        // Touched, and its memory is that of the clone that runs.
        let ram = File::options().write(true).open(path.join("ram")).unwrap();
        ram.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        let again = store.template(&machine);
        assert_eq!((store.boots(), again.path()), (2, &*path));
        goes_on(&again.machine().launch().wait().unwrap());
        drop(again);
        goes_on(&clone);
        clone.reset().wait().unwrap();
        goes_on(&clone);
        // No other use of the store removes it.
        assert_eq!(store.template(&machine).path(), path);
        store.store.prune(0).unwrap();
        let listed = store.store.list().unwrap();
        assert_eq!(listed.len(), 1, "{listed:?}");
        assert!(listed[0].is_in_use && listed[0].path != path, "{listed:?}");
        assert!(listed[0].path.join("ram").exists());
        drop(clone);
        assert_eq!(store.store.prune(0).unwrap(), [&*listed[0].key]);
    }
}
