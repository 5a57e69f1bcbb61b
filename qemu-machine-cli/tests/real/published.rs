//! Machines that run, by their names.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Qemu, Scratch, conforms, finish, json, qemus, signal, text};

/// A place for machines of one test; a drop ends those that are left.
pub(crate) struct Place {
    pub(crate) folder: Scratch,
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = Scratch::new();
        fs::create_dir(folder.join("files")).unwrap();
        Self { folder }
    }

    pub(crate) fn here(&self, command: &mut Command) {
        command.env("XDG_RUNTIME_DIR", self.folder.path());
        command.env("TMPDIR", self.folder.join("files"));
        command.env("XDG_CACHE_HOME", self.folder.join("cache"));
    }

    pub(crate) fn verb(&self, words: &[&str]) -> Command {
        let mut command = crate::support::command();
        self.here(command.args(words));
        command
    }

    pub(crate) fn ask(&self, words: &[&str]) -> Output {
        finish(&self.verb(words))
    }

    /// Its standard output; it must succeed.
    pub(crate) fn said(&self, words: &[&str]) -> String {
        let output = self.ask(words);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{words:?}: {stderr}");
        text(&output.stdout)
    }

    /// Its message; it must fail with this status.
    pub(crate) fn failed(&self, status: i32, words: &[&str]) -> String {
        let output = self.ask(words);
        assert_eq!(output.status.code(), Some(status), "{words:?}: {output:?}");
        text(&output.stderr)
    }

    pub(crate) fn start(&self, mut run: Command, name: &str) {
        self.here(run.args(["--detach", "--name", name]));
        let output = finish(&run);
        assert_eq!(text(&output.stdout), format!("{name}\n"), "{output:?}");
    }

    /// Runs the tiny guest.
    pub(crate) fn tiny(&self, qemu: &Qemu, name: &str, words: &[&str]) {
        self.start(qemu.run([&["--expect", "> "], words].concat()), name);
    }

    /// Which of these names are listed. Others may run machines, too.
    fn listed(&self, names: &[&'static str]) -> Vec<&'static str> {
        let listed = self.said(&["ps", "-q"]);
        let is_listed = |name: &&&str| listed.lines().any(|it| it == **name);
        names.iter().filter(is_listed).copied().collect()
    }

    fn state(&self, name: &str) -> String {
        let status = self.said(&["status", name, "--json"]);
        let status = conforms("status", status.as_bytes()).remove(0);
        status["state"].as_str().unwrap().to_owned()
    }
}

impl Drop for Place {
    /// Not by `--all`: that ends machines of others, too.
    fn drop(&mut self) {
        let machines = fs::read_dir(self.folder.join("qemu-machine"));
        for machine in machines.into_iter().flatten().flatten() {
            let entry = fs::read(machine.path().join("machine.json"));
            if let Ok(entry) = entry.map(|it| json(&it)) {
                let _ = Command::new("kill")
                    .arg(entry["owner_pid"].to_string())
                    .status();
            }
        }
    }
}

#[test]
fn machines_are_listed_paused_reset_and_stopped_by_their_names() {
    for qemu in qemus() {
        let place = Place::new();
        let both = &["data base", "web"];
        assert!(place.listed(both).is_empty());
        place.tiny(&qemu, "web", &[]);
        place.tiny(&qemu, "data base", &[]);
        assert_eq!(place.listed(both), both);
        let table = place.said(&["ps"]);
        let row = |begin: &str| {
            let row = table.lines().find(|row| row.starts_with(begin));
            let row = row.unwrap_or_else(|| panic!("{begin}: {table}"));
            row[begin.len()..].split_whitespace().collect::<Vec<_>>()
        };
        assert_eq!(row("NAME "), ["STATE", "POOL", "PID", "AGE", "BINARY"]);
        assert_eq!(row("data base ")[..2], ["running", "-"]);
        assert_eq!(row("web ")[4], qemu.binary.to_string_lossy());

        let listed = place.said(&["ps", "--json"]);
        let listed = conforms("ps", listed.as_bytes());
        let web = listed.iter().find(|it| it["name"] == "web").unwrap();
        let pid = web["pid"].as_u64().unwrap();
        let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
        assert!(comm.starts_with("qemu-system"), "{comm}");
        let status = place.said(&["status", "web"]);
        assert!(status.contains(&format!("process     {pid}\n")), "{status}");

        assert_eq!(place.said(&["pause", "web"]), "");
        assert_eq!(
            (&*place.state("web"), &*place.state("data base")),
            ("paused", "running")
        );
        place.said(&["resume", "web", "data base"]);
        assert_eq!(place.state("web"), "running");
        let mut events = place.verb(&["events", "web", "RESET", "--count", "1"]);
        let mut events = events
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut noted = String::new();
        BufReader::new(events.stderr.as_mut().unwrap())
            .read_line(&mut noted)
            .unwrap();
        place.said(&["reset", "web"]);
        assert!(events.wait().unwrap().success());

        let stopped = place.said(&["stop", "web", "--json"]);
        let stopped = conforms("stop", stopped.as_bytes()).remove(0);
        assert_eq!(
            (&stopped["name"], &stopped["forced"]),
            (&"web".into(), &false.into())
        );
        assert_eq!(place.listed(both), ["data base"]);
        let ended = place.said(&["kill", "data base", "data base", "--json"]);
        let ended = conforms("kill", ended.as_bytes()).remove(0);
        assert_eq!(
            (&ended["name"], &ended["signal"]),
            (&"data base".into(), &9.into())
        );
        assert!(testbed::wait_for_end(
            u32::try_from(pid).unwrap(),
            Instant::now()
        ));
        assert!(place.listed(both).is_empty());
    }
}

#[test]
fn a_name_that_no_machine_has_and_one_that_is_taken_are_clear_errors() {
    let qemu = qemus().remove(0);
    let place = Place::new();
    let none = place.failed(1, &["stop", "web"]);
    assert!(none.contains("no machine with the name 'web'"), "{none}");
    place.tiny(&qemu, "web", &[]);
    for verb in [
        "status", "stop", "kill", "reset", "pause", "resume", "logs", "console",
    ] {
        let unknown = place.failed(1, &[verb, "wob"]);
        assert!(
            unknown.contains("'wob'; the running ones are: "),
            "{unknown}"
        );
    }
    let unknown = place.failed(1, &["qmp", "wob", "query-status"]);
    assert!(
        unknown.contains("; nor is there a socket 'wob'"),
        "{unknown}"
    );
    let mut run = qemu.run(["--name", "web"]);
    run.env("XDG_RUNTIME_DIR", place.folder.path());
    let taken = finish(&run);
    assert_eq!(taken.status.code(), Some(1));
    let taken = text(&taken.stderr);
    assert!(
        taken.contains("a machine with the name 'web' is running"),
        "{taken}"
    );
    for name in ["", "..", "a/b"] {
        let mut run = qemu.run(["--name", name]);
        run.env("XDG_RUNTIME_DIR", place.folder.path());
        let refused = finish(&run);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(text(&refused.stderr).contains("choose another name"));
    }
    let unknown = place.failed(1, &["console", "web", "--console", "debug"]);
    assert!(
        unknown.contains("it has only the first, without a name"),
        "{unknown}"
    );
    // One failure keeps nobody from the rest.
    let output = place.ask(&["stop", "wob", "web"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "web\n");
}

#[test]
fn an_address_is_a_machine_s_name_for_two_clients_at_once() {
    for qemu in qemus() {
        let place = Place::new();
        place.tiny(&qemu, "web", &[]);
        let mut events = place.verb(&["events", "web", "STOP", "RESUME", "--count", "2"]);
        let mut events = events
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut noted = String::new();
        BufReader::new(events.stderr.as_mut().unwrap())
            .read_line(&mut noted)
            .unwrap();
        assert!(noted.contains("listening"), "{noted}");
        place.said(&["qmp", "web", "stop"]);
        place.said(&["qmp", "web", "-H", "cont"]);
        let mut seen = String::new();
        events
            .stdout
            .as_mut()
            .unwrap()
            .read_to_string(&mut seen)
            .unwrap();
        assert!(events.wait().unwrap().success());
        assert!(seen.contains("STOP") && seen.contains("RESUME"), "{seen}");
        let agent = place.failed(1, &["agent", "web", "ping"]);
        assert!(
            agent.contains("'web' has no port for a guest agent"),
            "{agent}"
        );
    }
}

#[test]
fn a_killed_owner_leaves_a_folder_that_nobody_lists_and_a_sweep_removes() {
    let qemu = qemus().remove(0);
    let place = Place::new();
    place.tiny(&qemu, "web", &[]);
    place.tiny(&qemu, "other", &[]);
    let status = json(place.said(&["status", "web", "--json"]).as_bytes());
    let pid = |key: &str| u32::try_from(status[key].as_u64().unwrap()).unwrap();
    signal(pid("owner_pid"), "KILL");
    let soon = Instant::now() + Duration::from_secs(10);
    assert!(testbed::wait_for_end(pid("owner_pid"), soon));
    assert!(testbed::wait_for_end(pid("pid"), soon));
    assert_eq!(place.listed(&["other", "web"]), ["other"]);
    let swept = place.said(&["sweep", "--json"]);
    let swept = conforms("sweep", swept.as_bytes());
    assert!(swept.iter().any(|it| it["name"] == "web"));
    assert!(!place.said(&["sweep"]).lines().any(|it| it == "web"));
    // The name is free.
    place.tiny(&qemu, "web", &[]);
    assert_eq!(place.listed(&["other", "web"]), ["other", "web"]);
    let stopped = place.said(&["stop", "web", "other"]);
    assert_eq!(stopped.lines().count(), 2, "{stopped}");
    assert_eq!(
        fs::read_dir(place.folder.join("qemu-machine"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn logs_are_printed_and_followed_to_the_end_of_the_machine() {
    for qemu in qemus() {
        let place = Place::new();
        let logs = place.folder.join("logs");
        place.tiny(&qemu, "kept", &["--log-dir", logs.to_str().unwrap()]);
        place.tiny(&qemu, "plain", &[]);
        let printed = place.said(&["logs", "kept", "--console"]);
        assert!(printed.starts_with("tiny guest ready\r\n"), "{printed}");
        assert_eq!(place.said(&["logs", "kept"]), "");
        let refused = place.failed(1, &["logs", "plain", "--console"]);
        assert!(
            refused.contains("has no log; follow it with -f"),
            "{refused}"
        );
        let refused = place.failed(1, &["logs", "kept", "--console=debug"]);
        assert!(refused.contains("no console 'debug'"), "{refused}");

        for name in ["kept", "plain"] {
            let mut follow = place.verb(&["logs", name, "--console", "--follow"]);
            let mut follow = follow.stdout(Stdio::piped()).spawn().unwrap();
            let mut stdout = BufReader::new(follow.stdout.take().unwrap());
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            assert_eq!(line, "tiny guest ready\r\n", "{name}");
            let mut console = place.verb(&["console", name]);
            let mut console = console
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            let typed = b"echo more\n";
            std::io::Write::write_all(console.stdin.as_mut().unwrap(), typed).unwrap();
            line.clear();
            stdout.read_line(&mut line).unwrap();
            assert_eq!(line, "> more\r\n", "{name}");
            place.said(&["stop", name]);
            stdout.read_to_string(&mut line).unwrap();
            assert!(follow.wait().unwrap().success(), "{name}");
            console.wait().unwrap();
        }
    }
}

#[test]
fn an_owner_that_is_stopped_is_named_within_the_time_limit() {
    let place = Place::new();
    let qemu = &qemus()[0];
    place.tiny(qemu, "web", &[]);
    let status = json(place.said(&["status", "web", "--json"]).as_bytes());
    let owner = u32::try_from(status["owner_pid"].as_u64().unwrap()).unwrap();
    signal(owner, "STOP");
    for words in [
        &["qmp", "web", "query-status", "--timeout", "0.3"][..],
        &["events", "web", "--for", "0.3"],
        &["screenshot", "web", "x.ppm", "--timeout", "0.3"],
        &["console", "web", "--timeout", "0.3"],
    ] {
        let error = place.failed(124, words);
        let expected = format!("its owner, process {owner}, did not answer within 300ms");
        assert!(error.contains(&expected), "{words:?}: {error}");
    }
    assert!(place.said(&["ps"]).contains(" no-answer "));
    signal(owner, "CONT");
    place.said(&["stop", "web"]);
}
