//! What becomes of templates when a process is killed, a file is touched, or a
//! guest cannot be saved.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::support::boot_sector::{disk, goes_on};
use crate::support::{Qemu, Scratch, qemus};
use qemu_machine::error::{LaunchFailure, TemplateError};
use qemu_machine::spec::{Drive, OptionGroup};
use qemu_machine::template::{Template, TemplateStore};
use qemu_machine::{Console, MachineBuilder, Wait};

/// A folder with a guest, a store and the private files of machines.
struct Place {
    qemu: Qemu,
    folder: PathBuf,
}

impl Place {
    /// Makes the guest in a new folder.
    fn make(qemu: &Qemu, scratch: &Scratch) -> Self {
        disk("memory", scratch);
        let place = Self {
            qemu: qemu.clone(),
            folder: scratch.path().to_owned(),
        };
        std::fs::create_dir(place.private()).unwrap();
        place
    }

    fn private(&self) -> PathBuf {
        self.folder.join("private")
    }

    fn kept(&self) -> PathBuf {
        self.folder.join("kept")
    }

    fn store(&self) -> TemplateStore {
        TemplateStore::at(self.folder.join("store")).unwrap()
    }

    /// A machine whose guest compares its memory and its disk with what it wrote.
    fn machine(&self) -> MachineBuilder {
        let image = Drive::file(self.folder.join("boot.img"));
        self.qemu
            .bare()
            .device(&OptionGroup::new("VGA"))
            .drive(image.format("raw").interface("ide"))
            .console(Console::serial())
            .memory("64M")
            .base_dir(self.private())
    }

    fn freezable(&self) -> MachineBuilder {
        self.machine().freezable_in(self.private())
    }

    /// A template that is kept.
    fn freeze(&self) -> Template {
        let vm = self.freezable().launch().wait().unwrap();
        goes_on(&vm);
        vm.freeze().keep_at(self.kept()).wait().unwrap()
    }

    /// What the store has besides its locks.
    fn stored(&self) -> Vec<String> {
        let names = names(self.store().path()).into_iter();
        names
            .filter(|name| name.strip_suffix(".lock").is_none() && name != "digests")
            .collect()
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.unwrap().file_name().into_string().unwrap()
    };
    entries.map(name).collect()
}

fn refused(builder: &MachineBuilder) -> String {
    match *builder.launch().wait().unwrap_err().failure {
        LaunchFailure::NotOfTemplate { reason } => reason,
        other => panic!("{other}"),
    }
}

/// What the other process does, with which QEMU, and where.
const ROLE: &str = "TEMPLATE_FAULTS_ROLE";
const QEMU: &str = "TEMPLATE_FAULTS_QEMU";
const FOLDER: &str = "TEMPLATE_FAULTS_FOLDER";

/// The other process. It says each step in a line.
#[test]
fn the_other_process() {
    let (Ok(role), Some(binary), Some(folder)) = (
        std::env::var(ROLE),
        std::env::var_os(QEMU),
        std::env::var_os(FOLDER),
    ) else {
        return;
    };
    let qemu = Qemu {
        version: String::new(),
        binary: binary.into(),
    };
    let place = Place {
        qemu,
        folder: folder.into(),
    };
    match &*role {
        "make" => make(&place),
        "clone" => clone(&place),
        other => panic!("{other}"),
    }
}

/// Makes the template of the store, or waits for it. The set-up waits for a line.
fn make(place: &Place) {
    let template = place.store().template(&place.machine());
    let template = template.set_up(|vm| async move {
        vm.console().expect(".").await?;
        println!("booted");
        std::io::stdin().read_line(&mut String::new())?;
        Ok(())
    });
    let template = template.wait().unwrap();
    println!("opened");
    goes_on(&template.machine().launch().wait().unwrap());
    println!("cloned");
}

/// Clones the template that is kept, again and again.
fn clone(place: &Place) {
    let template = Template::open(place.kept(), &place.freezable()).unwrap();
    loop {
        println!("loading");
        drop(template.machine().launch().wait().unwrap());
    }
}

/// Another process with a store or a template.
struct Other {
    process: Child,
    output: BufReader<ChildStdout>,
}

