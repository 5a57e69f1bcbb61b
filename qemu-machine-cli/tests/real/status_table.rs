//! The table of statuses: each end of a run has its status, and its name in the
//! result. It runs on every QEMU: in a pipe, with closed standard input, and on
//! a terminal.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::support::{Qemu, Scratch, bounded, command, conforms, finish, qemus, text};

/// A run that ends without our help.
struct Row {
    name: &'static str,
    words: &'static [&'static str],
    status: i32,
    /// Its name in the result; empty if none is written.
    ended: &'static str,
    place: Place,
}

/// Where a run is.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Plain,
    /// In a shell that changes its standard output by this script.
    Shell(&'static str),
    /// Its QEMU is killed once it has used the processor for a second.
    Killed,
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
        place: Place::Plain,
    }
}

/// A run that shows its console, with another standard output.
const fn row_with_output(name: &'static str, script: &'static str, status: i32) -> Row {
    Row {
        place: Place::Shell(script),
        ..row(
            name,
            &["--console=stdout", "--stay"],
            status,
            "output-failed",
        )
    }
}

/// Stands for a machine's name.
const NAME: &str = "NAME";

/// The reader has ended before the run begins.
const UNREAD: &str = "exec 3> >(true); wait $!; exec \"$0\" \"$@\" >&3 3>&-";

const READY: &str = "> ";

/// Makes the guest compute for hours.
const BUSY: &str = "bench 999999999\\n";

const ROWS: [Row; 47] = [
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
            "@tiny.bin",
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
            "@tiny.bin",
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
            "@tiny.bin",
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
        &["--timeout", "3", "--stay"],
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
        "a kernel is no kernel",
        &["--kernel", "@empty.img"],
        1,
        "not-launched",
    ),
    row(
        "no memory is so large",
        &["--memory", "lots"],
        1,
        "not-launched",
    ),
    row(
        "a socket has no directory",
        &["--qmp", "/nonesuch/qmp"],
        1,
        "not-launched",
    ),
    row(
        "nothing can be booted",
        &[
            "--step-timeout",
            "0.3",
            "--expect",
            "login:",
            "--drive",
            "@empty.img",
        ],
        124,
        "timed-out",
    ),
    row(
        "the boot fails, and the guest resets",
        &[
            "--expect",
            "login:",
            "--drive",
            "@reset.img",
            "--",
            "-no-reboot",
        ],
        1,
        "guest-reset",
    ),
    row(
        "a log has no directory",
        &["--log-dir", "/dev/null/logs"],
        125,
        "",
    ),
    row(
        "a transcript has no directory",
        &["--transcript", "/nonesuch/transcript"],
        1,
        "not-launched",
    ),
    row(
        "the disk of a transcript is full",
        &["--expect", READY, "--transcript", "/dev/full"],
        125,
        "output-failed",
    ),
    row(
        "the disk of a log is full",
        &["--expect", READY, "--name", NAME, "--log-dir", "@full-logs"],
        125,
        "output-failed",
    ),
    row_with_output("standard output is closed", "exec \"$0\" \"$@\" >&-", 125),
    row_with_output("nobody reads standard output", UNREAD, 141),
    row_with_output(
        "the disk of standard output is full",
        "exec \"$0\" \"$@\" >/dev/full",
        125,
    ),
    Row {
        place: Place::Killed,
        ..row(
            "QEMU is killed",
            &["--expect", READY, "--send", BUSY, "--stay"],
            137,
            "qemu-died",
        )
    },
    // From here on, not on a real QEMU.
    row(
        "no QEMU has this name",
        &["--qemu", "qemu-system-nonesuch"],
        127,
        "not-launched",
    ),
    row(
        "no QEMU is there",
        &["--qemu", "/nonesuch/qemu"],
        127,
        "not-launched",
    ),
    row(
        "QEMU cannot be executed",
        &["--qemu", "@plain"],
        126,
        "not-launched",
    ),
    row("QEMU is a directory", &["--qemu", "/"], 126, "not-launched"),
    row(
        "QEMU lacks its interpreter",
        &["--qemu", "@dead"],
        127,
        "not-launched",
    ),
    row(
        "QEMU exits with 255",
        &["--qemu", "@failing"],
        1,
        "not-launched",
    ),
    row(
        "QEMU exits with 255, and a command is left",
        &["--qemu", "@failing", "--exec", "true"],
        125,
        "not-launched",
    ),
    row(
        "QEMU is silent",
        &["--qemu", "@silent", "--timeout", "0.3"],
        124,
        "not-launched",
    ),
];

