//! QEMU's objects: listed, walked, got and set.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use crate::support::{Qemu, Running, Scratch, command, finish, json, qemus, text};

/// A QEMU with a balloon `bal` and a display `vga`, which runs the tiny guest.
pub(crate) struct Objects {
    pub(crate) scratch: Scratch,
    /// `None` when it was ended.
    running: Option<Running>,
}

impl Objects {
    pub(crate) fn new(qemu: &Qemu) -> Self {
        let scratch = Scratch::new();
        let tiny = scratch.join("tiny.bin");
        std::fs::write(&tiny, qemu_machine::guests::tiny().image()).unwrap();
        let mut run = qemu.run(["--console", "--stay", "--qmp"]);
        run.arg(scratch.join("qmp"))
            .arg("--qmp")
            .arg(scratch.join("qmp2"));
        run.arg("--").arg("-bios").arg(tiny);
        run.args([
            "-device",
            "virtio-balloon-pci,id=bal",
            "-device",
            "VGA,id=vga",
        ]);
        let mut running = Running::start(&mut run);
        running.until("tiny guest ready");
        Self {
            scratch,
            running: Some(running),
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.scratch.join("qmp")
    }

    pub(crate) fn qom(&self, task: &str, words: &[&str]) -> Command {
        let mut command = command();
        command.args(["qom", task]).arg(self.socket()).args(words);
        command
    }

    fn done(&self, task: &str, words: &[&str]) -> Output {
        finish(&self.qom(task, words))
    }

    /// What a task printed, which must succeed.
    pub(crate) fn said(&self, task: &str, words: &[&str]) -> String {
        let output = self.done(task, words);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{task} {words:?}: {stderr}");
        text(&output.stdout)
    }

    pub(crate) fn end(mut self) {
        let running = self.running.take().unwrap();
        running.signal("TERM");
        assert_eq!(running.status(Duration::from_secs(10)), Some(143));
    }
}

impl Drop for Objects {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }
}

const INTERVAL: &str = "bal.guest-stats-polling-interval";

#[test]
fn objects_are_listed_and_walked() {
    for qemu in qemus() {
        let objects = Objects::new(&qemu);
        let list = objects.said("list", &[]);
        assert!(list.lines().any(|it| it.starts_with("machine/ ")), "{list}");
        let list = objects.said("list", &["vga"]);
        let link = list.lines().find(|it| it.starts_with("parent_bus"));
        let link: Vec<_> = link.unwrap().split_whitespace().collect();
        assert_eq!(&link[1..], ["->", "/machine/i440fx/pci.0", "link<bus>"]);
        let list = objects.said("list", &["vga", "--json"]);
        let links = list.lines().map(|line| json(line.as_bytes()));
        let link = links.into_iter().find(|it| it["name"] == "parent_bus");
        assert_eq!(link.unwrap()["target"], "/machine/i440fx/pci.0");

        let tree = objects.said("tree", &[]);
        assert!(tree.starts_with("/ (container)\n"), "{tree}");
        assert!(tree.contains("\n    peripheral/ (container)\n      bal/ (virtio-balloon-pci)\n"));
        let shallow = objects.said("tree", &["/", "--depth", "1"]);
        assert!(shallow.contains("  machine/ (") && !shallow.contains("peripheral"));
        // Some values can never be read; the walk goes on.
        let tree = objects.said("tree", &["--values"]);
        assert!(tree.contains("-> /machine/i440fx/pci.0\n"), "{tree}");
        assert!(tree.contains(": error: Property '"), "{tree}");
        let walked = objects.said("tree", &["/machine/peripheral", "--values", "--json"]);
        let walked: Vec<_> = walked.lines().map(|line| json(line.as_bytes())).collect();
        let vga = walked
            .iter()
            .find(|it| it["path"] == "/machine/peripheral/vga");
        let properties = vga.unwrap()["properties"].as_array().unwrap();
        let memory = properties.iter().find(|it| it["name"] == "vgamem_mb");
        assert_eq!(memory.unwrap()["value"], 16);
        objects.end();
    }
}

#[test]
fn properties_are_got_and_set_in_both_forms() {
    for qemu in qemus() {
        let objects = Objects::new(&qemu);
        let machine = objects.said("get", &["/machine.type"]);
        assert!(machine.starts_with("pc-i440fx-") && machine.ends_with("-machine\n"));
        assert_eq!(objects.said("get", &["/machine", "type"]), machine);
        let quoted = objects.said("get", &["/machine.type", "--json"]);
        assert_eq!(json(quoted.as_bytes()), machine.trim_end());
        // The object's own name has a dot.
        for words in [
            &["/machine/i440fx/pci.0.realized"][..],
            &["pci.0", "realized"],
        ] {
            assert_eq!(objects.said("get", words), "true\n");
        }
        assert_eq!(objects.said("get", &[INTERVAL]), "0\n");
        assert_eq!(objects.said("set", &[INTERVAL, "0x10"]), "");
        assert_eq!(objects.said("get", &[INTERVAL]), "16\n");
        let [path, property] = INTERVAL.split('.').collect::<Vec<_>>()[..] else {
            panic!()
        };
        objects.said("set", &[path, property, "2"]);
        assert_eq!(objects.said("get", &[path, property]), "2\n");

        let failures = [
            ("get", &["/machine"][..], 2, "names no property"),
            ("get", &["/machine.tpye"], 1, "it has 'type'"),
            ("get", &["nonesuch.type"], 1, "Device 'nonesuch' not found"),
            ("set", &[INTERVAL, "many"], 2, "is no number"),
            ("set", &[INTERVAL, "-1"], 1, "timer value must be"),
            ("set", &["vga.vgamem_mb", "8"], 1, "vgamem_mb"),
            ("list", &["/none"], 1, "Device '/none' not found"),
        ];
        for (task, words, status, says) in failures {
            let output = objects.done(task, words);
            let stderr = text(&output.stderr);
            assert_eq!(output.status.code(), Some(status), "{words:?}: {stderr}");
            assert!(
                output.stdout.is_empty() && stderr.contains(says),
                "{words:?}: {stderr}"
            );
        }
        objects.end();
    }
}
