//! The verbs that speak with a QEMU that runs, and those that ask one.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::{Qemu, Running, Scratch, command, conforms, finish, json, qemus, text};

/// A machine that serves QMP for others.
struct Served {
    scratch: Scratch,
    running: Running,
}

impl Served {
    fn new(qemu: &Qemu, words: &[&str]) -> Self {
        let scratch = Scratch::new();
        let mut run = qemu.run(["--console", "--stay", "--qmp"]);
        run.arg(scratch.join("qmp"));
        let tiny = scratch.join("tiny.bin");
        std::fs::write(&tiny, qemu_machine::guests::tiny().image()).unwrap();
        run.arg("--qmp").arg(scratch.join("qmp2"));
        run.args(words.iter().map(|word| match *word {
            "TINY" => tiny.to_str().unwrap(),
            word => word,
        }));
        let mut running = Running::start(&mut run);
        running.until("tiny guest ready");
        Self { scratch, running }
    }

    fn verb(&self, verb: &str, words: &[&str]) -> Command {
        let mut command = command();
        command.arg(verb).arg(self.scratch.join("qmp")).args(words);
        command
    }

    /// What a verb printed, which must succeed.
    fn said(&self, verb: &str, words: &[&str]) -> String {
        let output = finish(&self.verb(verb, words));
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{verb} {words:?}: {stderr}");
        text(&output.stdout)
    }
}

