//! Machines in the background: how the caller gets its shell back, and how they
//! end.

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{
    Scratch, command, conforms, finish, json, lives, qemus, release, run_fake, signal, text,
};

const SOON: Duration = Duration::from_secs(20);

/// A machine in the background; a failed test ends it, too.
struct Detached(Value);

impl Detached {
    fn start(run: &Command) -> Self {
        let output = finish(run);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        Self(json(&output.stdout))
    }

    fn process(&self, name: &str) -> u32 {
        u32::try_from(self.0[name].as_u64().unwrap()).unwrap()
    }

    /// Waits until neither the owner nor QEMU is left.
    fn ends(self) {
        for name in ["pid", "owner_pid"] {
            let pid = self.process(name);
            assert!(testbed::wait_for_end(pid, Instant::now() + SOON), "{name}");
        }
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        let pid = self.process("owner_pid");
        if lives(pid) {
            let _ = Command::new("kill").arg(pid.to_string()).status();
        }
    }
}

fn quit(folder: &Scratch) {
    let mut quit = command();
    let quit = finish(quit.arg("qmp").arg(folder.join("qmp")).arg("quit"));
    assert_eq!(quit.status.code(), Some(0), "{}", text(&quit.stderr));
}

#[test]
fn a_detached_machine_lives_on_and_holds_nothing_of_its_caller() {
    for qemu in qemus() {
        let folder = Scratch::new();
        let run = qemu.detached(&folder, &["--log-dir", "LOGS"]);
        // The caller has one pipe as output, error and descriptor 9. The reader
        // sees its end.
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", "exec \"$0\" \"$@\" 9>&1"]);
        let words = run.get_args().map(|word| match word.to_str() {
            Some("LOGS") => folder.join("logs").into(),
            _ => word.to_owned(),
        });
        shell.arg(run.get_program()).args(words);
        for (key, value) in run.get_envs() {
            if let Some(value) = value {
                shell.env(key, value);
            }
        }
        shell.stdin(Stdio::null());
        shell.stdout(writer.try_clone().unwrap());
        shell.stderr(writer);
        let mut caller = shell.spawn().unwrap();
        drop(shell);
        let mut said = String::new();
        reader.read_to_string(&mut said).unwrap();
        assert!(caller.wait().unwrap().success(), "{said}");
        let machine = Detached(conforms("run", said.as_bytes()).remove(0));

        let mut asked = command();
        let asked = finish(asked.arg("qmp").arg(folder.join("qmp")).arg("query-status"));
        assert_eq!(json(&asked.stdout)["status"], "running");
        let owner = machine.process("owner_pid");
        let name = fs::read_to_string(format!("/proc/{owner}/comm")).unwrap();
        assert_eq!(name, "qemu-machine\n");
        assert!(
            folder
                .join("logs")
                .join(format!("qemu-{owner}.owner.log"))
                .is_file()
        );
        quit(&folder);
        machine.ends();
        assert_eq!(folder.names(), ["logs"]);
    }
}

#[test]
fn the_name_is_printed_after_the_output_of_the_commands() {
    let qemu = qemus().pop().unwrap();
    let mut run = qemu.linux("initramfs", ["--expect", "~ # ", "--exec", "echo hello"]);
    let output = finish(run.args(["-d", "--name", "printed"]));
    finish(command().args(["kill", "printed"]));
    assert_eq!(text(&output.stdout), "hello\nprinted\n", "{output:?}");
}

#[test]
fn a_detached_run_that_fails_has_the_status_and_the_message_of_one_that_stays() {
    let qemu = qemus().remove(0);
    let rows: [(&[&str], i32); 5] = [
        (&["--expect", "nonesuch", "--step-timeout", "0.3"], 124),
        (&["--send", "poweroff\\n", "--expect", "nonesuch"], 1),
        (&["--kernel", "/nonesuch"], 1),
        (&["--", "-nonesuch"], 1),
        (&["--smp", "many"], 2),
    ];
    for (words, status) in rows {
        let folder = Scratch::new();
        let detached = finish(&qemu.detached(&folder, words));
        let stderr = text(&detached.stderr);
        assert_eq!(detached.status.code(), Some(status), "{words:?}: {stderr}");
        assert!(stderr.contains("error:"), "{words:?}: {stderr}");
        assert!(detached.stdout.is_empty());
        assert_eq!(folder.names(), [] as [&str; 0], "{words:?}");
    }
    let missing = finish(command().args(["run", "-d", "--qemu", "/nonesuch/qemu"]));
    assert_eq!(missing.status.code(), Some(127));
    let conflict = finish(command().args(["run", "-d", "--interact"]));
    assert_eq!(conflict.status.code(), Some(2));
}

#[test]
fn a_signal_or_the_death_of_the_caller_ends_what_is_not_ready() {
    let folder = Scratch::new();
    let there = folder.fifo("there");
    let script = format!("ignore SIGTERM\nwait-file {}\nsilent", there.display());
    for (name, status) in [("INT", Some(130)), ("TERM", Some(143)), ("KILL", None)] {
        let left = Scratch::new();
        let mut run = run_fake(&script, &["--detach"]);
        run.env("TMPDIR", left.path()).stdin(Stdio::null());
        let mut caller = run.spawn().unwrap();
        release(&there);
        let owner = crate::support::child(caller.id());
        let qemu = crate::support::child(owner);
        signal(caller.id(), name);
        assert_eq!(caller.wait().unwrap().code(), status, "{name}");
        for pid in [qemu, owner] {
            assert!(testbed::wait_for_end(pid, Instant::now() + SOON), "{name}");
        }
        assert_eq!(left.names(), [] as [&str; 0], "{name}");
    }
}

#[test]
fn a_detached_machine_ends_by_a_signal_or_its_timeout() {
    for qemu in qemus() {
        let folder = Scratch::new();
        let result = folder.join("result.json");
        let words = ["--result", result.to_str().unwrap()];
        let machine = Detached::start(&qemu.detached(&folder, &words));
        signal(machine.process("owner_pid"), "TERM");
        machine.ends();
        let written = json(&fs::read(&result).unwrap());
        assert_eq!(
            (&written["ended"], &written["qemu"]["forced"]),
            (&"interrupted".into(), &false.into())
        );

        let words = [&words[..], &["--timeout", "5"]].concat();
        let machine = Detached::start(&qemu.detached(&folder, &words));
        machine.ends();
        assert_eq!(json(&fs::read(&result).unwrap())["ended"], "timed-out");

        for verb in ["stop", "kill"] {
            fs::remove_file(&result).unwrap();
            let machine = Detached::start(&qemu.detached(&folder, &words[..2]));
            let name = machine.0["name"].as_str().unwrap();
            let ended = finish(command().args([verb, name]));
            assert_eq!(ended.status.code(), Some(0), "{verb}: {ended:?}");
            // The verb has waited for all that the owner does.
            let written = json(&fs::read(&result).unwrap());
            assert!(written["qemu"].is_object(), "{verb}: {written}");
        }
        assert_eq!(folder.names(), ["result.json"]);
    }
}

#[test]
fn nobody_at_standard_output_ends_a_machine_that_would_be_detached() {
    let qemu = qemus().remove(0);
    let folder = Scratch::new();
    let (_, writer) = std::io::pipe().unwrap();
    let mut run = qemu.detached(&folder, &[]);
    let status = run.stdout(writer).stdin(Stdio::null()).status().unwrap();
    assert_eq!(status.code(), Some(141));
    assert_eq!(folder.names(), [] as [&str; 0]);
}
