//! QEMU's objects as files. Where this host lets nobody mount, only the refusal.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};

use crate::qom::Objects;
use crate::support::{bounded, command, finish, qemus, signal, text};

/// Whether this process may mount: `CAP_SYS_ADMIN`, and the device.
fn may_mount() -> bool {
    const SYS_ADMIN: u64 = 1 << 21;
    let device = File::options().read(true).write(true).open("/dev/fuse");
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let mut lines = status.lines();
    let set = lines.find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    let set = u64::from_str_radix(set.trim(), 16).unwrap();
    device.is_ok() && set & SYS_ADMIN != 0
}

/// A mount that is there.
struct Mounted {
    child: Child,
    stderr: BufReader<ChildStderr>,
    folder: PathBuf,
}

impl Mounted {
    fn new(objects: &Objects, words: &[&str]) -> Self {
        let folder = objects.scratch.join("mnt");
        let _ = fs::create_dir(&folder);
        let mut mount = objects.qom("mount", &[folder.to_str().unwrap()]);
        let mut child = mount.args(words).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        assert!(line.contains("the objects of the server"), "{line}");
        Self {
            child,
            stderr,
            folder,
        }
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.folder.join(path)).unwrap()
    }

    /// Its status, when nobody writes to its standard error any more.
    fn ends(mut self) -> Option<i32> {
        let status = self.child.wait().unwrap();
        self.stderr.read_to_end(&mut Vec::new()).unwrap();
        status.code()
    }
}

fn is_mount(folder: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    mounts.contains(folder.to_str().unwrap())
}

#[test]
fn objects_are_folders_properties_are_files_and_links_are_symlinks() {
    if !may_mount() {
        return;
    }
    for qemu in qemus() {
        let objects = Objects::new(&qemu);
        let mounted = Mounted::new(&objects, &[]);
        assert!(mounted.read("machine/type").starts_with("pc-i440fx-"));
        assert_eq!(mounted.read("machine/peripheral/vga/vgamem_mb"), "16\n");
        let bus = "machine/peripheral/vga/parent_bus";
        let target = fs::read_link(mounted.folder.join(bus)).unwrap();
        assert_eq!(target, Path::new("../../i440fx/pci.0"));
        assert_eq!(mounted.read(&format!("{bus}/type")), "PCI\n");
        let list = finish(Command::new("ls").arg("-lR").arg(&mounted.folder));
        assert!(list.status.success(), "{}", text(&list.stderr));
        let none = File::open(mounted.folder.join("machine/nonesuch")).unwrap_err();
        assert_eq!(none.kind(), std::io::ErrorKind::NotFound);
        let interval = mounted.folder.join(INTERVAL);
        let refused = fs::write(&interval, "2\n").unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);

        let folder = mounted.folder.clone();
        signal(mounted.child.id(), "INT");
        assert_eq!(mounted.ends(), Some(130));
        assert!(!is_mount(&folder));

        let mounted = Mounted::new(&objects, &["--writable"]);
        fs::write(&interval, "2\n").unwrap();
        assert_eq!(mounted.read(INTERVAL), "2\n");
        let refused = fs::write(&interval, "many\n").unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::InvalidInput);
        signal(mounted.child.id(), "TERM");
        assert_eq!(mounted.ends(), Some(143));
        objects.end();
    }
}

const INTERVAL: &str = "machine/peripheral/bal/guest-stats-polling-interval";

#[test]
fn a_mount_ends_with_its_process_by_hand_and_with_qemu() {
    if !may_mount() {
        return;
    }
    let objects = Objects::new(&qemus().remove(0));
    let mounted = Mounted::new(&objects, &[]);
    let folder = mounted.folder.clone();
    let _inside = File::open(&folder).unwrap();
    signal(mounted.child.id(), "KILL");
    mounted.ends();
    wait_for_no_mount(&folder);

    let mounted = Mounted::new(&objects, &["/machine"]);
    assert!(mounted.read("type").starts_with("pc-i440fx-"));
    let unmounted = finish(Command::new("umount").arg(&folder));
    assert!(unmounted.status.success(), "{}", text(&unmounted.stderr));
    assert_eq!(mounted.ends(), Some(0));

    let mounted = Mounted::new(&objects, &[]);
    // Somebody is in it, which must not keep it.
    let _inside = File::open(folder.join("machine")).unwrap();
    let mut quit = command();
    let quit = quit
        .arg("qmp")
        .arg(objects.scratch.join("qmp2"))
        .arg("quit");
    assert!(finish(quit).status.success());
    assert_eq!(mounted.ends(), Some(0));
    assert!(!is_mount(&folder));
}

/// The kernel notifies the readers of this file of every change.
fn wait_for_no_mount(folder: &Path) {
    let script = "while grep -q \"$0\" /proc/self/mounts; do \
                  timeout 1 findmnt --poll=umount --first-only \"$0\" >/dev/null || :; done";
    let mut wait = Command::new("sh");
    let waited = finish(wait.args(["-c", script]).arg(folder));
    assert!(waited.status.success());
}

#[test]
fn a_host_that_lets_nobody_mount_is_a_failure_with_advice() {
    let objects = Objects::new(&qemus().remove(0));
    let folder = objects.scratch.join("mnt");
    fs::create_dir(&folder).unwrap();
    let mount = objects.qom("mount", &[folder.to_str().unwrap()]);
    let refused = if may_mount() {
        let mut without = Command::new("setpriv");
        without.args(["--bounding-set=-sys_admin", "--"]);
        let mount = bounded(&mount);
        without.arg(mount.get_program()).args(mount.get_args());
        finish(&without)
    } else {
        finish(&mount)
    };
    let stderr = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("cannot mount at"), "{stderr}");
    assert!(stderr.contains("\nadvice: "), "{stderr}");
    assert!(!is_mount(&folder));
    objects.end();
}