#[test]
fn commands_go_to_a_monitor_and_their_results_are_printed() {
    for qemu in qemus() {
        let served = Served::new(&qemu, &[]);
        let status = json(served.said("qmp", &["query-status"]).as_bytes());
        assert_eq!(status["status"], "running");
        let line = served.said("qmp", &["--json", "query-status"]);
        assert_eq!(conforms("qmp", line.as_bytes()).len(), 1);
        served.said(
            "qmp",
            &[
                "object-add",
                "qom-type=memory-backend-ram",
                "id=ram",
                "size=1048576",
            ],
        );
        let size = served.said("qmp", &["qom-get", "path=/objects/ram", "property=size"]);
        assert_eq!(size, "1048576\n");
        served.said(
            "qmp",
            &[
                "blockdev-add",
                "driver=raw",
                "node-name=n",
                "file.driver=null-co",
            ],
        );
        served.said("qmp", &[r#"{"execute": "stop"}"#]);
        let printed = served.said("qmp", &["-H", "info", "status"]);
        assert_eq!(printed.trim_end(), "VM status: paused");

        let refused = finish(&served.verb("qmp", &["device_del", "id=none"]));
        assert_eq!(refused.status.code(), Some(1));
        assert!(
            text(&refused.stderr).contains("Device 'none' not found"),
            "{refused:?}"
        );
        assert_eq!(
            finish(&served.verb("qmp", &["stop", "a"])).status.code(),
            Some(2)
        );
        assert_eq!(
            finish(&served.verb("qmp", &["-H", "nonesuch"]))
                .status
                .code(),
            Some(0)
        );

        served.said("qmp", &["quit"]);
        assert_eq!(served.running.status(Duration::from_secs(10)), Some(0));
        assert_eq!(served.scratch.names(), ["tiny.bin"]);
    }
}

#[test]
fn nobody_at_an_address_is_a_failure_and_a_silent_server_a_timeout() {
    let scratch = Scratch::new();
    let path = scratch.join("socket");
    let ask = || {
        let mut ask = command();
        finish(
            ask.arg("qmp")
                .arg(&path)
                .args(["--timeout", "0.3", "query-status"]),
        )
    };
    assert_eq!(ask().status.code(), Some(1));
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let silent = ask();
    assert_eq!(silent.status.code(), Some(124), "{}", text(&silent.stderr));
    drop(listener);
}

#[test]
fn events_are_printed_as_they_come() {
    for qemu in qemus() {
        let served = Served::new(&qemu, &[]);
        let patterns = ["STOP", "RESUME{}", "--count", "2", "--json"];
        let mut listen = served.verb("events", &patterns);
        let listen = listen.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut events = listen.spawn().unwrap();
        let mut said = BufReader::new(events.stderr.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        assert!(line.contains("listening to the server"), "{line}");
        for command in ["stop", "cont"] {
            let mut ask = command_at(&served.scratch.join("qmp2"));
            assert_eq!(finish(ask.arg(command)).status.code(), Some(0));
        }
        let output = events.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        let lines = conforms("events", &output.stdout);
        assert_eq!(
            (&lines[0]["event"], &lines[1]["event"]),
            (&"STOP".into(), &"RESUME".into())
        );
        assert!(lines[0]["seconds"].as_f64().unwrap() > 1e9);

        let late = served.verb("events", &["--for", "0.2"]);
        assert_eq!(finish(&late).status.code(), Some(124));
        let misspelt = finish(&served.verb("events", &["STOP", "SHUTDWN"]));
        assert_eq!(misspelt.status.code(), Some(1));
        let stderr = text(&misspelt.stderr);
        let near = "there is no event 'SHUTDWN'; did you mean 'SHUTDOWN'?";
        assert!(stderr.contains(near), "{stderr}");
        served.running.signal("TERM");
        assert_eq!(served.running.status(Duration::from_secs(10)), Some(143));
    }
}

fn command_at(socket: &Path) -> Command {
    let mut ask = command();
    ask.arg("qmp").arg(socket);
    ask
}

#[test]
fn a_schema_is_asked_and_listed() {
    for qemu in qemus() {
        let ask = |words: &[&str]| {
            let mut command = command();
            command
                .arg("schema")
                .arg("--qemu")
                .arg(&qemu.binary)
                .args(words);
            let output = finish(&command);
            (output.status.code(), text(&output.stdout))
        };
        let yes = ask(&["screendump/arg-type/format/^png"]);
        assert_eq!(
            yes,
            (Some(0), "yes screendump/arg-type/format/^png\n".into())
        );
        let (status, answers) = ask(&["--json", "blockdev-add", "nonesuch"]);
        let answers = conforms("schema", answers.as_bytes()).remove(0);
        assert_eq!(
            (status, &answers["blockdev-add"], &answers["nonesuch"]),
            (Some(1), &true.into(), &false.into())
        );
        assert_eq!(ask(&["a//b"]).0, Some(2));
        let listed = conforms("schema", ask(&["--json"]).1.as_bytes()).remove(0);
        let events = listed["events"].as_array().unwrap();
        assert!(events.contains(&"STOP".into()), "{listed}");
        let (status, list) = ask(&[]);
        assert!(
            status == Some(0)
                && list.contains("command query-status\n")
                && list.contains("event STOP\n")
        );
    }
}

#[test]
fn a_host_is_examined_and_its_accelerators_are_tried() {
    let scratch = Scratch::new();
    for qemu in qemus() {
        let ask = |verb: &str| {
            let mut command = command();
            command
                .arg(verb)
                .arg("--json")
                .arg("--qemu")
                .arg(&qemu.binary);
            let output = finish(command.env("XDG_CACHE_HOME", scratch.path()));
            assert_eq!(
                output.status.code(),
                Some(0),
                "{verb}: {}",
                text(&output.stderr)
            );
            output.stdout
        };
        let found = conforms("doctor", &ask("doctor")).remove(0);
        let found = found
            .as_array()
            .unwrap()
            .iter()
            .find(|it| it["name"] == "qemu")
            .unwrap();
        assert!(
            found["state"] == "ok" && found["finding"].as_str().unwrap().contains(&qemu.version),
            "{found}"
        );
        let accel = conforms("accel", &ask("accel")).remove(0);
        let tcg = accel["accelerators"]
            .as_array()
            .unwrap()
            .iter()
            .find(|it| it["name"] == "tcg");
        assert!(
            accel["best"].is_string() && tcg.unwrap()["works"] == true,
            "{accel}"
        );
    }
    let mut missing = command();
    let missing = finish(missing.args(["doctor", "--qemu", "qemu-system-nonesuch"]));
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stdout).contains("advice: "), "{missing:?}");
}

#[test]
fn a_picture_of_the_display_is_taken() {
    for qemu in qemus() {
        let served = Served::new(&qemu, &["--", "-device", "VGA", "-bios", "TINY"]);
        for (name, magic) in [("a.ppm", &b"P6"[..]), ("a.png", b"\x89PNG")] {
            let file = served.scratch.join(name);
            served.said("screenshot", &[file.to_str().unwrap()]);
            assert!(std::fs::read(&file).unwrap().starts_with(magic), "{name}");
        }
        served.running.signal("TERM");
        assert_eq!(served.running.status(Duration::from_secs(10)), Some(143));
    }
}

#[test]
fn a_guests_agent_runs_programs_and_carries_files() {
    let qemu = qemus().pop().unwrap();
    let scratch = Scratch::new();
    let socket = scratch.join("agent");
    let port = format!("socket,id=ga,path={},server=on,wait=off", socket.display());
    let mut run = qemu.linux(
        "initramfs-agent",
        ["--console", "--stay", "--", "-chardev", &port],
    );
    run.args(["-device", "virtio-serial", "-device"]);
    run.arg("virtserialport,chardev=ga,name=org.qemu.guest_agent.0");
    let mut running = Running::start(&mut run);
    // QEMU has made its sockets before the guest says anything.
    running.stdout.fill_buf().unwrap();
    let ask = |words: &[&str]| {
        let mut agent = command();
        agent
            .arg("agent")
            .arg("--timeout")
            .arg("60")
            .arg(&socket)
            .args(words);
        let output = finish(&agent);
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let nothing = || (Some(0), String::new(), String::new());
    assert_eq!(ask(&["ping"]), nothing());
    assert!(ask(&["info"]).1.contains("command guest-exec\n"));
    let info = conforms("agent", ask(&["info", "--json"]).1.as_bytes());
    assert!(info[0]["version"].is_string());
    let (status, stdout, stderr) =
        ask(&["exec", "/bin/sh", "-c", "echo out; echo err >&2; exit 9"]);
    assert_eq!((status, &*stdout, &*stderr), (Some(9), "out\n", "err\n"));
    assert_eq!(ask(&["exec", "/bin/sh", "-c", "exit 255"]).0, Some(255));
    assert_eq!(ask(&["exec", "nonesuch"]).0, Some(127));
    // More than one piece.
    let bytes: Vec<u8> = (0..=250).cycle().take(2_500_000).collect();
    let file = scratch.join("large");
    std::fs::write(&file, &bytes).unwrap();
    let write = ["write", "/root/large", file.to_str().unwrap()];
    assert_eq!(ask(&write), nothing());
    assert!(ask(&["read", "/root/large"]).1 == text(&bytes));
    assert_eq!(ask(&["fsfreeze", "status"]).1, "thawed\n");
    let state = ask(&["fsfreeze", "status", "--json"]).1;
    assert_eq!(conforms("agent", state.as_bytes())[0]["status"], "thawed");
    assert!(ask(&["fsfreeze", "freeze"]).1.ends_with(" frozen\n"));
    assert!(ask(&["fsfreeze", "thaw"]).1.ends_with(" thawed\n"));
    assert_eq!(ask(&["fsfreeze", "trim"]).0, Some(0));
    let trimmed = ask(&["fsfreeze", "trim", "--json"]).1;
    assert!(conforms("agent", trimmed.as_bytes())[0]["trimmed"].is_array());
    let file = scratch.join("file");
    std::fs::write(&file, b"\0\xff\n").unwrap();
    assert_eq!(
        ask(&["write", "/root/file", file.to_str().unwrap()]),
        nothing()
    );
    assert_eq!(ask(&["read", "/root/file"]).1, text(b"\0\xff\n"));
    assert_eq!(ask(&["read", "/nonesuch"]).0, Some(1));
    assert_eq!(ask(&["shutdown"]), nothing());
    assert_eq!(running.status(Duration::from_secs(30)), Some(0));
}

#[test]
fn a_machine_whose_run_failed_is_kept_for_a_person() {
    for qemu in qemus() {
        let scratch = Scratch::new();
        let mut run = qemu.run(["--keep-on-failure", "--step-timeout", "0.2"]);
        run.args(["--expect", "nonesuch", "--qmp"])
            .arg(scratch.join("qmp"));
        let mut child = run.stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        while !said
            .next()
            .unwrap()
            .unwrap()
            .contains("the machine is kept: process")
        {}
        let status = finish(command_at(&scratch.join("qmp")).arg("query-status"));
        assert_eq!(json(&status.stdout)["status"], "running");
        crate::support::signal(child.id(), "INT");
        assert_eq!(child.wait().unwrap().code(), Some(124));
        assert!(scratch.names().is_empty(), "{:?}", scratch.names());
    }
}
