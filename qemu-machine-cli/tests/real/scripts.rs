//! The scripts of `examples/cli`: each does its job, and leaves nothing.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use qemu_machine::display::Screenshot;

use crate::support::{BINARY, Qemu, Scratch, bounded, linux_guest, qemus, text};

/// A test of each script, on this many QEMUs. A script that is not named here
/// fails the last test.
macro_rules! scripts {
    ($($name:ident: $file:literal on $count:expr,)*) => {
        $(
            #[test]
            fn $name() {
                for qemu in qemus().into_iter().take($count) {
                    jobs::$name(&Job::new(qemu, $file));
                }
            }
        )*

        #[test]
        fn every_script_is_run() {
            let entries = fs::read_dir(folder()).unwrap();
            let names = entries.map(|it| it.unwrap().file_name().into_string().unwrap());
            let mut found: BTreeSet<String> = names.collect();
            assert!(found.remove("README.md"));
            assert_eq!(found, BTreeSet::from([$($file.to_owned()),*]));
            let page = fs::read_to_string(folder().join("README.md")).unwrap();
            for file in found {
                assert!(page.contains(&format!("[`{file}`]({file})")), "{file}");
            }
        }
    };
}

scripts! {
    agent_files: "agent-files.sh" on ONE,
    backup: "backup.sh" on ALL,
    bisect: "bisect.sh" on ALL,
    boot_menu: "boot-menu.sh" on ALL,
    ci_junit: "ci-junit.sh" on ALL,
    clone_per_test: "clone-per-test.sh" on ONE,
    crash_dump: "crash-dump.sh" on ALL,
    evidence: "evidence.sh" on ALL,
    firmware_smoke: "firmware-smoke.sh" on ALL,
    hotplug: "hotplug.sh" on ALL,
    many_images: "many-images.sh" on ALL,
    migrate: "migrate.sh" on ONE,
    pool: "pool.sh" on ONE,
    power_failure: "power-failure.sh" on ALL,
    resize_disk: "resize-disk.sh" on ALL,
    snapshot: "snapshot.sh" on ONE,
}

/// On every one.
const ALL: usize = usize::MAX;

/// On one: a Linux takes seconds to boot, and does not depend on the QEMU here.
const ONE: usize = 1;

fn folder() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.join("../examples/cli").canonicalize().unwrap()
}

/// A script, and a folder for its files.
struct Job {
    qemu: Qemu,
    script: &'static str,
    scratch: Scratch,
}

impl Job {
    fn new(qemu: Qemu, script: &'static str) -> Self {
        let scratch = Scratch::new();
        fs::create_dir(scratch.join("tmp")).unwrap();
        fs::write(scratch.join("tiny.bin"), guest()).unwrap();
        Self {
            qemu,
            script,
            scratch,
        }
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.scratch.join(name), bytes).unwrap();
    }

    /// Runs it in the folder. Its temporary files are gone at its end, so its
    /// machines are, too: each has files there.
    fn run(&self, words: &[&str]) -> Output {
        let mut script = Command::new("env");
        script.arg("--default-signal=INT,TERM,HUP");
        script.arg(folder().join(self.script)).args(words);
        let output = self.bounded(&script).output().unwrap();
        let left: Vec<_> = fs::read_dir(self.scratch.join("tmp")).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
        output
    }

    fn bounded(&self, command: &Command) -> Command {
        let mut command = bounded(command);
        let programs = Path::new(BINARY).parent().unwrap();
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", programs.display()));
        command.env("QEMU", &self.qemu.binary).env("LC_ALL", "C");
        command.env("TMPDIR", self.scratch.join("tmp"));
        // Where machines are published.
        let published = self.scratch.join("published");
        let _ = fs::DirBuilder::new().mode(0o700).create(&published);
        command.env("XDG_RUNTIME_DIR", published);
        command.env("XDG_CACHE_HOME", self.scratch.join("cache"));
        command.stdin(std::process::Stdio::null());
        command.current_dir(self.scratch.path());
        command
    }

    /// What it printed, with this status.
    fn said(&self, words: &[&str], status: i32) -> String {
        let output = self.run(words);
        let (said, errors) = (text(&output.stdout), text(&output.stderr));
        let found = output.status.code();
        assert_eq!(found, Some(status), "{}: {said}\n{errors}", self.script);
        said
    }

    /// What another program printed in the folder.
    fn command(&self, words: &[&str]) -> String {
        let mut command = self.bounded(Command::new(words[0]).args(&words[1..]));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        text(&output.stdout)
    }

    fn file(&self, name: &str) -> Vec<u8> {
        fs::read(self.scratch.join(name)).unwrap()
    }
}

/// The tiny guest's firmware.
fn guest() -> Vec<u8> {
    qemu_machine::guests::tiny().image().to_vec()
}

/// A path for a command line.
fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

mod jobs {
    use super::*;

    const READY: &str = "tiny guest ready";