/// A folder with the files that the rows name with an `@`.
fn files() -> Scratch {
    let scratch = Scratch::new();
    let write = |name: &str, bytes: &[u8]| fs::write(scratch.join(name), bytes).unwrap();
    write("tiny.bin", qemu_machine::guests::tiny().image());
    write("empty.img", &[0; 512]);
    // jmp 0xf000:0xfff0
    let mut sector = vec![0xea, 0xf0, 0xff, 0x00, 0xf0];
    sector.resize(510, 0);
    write("reset.img", &[&sector[..], &[0x55, 0xaa]].concat());
    write("plain", b"no program");
    let mode = fs::Permissions::from_mode(0o644);
    fs::set_permissions(scratch.join("plain"), mode).unwrap();
    scratch.program("dead", "#!/nonesuch/interpreter\n");
    scratch.program("failing", "#!/bin/sh\necho went wrong >&2; exit 255\n");
    scratch.program("silent", "#!/bin/sh\nexec sleep 100\n");
    fs::create_dir(scratch.join("full-logs")).unwrap();
    let log = scratch.join("full-logs").join(name(&scratch) + ".console");
    symlink("/dev/full", log).unwrap();
    scratch
}

/// A machine's name that no other test has.
fn name(files: &Scratch) -> String {
    text(files.path().file_name().unwrap().as_encoded_bytes())
}

/// This QEMU with a limit, at which the kernel kills it.
fn limited(files: &Scratch, qemu: &Qemu) -> PathBuf {
    let program = files.join(&format!("limited-{}", qemu.version));
    if !program.exists() {
        let binary = qemu.binary.display();
        let script = format!("#!/bin/sh\nulimit -t 1\nexec '{binary}' \"$@\"\n");
        files.program(&format!("limited-{}", qemu.version), &script);
    }
    program
}

/// Runs the table; `finish` runs one command, and returns its status and what it
/// said.
fn run_table(finish: impl Fn(&Command) -> (Option<i32>, String)) {
    let files = files();
    let result = files.join("result.json");
    let mut wrong = Vec::new();
    let mut try_row = |row: &Row, mut run: Command, version: &str| {
        let _ = fs::remove_file(&result);
        run.arg("--result").arg(&result);
        run.args(row.words.iter().map(|word| match word.strip_prefix('@') {
            _ if *word == NAME => name(&files).into(),
            Some(name) => files.join(name),
            None => PathBuf::from(word),
        }));
        if let Place::Shell(script) = row.place {
            run = in_shell(&run, script);
        }
        let (status, said) = finish(&run);
        let written = fs::read(&result);
        let written = written
            .map(|it| conforms("run", &it).remove(0))
            .unwrap_or_default();
        let ended = written["ended"].as_str().unwrap_or_default();
        if (status, ended) != (Some(row.status), row.ended) {
            let name = row.name;
            wrong.push(format!(
                "{name}, QEMU {version}: {status:?} {ended}\n{said}"
            ));
        }
        if !ended.is_empty() && written["status"] != row.status {
            wrong.push(format!("{}: {written}", row.name));
        }
        // A failure is explained, but not a reader that has gone.
        if ![0, 141].contains(&row.status) && !said.contains("error:") {
            wrong.push(format!("{}: no error: {said}", row.name));
        }
    };
    let (others, real): (Vec<&Row>, Vec<&Row>) =
        ROWS.iter().partition(|row| row.words.contains(&"--qemu"));
    for qemu in qemus() {
        for row in &real {
            let mut qemu = qemu.clone();
            if row.place == Place::Killed {
                qemu.binary = limited(&files, &qemu);
            }
            try_row(row, qemu.run::<&str>([]), &qemu.version);
        }
    }
    for row in others {
        let mut run = command();
        run.arg("run");
        try_row(row, run, "none");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The same command, from a shell that redirects what it has.
pub(crate) fn redirected(command: &Command, redirection: &str) -> Command {
    in_shell(command, &format!("exec \"$0\" \"$@\" {redirection}"))
}

/// The same command in a script, where it is `"$0" "$@"`.
fn in_shell(command: &Command, script: &str) -> Command {
    let mut shell = Command::new("bash");
    shell.args(["-c", script]);
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
