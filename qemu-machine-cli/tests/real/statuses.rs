//! The table of statuses: each end of a run has its status, and its name in the
//! result. It runs on every QEMU: in a pipe, with closed standard input, and on
//! a terminal.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::{Qemu, Running, Scratch, bounded, command, conforms, finish, qemus, text};

/// A run that ends without our help.
struct Row {
    name: &'static str,
    words: &'static [&'static str],
    status: i32,
    /// Its name in the result; empty if none is written.
    ended: &'static str,
}

const fn row(
    name: &'static str,
    words: &'static [&'static str],
    status: i32,
    ended: &'static str,
) -> Row {
    Row {
        name,
        words,
        status,
        ended,
    }
}

const READY: &str = "> ";

const ROWS: [Row; 27] = [
    row("an unknown option", &["--nonesuch"], 2, ""),
    row("a bad pattern", &["--expect-regex", "("], 2, ""),
    row("a bad span of time", &["--timeout", "soon"], 2, ""),
    row("two QEMUs", &["--", "qemu-system-x86_64"], 2, ""),
    row("a dry run", &["--dry-run"], 0, ""),
    row("all steps are done", &["--expect", READY], 0, "done"),
    row(
        "a pattern by a regular expression",
        &["--expect-regex", "tiny [a-z]+ ready\r\n", "--expect", READY],
        0,
        "done",
    ),
    row(
        "the guest powers off",
        &["--expect", READY, "--send", "poweroff\\n", "--stay"],
        0,
        "guest-powered-off",
    ),
    row(
        "the guest powers off, and a pattern is left",
        &[
            "--expect",
            READY,
            "--send",
            "poweroff\\n",
            "--expect",
            "more",
        ],
        1,
        "guest-powered-off",
    ),
    row(
        "the guest powers off, and a command is left",
        &[
            "--expect",
            READY,
            "--send",
            "poweroff\\n",
            "--expect",
            "x",
            "--exec",
            "true",
        ],
        125,
        "guest-powered-off",
    ),
    row(
        "the guest resets, and QEMU ends at that",
        &[
            "--expect",
            READY,
            "--send",
            "reset\\n",
            "--stay",
            "--",
            "-no-reboot",
            "-nodefaults",
            "-bios",
            "TINY",
        ],
        0,
        "guest-reset",
    ),
    row(
        "the guest powers off, and QEMU holds it",
        &[
            "--expect",
            READY,
            "--send",
            "poweroff\\n",
            "--stay",
            "--",
            "-no-shutdown",
            "-nodefaults",
            "-bios",
            "TINY",
        ],
        0,
        "guest-powered-off",
    ),
    row(
        "the guest panics",
        &["--expect", READY, "--send", "panic\\n", "--stay"],
        1,
        "guest-panicked",
    ),
    row(
        "the guest panics, and a pattern is left",
        &["--expect", READY, "--send", "panic\\n", "--expect", "more"],
        1,
        "guest-panicked",
    ),
    row(
        "the guest panics, and a command is left",
        &[
            "--expect", READY, "--send", "panic\\n", "--expect", "x", "--exec", "true",
        ],
        125,
        "guest-panicked",
    ),
    row(
        "the guest panics, and QEMU holds it",
        &[
            "--expect",
            READY,
            "--send",
            "panic\\n",
            "--stay",
            "--",
            "-action",
            "panic=pause",
            "-nodefaults",
            "-bios",
            "TINY",
            "-device",
            "pvpanic",
        ],
        1,
        "guest-panicked",
    ),
    row(
        "the guest hangs, and a step is late",
        &[
            "--expect",
            READY,
            "--send",
            "hang\\n",
            "--step-timeout",
            "0.3",
            "--expect",
            "more",
        ],
        124,
        "timed-out",
    ),
    row(
        "the run is late",
        &["--timeout", "0.5", "--stay"],
        124,
        "timed-out",
    ),
    row(
        "no shell answers",
        &["--expect", READY, "--step-timeout", "0.3", "--exec", "true"],
        124,
        "timed-out",
    ),
    row(
        "no agent answers",
        &["--agent", "--step-timeout", "0.3", "--exec", "true"],
        124,
        "timed-out",
    ),
    row(
        "a kernel is missing",
        &["--kernel", "/nonesuch/vmlinuz"],
        1,
        "not-launched",
    ),
    row(
        "a kernel is missing, and a command is left",
        &["--kernel", "/nonesuch/vmlinuz", "--exec", "true"],
        125,
        "not-launched",
    ),
    row(
        "a disk is missing",
        &["--drive", "/nonesuch/disk.qcow2"],
        1,
        "not-launched",
    ),
    row(
        "QEMU refuses an option",
        &["--", "-nonesuch"],
        1,
        "not-launched",
    ),
    row(
        "the library refuses an option",
        &["--", "-daemonize"],
        1,
        "not-launched",
    ),
    row(
        "a machine type is missing",
        &["--machine", "nonesuch"],
        1,
        "not-launched",
    ),
    row(
        "a log has no directory",
        &["--log-dir", "/dev/null/logs"],
        125,
        "",
    ),
];