    pub(super) fn agent_files(job: &Job) {
        job.write("unsorted", "pear\napple\n");
        let guest = linux_guest();
        let (kernel, initrd) = (guest.join("vmlinux"), guest.join("initramfs-agent"));
        let words = [path(&kernel), path(&initrd), "unsorted"];
        assert_eq!(job.said(&words, 0), "apple\npear\n");
    }

    pub(super) fn backup(job: &Job) {
        let content: Vec<u8> = (0..4 << 20).map(|it: u32| it.to_le_bytes()[1]).collect();
        job.write("disk", &content);
        let said = job.said(&["disk", "copy"], 0);
        let (progress, end) = said.rsplit_once("bytes\n").unwrap();
        assert!(progress.ends_with("4194304 of 4194304 "), "{said}");
        assert_eq!(end, "the backup is complete\n");
        assert!(job.file("copy") == content);
    }

    pub(super) fn bisect(job: &Job) {
        // From its first instruction, it only resets the machine.
        let mut broken = vec![0xf4; 1 << 16];
        let reset = [0xba, 0xf9, 0x0c, 0xb0, 0x06, 0xee];
        broken[0xfff0..0xfff0 + reset.len()].copy_from_slice(&reset);
        let git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"];
        let git = |words: &[&str]| job.command(&[&git[..], words].concat());
        git(&["init", "--quiet", "repository"]);
        for number in 1..=8 {
            let image = if number < 6 { &guest() } else { &broken };
            job.write("repository/firmware", image);
            job.write("repository/number", number.to_string());
            git(&["-C", "repository", "add", "."]);
            let message = format!("change {number}");
            git(&["-C", "repository", "commit", "--quiet", "-m", &message]);
        }
        let script = folder().join(job.script);
        let words = ["HEAD~7", "HEAD", "firmware", READY];
        let words = [&["env", "-C", "repository", path(&script)], &words[..]].concat();
        let said = job.command(&words);
        let culprit = said.split("is the first bad commit").nth(1);
        assert!(culprit.unwrap().contains("change 6\n"), "{said}");
        let now = git(&["-C", "repository", "log", "-1", "--format=%s"]);
        assert_eq!(now, "change 8\n");
    }

    pub(super) fn boot_menu(job: &Job) {
        let said = job.said(&["menu.ppm"], 0);
        assert!(said.ends_with("the menu is in menu.ppm\n"), "{said}");
        let picture = Screenshot::from_ppm(job.file("menu.ppm")).unwrap();
        assert_eq!((picture.width(), picture.height()), (720, 400));
    }

    pub(super) fn ci_junit(job: &Job) {
        let panics = r"panics  --expect '> ' --send 'panic\n' --expect '<hi>'";
        let list = format!("boots --expect '> '\n\n{panics}\n");
        job.write("list", list);
        let said = job.said(&["list"], 1);
        let begin = "<testsuite name=\"guests\" tests=\"2\" failures=\"1\">\n  \
                     <testcase name=\"boots\" time=\"";
        assert!(said.contains(begin), "{said}");
        let failure = "<failure type=\"guest-panicked\">";
        assert!(said.contains(failure), "{said}");
        assert!(said.contains("&lt;hi&gt;") && said.ends_with("</testsuite>\n"));
    }

    pub(super) fn clone_per_test(job: &Job) {
        let guest = linux_guest();
        let (kernel, initrd) = (guest.join("vmlinux"), guest.join("initramfs"));
        let words = [path(&kernel), path(&initrd), "~ # "];
        let commands = ["echo x >/mark; cat /mark", "cat /mark 2>/dev/null"];
        let said = job.said(&[&words[..], &commands].concat(), 1);
        let expected = "$ echo x >/mark; cat /mark\nx\n\
                        $ cat /mark 2>/dev/null\nfailed with status 1\n";
        assert_eq!(said, expected);
    }

    pub(super) fn crash_dump(job: &Job) {
        let guest = "-nodefaults -bios tiny.bin -device pvpanic -action panic=pause";
        let guest: Vec<&str> = guest.split(' ').collect();
        let test = ["--expect", "> ", "--send", r"panic\n", "--stay", "--"];
        let said = job.said(&[&["dump"], &test[..], &guest].concat(), 1);
        assert!(said.starts_with("the guest's memory is in "), "{said}");
        assert!(job.file("dump").starts_with(b"\x7fELF"));
        // Without a failure, there is no dump.
        let test = ["no-dump", "--expect", "> "];
        assert_eq!(job.said(&test, 0), "");
        assert!(!job.scratch.join("no-dump").exists());
    }