impl Other {
    fn start(role: &str, place: &Place) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "real_template_faults::the_other_process"])
            .arg("--nocapture")
            .env(ROLE, role)
            .env(QEMU, &place.qemu.binary)
            .env(FOLDER, &place.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        Self { process, output }
    }

    /// Waits for this line.
    fn says(&mut self, step: &str) {
        let mut line = String::new();
        // The test runner's words may stand before ours.
        while !line.contains(step) {
            line.clear();
            assert_ne!(self.output.read_line(&mut line).unwrap(), 0, "it ended");
        }
    }

    /// Ends its set-up.
    fn go_on(&mut self) {
        writeln!(self.process.stdin.as_mut().unwrap()).unwrap();
    }

    /// Waits until a lock blocks it. The kernel lists such waiters, but reports
    /// no change of the list, so this reads it again and again.
    fn waits_for_a_lock(&self) {
        let id = self.process.id().to_string();
        let is_ours = |line: &str| {
            let mut words = line.split_whitespace().skip(1);
            words.next() == Some("->") && words.any(|word| word == id)
        };
        loop {
            let locks = std::fs::read_to_string("/proc/locks").unwrap();
            if locks.lines().any(is_ours) {
                return;
            }
            std::thread::yield_now();
        }
    }

    fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status();
        assert!(sent.unwrap().success());
    }

    fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Waits for its end. Returns the steps that it said until then.
    fn ends(mut self) -> String {
        let mut said = String::new();
        self.output.read_to_string(&mut said).unwrap();
        assert!(self.process.wait().unwrap().success(), "{said}");
        said
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_killed_maker_leaves_nothing_and_a_process_that_waits_for_it_makes_the_template() {
    for qemu in qemus() {
        let scratch = Scratch::new("killed-maker");
        let place = Place::make(&qemu, &scratch);
        let mut maker = Other::start("make", &place);
        maker.says("booted");
        let mut waiting = Other::start("make", &place);
        waiting.waits_for_a_lock();
        maker.kill();
        waiting.says("booted");
        waiting.go_on();
        waiting.says("opened");
        waiting.ends();
        let stored = place.stored();
        let listed = place.store().list().unwrap().into_iter();
        let keys: Vec<String> = listed.map(|template| template.key).collect();
        assert_eq!(keys.len(), 1);
        assert_eq!(stored, keys);
        assert_eq!(names(&place.private()), [""; 0]);
    }
}

#[test]
fn a_killed_maker_leaves_nothing_after_a_look_at_the_store() {
    let scratch = Scratch::new("swept");
    let place = Place::make(&qemus().remove(0), &scratch);
    let mut maker = Other::start("make", &place);
    maker.says("booted");
    maker.kill();
    assert_eq!(place.stored().len(), 1);
    place.store().prune(u64::MAX).unwrap();
    assert_eq!(place.stored(), [""; 0]);
}

#[test]
fn processes_that_want_the_same_template_boot_once() {
    for qemu in qemus() {
        let scratch = Scratch::new("one-boot");
        let place = Place::make(&qemu, &scratch);
        let mut maker = Other::start("make", &place);
        maker.says("booted");
        let others = [(); 2].map(|()| Other::start("make", &place));
        let killed = Other::start("make", &place);
        for other in others.iter().chain([&killed]) {
            other.waits_for_a_lock();
        }
        killed.kill();
        maker.go_on();
        maker.says("cloned");
        for other in others {
            let said = other.ends();
            assert!(said.contains("cloned"), "{said}");
            assert!(!said.contains("booted"), "{said}");
        }
    }
}

#[test]
fn who_waits_for_a_maker_that_was_stopped_gives_up_in_time() {
    let scratch = Scratch::new("stopped-maker");
    let place = Place::make(&qemus().remove(0), &scratch);
    let mut maker = Other::start("make", &place);
    maker.says("booted");
    maker.signal("STOP");
    let limit = Duration::from_millis(100);
    let store = place.store();
    let late = store.template(&place.machine()).timeout(limit).wait();
    let error = late.unwrap_err();
    assert!(matches!(error, TemplateError::Timeout { .. }), "{error}");
    maker.signal("CONT");
    maker.go_on();
    let said = maker.ends();
    assert!(said.contains("cloned"), "{said}");
}

#[test]
fn a_template_whose_clones_are_killed_while_they_load_is_whole() {
    for qemu in qemus() {
        let scratch = Scratch::new("killed-clone");
        let place = Place::make(&qemu, &scratch);
        let template = place.freeze();
        let ram = std::fs::read(place.kept().join("ram")).unwrap();
        // Each launch is given up at a later moment.
        for moment in 0..10 {
            let limit = Duration::from_millis(moment * 10);
            let _ = template.machine().launch().timeout(limit).wait();
        }
        let mut other = Other::start("clone", &place);
        for _ in 0..3 {
            other.says("loading");
        }
        other.kill();
        let clone = template.machine().launch().wait().unwrap();
        goes_on(&clone);
        drop((clone, template));
        let opened = Template::open(place.kept(), &place.freezable()).unwrap();
        goes_on(&opened.machine().launch().wait().unwrap());
        assert!(ram == std::fs::read(place.kept().join("ram")).unwrap());
        assert_eq!(names(&place.private()), [""; 0]);
    }
}

#[test]
fn a_file_that_was_cut_short_or_touched_is_refused_by_its_name() {
    let scratch = Scratch::new("touched");
    let place = Place::make(&qemus().remove(0), &scratch);
    let template = place.freeze();
    let is_refused = |name: &str| {
        let reason = refused(&template.machine());
        assert!(reason.contains(name), "{reason}");
        let error = Template::open(place.kept(), &place.freezable()).unwrap_err();
        assert!(matches!(error, TemplateError::Unusable { .. }), "{error}");
        assert!(error.to_string().contains(name), "{error}");
    };
    let files = [
        (place.kept().join("ram"), "ram has changed"),
        (place.kept().join("disk0.qcow2"), "disk0.qcow2 has changed"),
        (place.folder.join("boot.img"), "boot.img has changed"),
    ];
    for (path, said) in files {
        let content = std::fs::read(&path).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        let whole = file.metadata().unwrap();
        let stamp = whole.modified().unwrap();
        file.set_modified(stamp + Duration::from_secs(1)).unwrap();
        is_refused(said);
        // The missing end is read as zeros, so a clone would be wrong.
        file.set_len(whole.len() / 2).unwrap();
        file.set_modified(stamp).unwrap();
        is_refused(said);
        // Longer again, it has lost its end.
        file.set_len(whole.len()).unwrap();
        file.set_modified(stamp).unwrap();
        if content.last() != Some(&0) {
            is_refused(said);
        }
        std::fs::write(&path, content).unwrap();
        file.set_modified(stamp).unwrap();
    }
    std::fs::remove_file(place.kept().join("ram")).unwrap();
    is_refused("ram");
}

#[test]
fn a_removed_template_does_no_harm_to_its_clones() {
    for qemu in qemus() {
        let scratch = Scratch::new("removed");
        let place = Place::make(&qemu, &scratch);
        let store = place.store();
        let made = store.template(&place.machine()).set_up(|vm| async move {
            vm.console().expect(".").await?;
            Ok(())
        });
        let template = made.wait().unwrap();
        let key = store.list().unwrap().remove(0).key;
        assert!(!store.remove(&key).unwrap(), "it was in use");
        let clones = [(); 2].map(|()| template.machine().launch().wait().unwrap());
        drop(template);
        assert!(!store.remove(&key).unwrap(), "its clones use it");
        // Somebody removes it by other means.
        std::fs::remove_dir_all(store.path().join(&key)).unwrap();
        assert_eq!(place.stored(), [""; 0]);
        for clone in clones {
            goes_on(&clone);
            clone.reset().wait().unwrap();
            clone.console().expect(">").wait().unwrap();
            goes_on(&clone);
            clone.shutdown().wait().unwrap();
        }
        assert_eq!(names(&place.private()), [""; 0]);
    }
}

#[test]
fn a_freeze_that_fails_leaves_the_guest_running() {
    for qemu in qemus() {
        let scratch = Scratch::new("unsaved");
        let place = Place::make(&qemu, &scratch);
        // No QEMU can save this device.
        let device = OptionGroup::new("nvme").set("serial", "a");
        let vm = place.freezable().device(&device).launch().wait().unwrap();
        goes_on(&vm);
        let files = names(&place.private());
        for _ in 0..2 {
            let error = vm.freeze().keep_at(place.kept()).wait().unwrap_err();
            assert!(matches!(error, TemplateError::Save(_)), "{error}");
            assert!(error.to_string().contains("nvme"), "{error}");
            goes_on(&vm);
            assert_eq!(names(&place.private()), files);
        }
        vm.shutdown().wait().unwrap();
        assert!(!place.kept().exists());
        assert_eq!(names(&place.private()), [""; 0]);
    }
}

#[test]
fn a_template_that_could_not_be_kept_or_cloned_leaves_the_guest_running() {
    let scratch = Scratch::new("unkept");
    let place = Place::make(&qemus().remove(0), &scratch);
    let vm = place.freezable().launch().wait().unwrap();
    goes_on(&vm);
    let files = names(&place.private());
    // One exists, one is in no folder, one is on another file system.
    for path in [
        &*place.private(),
        &place.folder.join("no/kept"),
        Path::new("/proc/kept"),
    ] {
        let error = vm.freeze().keep_at(path).wait().unwrap_err();
        assert!(matches!(error, TemplateError::File { .. }), "{error}");
        assert!(
            error.to_string().contains(path.to_str().unwrap()),
            "{error}"
        );
        goes_on(&vm);
        assert_eq!(names(&place.private()), files);
    }
    // The disk of its clones is gone.
    let disk = place.folder.join("boot.img");
    std::fs::rename(&disk, place.folder.join("elsewhere")).unwrap();
    let error = vm.freeze().keep_at(place.kept()).wait().unwrap_err();
    assert!(error.to_string().contains("boot.img"), "{error}");
    goes_on(&vm);
    std::fs::rename(place.folder.join("elsewhere"), &disk).unwrap();
    let template = vm.freeze().keep_at(place.kept()).wait().unwrap();
    goes_on(&template.machine().launch().wait().unwrap());
}
