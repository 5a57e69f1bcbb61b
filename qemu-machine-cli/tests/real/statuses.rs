//! Ends of a run that need our help: signals, outputs that nobody reads, full
//! disks, codes that the guest chose.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::status_table::redirected;
use crate::support::{Qemu, Running, Scratch, conforms, finish, qemus, text};

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
        // Nobody reads its output any more.
        let (_, silent) = reader();
        drop(std::mem::replace(&mut closed.stdout, silent));
        assert_eq!(closed.status(SOON), Some(141));

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
        let closed = finish(&redirected(&qemu.run(["--console", "--stay"]), ">&-"));
        assert_eq!(closed.status.code(), Some(125), "{}", text(&closed.stderr));
        let silent = finish(&redirected(&qemu.run(["--expect", "> "]), ">&-"));
        assert_eq!(silent.status.code(), Some(0), "{}", text(&silent.stderr));
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