/// Runs the table; `finish` runs one command, and returns its status and what it
/// said.
fn run_table(finish: impl Fn(&Command) -> (Option<i32>, String)) {
    let scratch = Scratch::new();
    let tiny = scratch.join("tiny.bin");
    fs::write(&tiny, qemu_machine::guests::tiny().image()).unwrap();
    let mut wrong = Vec::new();
    for qemu in qemus() {
        for Row {
            name,
            words,
            status,
            ended,
        } in &ROWS
        {
            let result = scratch.join("result.json");
            let _ = fs::remove_file(&result);
            let words = words.iter().map(|word| match *word {
                "TINY" => tiny.to_str().unwrap(),
                word => word,
            });
            let mut run = qemu.run(["--result", result.to_str().unwrap()]);
            run.args(words);
            let (found_status, said) = finish(&run);
            let written = fs::read(&result);
            let written = written.map(|it| conforms("run", &it).remove(0));
            let written = written.unwrap_or_default();
            let found_end = written["ended"].as_str().unwrap_or_default();
            let found = (found_status, found_end);
            if found != (Some(*status), *ended) {
                let version = &qemu.version;
                wrong.push(format!("{name}, QEMU {version}: {found:?}\n{said}"));
            }
            if !ended.is_empty() && written["status"] != *status {
                wrong.push(format!("{name}: {written}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The same command, from a shell that redirects what it has.
fn redirected(command: &Command, redirection: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("exec \"$0\" \"$@\" {redirection}")]);
    shell.arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(key, value),
            None => shell.env_remove(key),
        };
    }
    shell
}

fn from_shell(command: &Command, redirection: &str) -> (Option<i32>, String) {
    let output = finish(&redirected(command, redirection));
    (output.status.code(), text(&output.stderr))
}

#[test]
fn each_end_has_its_status_in_a_pipe() {
    run_table(|command| from_shell(command, ""));
}

#[test]
fn each_end_has_its_status_with_closed_standard_input() {
    run_table(|command| from_shell(command, "<&-"));
}

#[test]
fn each_end_has_its_status_on_a_terminal() {
    run_table(|command| {
        let (mut person, terminal) = testbed::pseudo_terminal();
        let stream = || terminal.try_clone().unwrap();
        let mut bounded = bounded(command);
        let bounded = bounded.stdin(stream()).stdout(stream()).stderr(stream());
        let mut child = bounded.spawn().unwrap();
        // What it says must be read, or it waits.
        let reader = std::thread::spawn(move || {
            let mut said = Vec::new();
            // It ends by an error once nobody has the terminal.
            let _ = person.read_to_end(&mut said);
            text(&said)
        });
        let status = child.wait().unwrap().code();
        drop((child, terminal));
        // The command of the builder keeps copies, too.
        drop_streams(bounded);
        (status, reader.join().unwrap())
    });
}

/// Lets go of the streams that a command was given.
fn drop_streams(command: &mut Command) {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
}

#[test]
fn a_missing_or_unusable_qemu_has_the_statuses_of_a_shell() {
    let scratch = Scratch::new();
    let plain = scratch.join("plain");
    fs::write(&plain, "no program").unwrap();
    fs::set_permissions(&plain, fs::Permissions::from_mode(0o644)).unwrap();
    let dead = scratch.program("dead", "#!/nonesuch/interpreter\n");
    let failing = scratch.program("failing", "#!/bin/sh\necho went wrong >&2; exit 3\n");
    let silent = scratch.program("silent", "#!/bin/sh\nexec sleep 100\n");
    let table = [
        ("qemu-system-nonesuch", 127),
        ("/nonesuch/qemu", 127),
        (plain.to_str().unwrap(), 126),
        ("/", 126),
        (dead.to_str().unwrap(), 127),
        (failing.to_str().unwrap(), 1),
        (silent.to_str().unwrap(), 124),
    ];
    for (qemu, status) in table {
        let mut run = command();
        let timeout = if status == 124 { "1" } else { "60" };
        run.args(["run", "--timeout", timeout, "--qemu", qemu]);
        let output = finish(&run);
        assert_eq!(
            output.status.code(),
            Some(status),
            "{qemu}: {}",
            text(&output.stderr)
        );
        assert!(output.stdout.is_empty());
        assert!(text(&output.stderr).starts_with("qemu-machine: error: "));
    }
}

/// The tiny guest, with its greeting on standard output.
fn greeted(qemu: &Qemu, words: &[&str]) -> Running {
    let mut running = Running::start(qemu.run(["--console=stdout"]).args(words));
    running.until("tiny guest ready");
    running
}

const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_signal_ends_the_machine_and_has_its_status() {
    for qemu in qemus() {
        for (name, status) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
            let running = greeted(&qemu, &["--stay"]);
            let qemu = running.qemu();
            running.signal(name);
            assert_eq!(running.status(SOON), Some(status), "{name}");
            assert!(!std::path::Path::new(&format!("/proc/{qemu}")).exists());
        }
    }
}

#[test]
fn a_second_signal_kills_a_qemu_that_does_not_react() {
    for qemu in qemus() {
        let running = greeted(&qemu, &["--stay"]);
        crate::support::signal(running.qemu(), "STOP");
        running.signal("INT");
        running.signal("TERM");
        assert_eq!(
            running.status(Duration::from_secs(10)).map(|it| it > 128),
            Some(true)
        );
    }
}

#[test]
fn a_killed_qemu_is_told_from_a_failed_command() {
    for qemu in qemus() {
        for (steps, status) in [
            (&["--stay"][..], 137),
            (&["--expect", "more"], 137),
            (&["--expect", "more", "--exec", "true"], 125),
        ] {
            let scratch = Scratch::new();
            let result = scratch.join("result.json");
            let words = [&["--result", result.to_str().unwrap()], steps].concat();
            let running = greeted(&qemu, &words);
            crate::support::signal(running.qemu(), "KILL");
            assert_eq!(running.status(SOON), Some(status), "{steps:?}");
            let written = conforms("run", &fs::read(&result).unwrap()).remove(0);
            assert_eq!(
                (&written["ended"], &written["qemu"]["signal"]),
                (&"qemu-died".into(), &9.into())
            );
        }
    }
}

#[test]
fn an_output_that_cannot_be_written_ends_the_run() {
    for qemu in qemus() {
        let mut closed = greeted(&qemu, &["--expect", "> ", "--send", "tick 1\\n", "--stay"]);
        closed.until("tick");
        let Running { child, stdout } = closed;
        drop(stdout);
        let (_, stdout) = reader();
        assert_eq!(Running { child, stdout }.status(SOON), Some(141));

        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let run = qemu
            .run(["--console", "--stay"])
            .stdin(Stdio::null())
            .stdout(full)
            .output();
        let run = run.unwrap();
        assert_eq!(run.status.code(), Some(125));
        assert!(
            text(&run.stderr).contains("No space left"),
            "{}",
            text(&run.stderr)
        );

        let run = finish(&qemu.run(["--expect", "> ", "--result", "/dev/full"]));
        assert_eq!(run.status.code(), Some(125));
        let closed = finish(&redirected(
            &qemu.run(["--console", "--expect", "> "]),
            ">&-",
        ));
        assert_eq!(closed.status.code(), Some(0), "{}", text(&closed.stderr));
    }
}

/// A reader of nothing, in place of a dropped reader.
fn reader() -> (
    std::process::ExitStatus,
    std::io::BufReader<std::process::ChildStdout>,
) {
    let mut child = Command::new("true").stdout(Stdio::piped()).spawn().unwrap();
    let stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    (child.wait().unwrap(), stdout)
}

#[test]
fn a_code_that_the_guest_chose_is_the_status() {
    let scratch = Scratch::new();
    let disk = scratch.join("boot.raw");
    // mov dx, 0xf4; mov al, 7; out dx, al; jmp $
    let mut sector = vec![0xba, 0xf4, 0x00, 0xb0, 0x07, 0xee, 0xeb, 0xfe];
    sector.resize(510, 0);
    sector.extend([0x55, 0xaa]);
    fs::write(&disk, sector).unwrap();
    let result = scratch.join("result.json");
    for qemu in qemus() {
        let mut run = qemu.run(["--timeout", "60", "--result"]);
        run.arg(&result).arg("--drive").arg(&disk);
        run.args(["--", "-device", "isa-debug-exit,iobase=0xf4,iosize=1"]);
        let output = finish(&run);
        assert_eq!(output.status.code(), Some(7), "{}", text(&output.stderr));
        let written = conforms("run", &fs::read(&result).unwrap()).remove(0);
        assert_eq!(
            (&written["ended"], &written["guest_code"]),
            (&"guest-exited".into(), &7.into())
        );
        assert_eq!(written["qemu"]["status"], 15);
    }
}