    pub(super) fn evidence(job: &Job) {
        let archive = "evidence.tar.gz";
        let test = [archive, "--expect", "> ", "--send", r"panic\n", "--stay"];
        let said = job.said(&test, 1);
        assert!(said.contains(archive), "{said}");
        job.command(&["tar", "-xzf", archive]);
        let kept = |name: &str| text(&job.file(&format!("evidence/{name}")));
        assert!(kept("guest.console").starts_with(READY));
        assert!(kept("monitor.txt").contains("GUEST_PANICKED"));
        assert!(kept("result.json").contains("\"guest-panicked\""));
        kept("guest.log");
    }

    pub(super) fn firmware_smoke(job: &Job) {
        let all = job.said(&["tiny.bin", READY], 0);
        assert_eq!(all, "pc: ok\nq35: ok\nmicrovm: ok\n");
        job.write("broken", "no firmware");
        let broken = job.said(&["broken", READY, "q35"], 1);
        assert_eq!(broken, "q35: failed with status 1\n");
    }

    pub(super) fn hotplug(job: &Job) {
        job.write("image", vec![0; 1 << 20]);
        let said = job.said(&["image"], 0);
        assert!(said.contains("ID: stick"), "{said}");
        assert!(said.ends_with("\npulled out\n"), "{said}");
    }

    pub(super) fn many_images(job: &Job) {
        let halt = [0xfa, 0xf4, 0xeb, 0xfd];
        let reset = [0xea, 0xf0, 0xff, 0x00, 0xf0];
        job.write("a.img", boot_sector("boot ok", &halt));
        job.write("b.img", boot_sector("boot", &reset));
        job.write("c.img", boot_sector("boot ok", &reset));
        let said = job.said(&["boot ok", "a.img", "b.img", "c.img"], 1);
        let expected = "done (status 0): a.img\n\
                        guest-reset (status 1): b.img\n\
                        done (status 0): c.img\n\
                        1 of 3 failed\n";
        assert_eq!(said, expected);
    }

    pub(super) fn migrate(job: &Job) {
        let guest = linux_guest();
        let (kernel, initrd) = (guest.join("vmlinux"), guest.join("initramfs"));
        let said = job.said(&[path(&kernel), path(&initrd), "~ # "], 0);
        assert!(
            said.ends_with("the guest has moved\nthe guest counts on the target\n"),
            "{said}"
        );
    }

    pub(super) fn pool(job: &Job) {
        let guest = linux_guest();
        let make = "qemu-machine template make web --memory 256M --timeout 5m --expect";
        let mut make: Vec<&str> = make.split(' ').chain(["~ # "]).collect();
        let (kernel, initrd) = (guest.join("vmlinuz"), guest.join("initramfs"));
        let qemu = job.qemu.binary.as_path();
        make.extend(["--qemu", path(qemu), "--kernel", path(&kernel)]);
        make.extend(["--initrd", path(&initrd), "--append"]);
        make.push("console=ttyS0 quiet no_timer_check cryptomgr.notests");
        job.command(&make);
        let commands = ["web", "echo x >/mark; cat /mark", "cat /mark 2>/dev/null"];
        let said = job.said(&commands, 1);
        let expected = "$ echo x >/mark; cat /mark\nx\n\
                        $ cat /mark 2>/dev/null\nfailed with status 1\n";
        assert_eq!(said, expected);
        let pools = job.scratch.join("published/qemu-machine/.pools");
        assert_eq!(fs::read_dir(pools).unwrap().count(), 0);
    }

    pub(super) fn power_failure(job: &Job) {
        assert_eq!(job.said(&["disk.qcow2"], 0), "what was flushed is there\n");
    }

    pub(super) fn resize_disk(job: &Job) {
        job.command(&["qemu-img", "create", "-q", "-f", "qcow2", "disk", "16M"]);
        assert_eq!(
            job.said(&["disk", "33554432"], 0),
            "before: 16777216\nafter: 33554432\n"
        );
        let info = job.command(&["qemu-img", "info", "disk"]);
        assert!(info.contains("(33554432 bytes)"), "{info}");
    }

    pub(super) fn snapshot(job: &Job) {
        let guest = linux_guest();
        let (kernel, initrd) = (guest.join("vmlinux"), guest.join("initramfs"));
        let commands = ["echo x >/mark; cat /mark", "ls /mark"];
        let words = [path(&kernel), path(&initrd), "guest ready"];
        let said = job.said(&[&words[..], &commands].concat(), 0);
        let expected = "$ echo x >/mark; cat /mark\nx\n$ ls /mark\nstatus 1\n";
        assert_eq!(said, expected);
    }

    /// A disk that prints a line on the serial port, and runs this code.
    fn boot_sector(line: &str, end: &[u8]) -> Vec<u8> {
        // mov dx, 0x3f8; for each byte: mov al, byte; out dx, al
        let bytes = line.bytes().chain([b'\n']);
        let mut sector = vec![0xba, 0xf8, 0x03];
        sector.extend(bytes.flat_map(|byte| [0xb0, byte, 0xee]));
        sector.extend(end);
        sector.resize(510, 0);
        sector.extend([0x55, 0xaa]);
        sector
    }
}
