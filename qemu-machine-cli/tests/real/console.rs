//! The console: live, prefixed, logged, and handed to a terminal.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::time::Duration;

use crate::support::{Running, Scratch, conforms, finish, qemus, text};

#[test]
fn the_console_goes_where_it_was_asked_to() {
    for qemu in qemus() {
        let steps = [
            "--expect",
            "> ",
            "--send",
            "echo \\x68i\\n",
            "--expect",
            "hi\r\n",
        ];
        let quiet = finish(&qemu.run(steps));
        assert_eq!(
            (text(&quiet.stdout), text(&quiet.stderr)),
            (String::new(), String::new())
        );

        let live = finish(qemu.run(steps).arg("--console"));
        assert!(
            text(&live.stdout).starts_with("tiny guest ready\r\n> hi\r\n"),
            "{live:?}"
        );
        let live = finish(qemu.run(steps).arg("--console=stderr"));
        assert!(
            live.stdout.is_empty() && text(&live.stderr).contains("> hi\r\n"),
            "{live:?}"
        );
        let live = finish(
            qemu.run(steps)
                .args(["--console", "--prefix", "--name", "prefix"]),
        );
        assert!(text(&live.stdout).contains("[prefix] > hi\r\n"), "{live:?}");
    }
}

#[test]
fn a_run_of_nothing_shows_the_tiny_guest() {
    for qemu in qemus() {
        let mut running = Running::start(&mut qemu.run::<&str>([]));
        running.until("tiny guest ready");
        running.signal("TERM");
        assert_eq!(running.status(Duration::from_secs(10)), Some(143));
    }
}

#[test]
fn logs_and_a_transcript_are_kept() {
    let qemu = qemus().remove(0);
    let scratch = Scratch::new();
    let (logs, transcript) = (scratch.join("logs/deep"), scratch.join("qmp.jsonl"));
    let mut run = qemu.run(["--name", "node", "--expect", "> "]);
    run.arg("--log-dir")
        .arg(&logs)
        .arg("--transcript")
        .arg(&transcript);
    assert_eq!(finish(&run).status.code(), Some(0));
    let console = fs::read_to_string(logs.join("node.console")).unwrap();
    assert!(console.starts_with("tiny guest ready"), "{console}");
    assert!(logs.join("node.log").is_file());

    let mut replay = crate::support::command();
    let replayed = finish(replay.arg("replay").arg(&transcript));
    let replayed = text(&replayed.stdout);
    assert!(replayed.contains(" < {\"QMP\""), "{replayed}");
    assert!(
        replayed.contains(" > {\"execute\":\"qmp_capabilities\""),
        "{replayed}"
    );
    let mut replay = crate::support::command();
    let replayed = finish(replay.args(["replay", "--json"]).arg(&transcript));
    let messages = conforms("replay", &replayed.stdout);
    assert!(messages[0]["message"]["QMP"].is_object(), "{messages:?}");
}

/// A person's end of a terminal, and what they have seen.
pub(crate) struct Person {
    terminal: File,
    seen: String,
}

impl Person {
    pub(crate) fn at(terminal: File) -> Self {
        let seen = String::new();
        Self { terminal, seen }
    }

    pub(crate) fn sees(&mut self, wanted: &str) {
        while !self.seen.contains(wanted) {
            let mut bytes = [0; 4096];
            let count = self.terminal.read(&mut bytes).unwrap_or(0);
            assert_ne!(count, 0, "'{wanted}' was not shown: {}", self.seen);
            self.seen += &text(&bytes[..count]);
        }
    }

    pub(crate) fn types(&mut self, keys: &str) {
        self.terminal.write_all(keys.as_bytes()).unwrap();
    }
}

#[test]
fn a_person_has_the_console_and_gets_the_terminal_back() {
    for qemu in qemus() {
        let (person, terminal) = testbed::pseudo_terminal();
        let mut person = Person::at(person);
        let stream = || OwnedFd::try_clone(&terminal).unwrap();
        let settings = || {
            let mut stty = std::process::Command::new("stty");
            text(&stty.arg("-g").stdin(stream()).output().unwrap().stdout)
        };
        let before = settings();
        let mut run = qemu.run::<&str>([]);
        let mut child = run
            .stdin(stream())
            .stdout(stream())
            .stderr(stream())
            .spawn()
            .unwrap();
        person.sees("Ctrl-]");
        person.sees("> ");
        // Ctrl-C is the guest's.
        person.types("echo \x03hello\r");
        person.sees("\x03hello\r\n");
        person.types("\x1d");
        assert_eq!(child.wait().unwrap().code(), Some(0));
        assert_eq!(settings(), before);

        // A signal gives it back, too.
        let mut run = qemu.run(["--expect", "> ", "--interact"]);
        let run = run.stdin(stream()).stdout(stream()).stderr(stream());
        let mut child = run.spawn().unwrap();
        person.seen.clear();
        person.sees("Ctrl-]");
        person.types("echo again\r");
        person.sees("again\r\n");
        assert_ne!(settings(), before);
        crate::support::signal(child.id(), "TERM");
        assert_eq!(child.wait().unwrap().code(), Some(143));
        assert_eq!(settings(), before);
    }
}

#[test]
fn typed_input_from_a_pipe_reaches_the_guest_and_its_answer_comes() {
    use std::process::Stdio;
    for qemu in qemus() {
        let mut run = qemu.run(["--expect", "> ", "--interact"]);
        let run = run.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = run.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(b"echo hello\npoweroff\n").unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output.stdout).contains("hello\r\n"), "{output:?}");
    }
}
