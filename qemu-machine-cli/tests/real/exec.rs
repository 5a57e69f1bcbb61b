//! Commands in a Linux guest: their output and status become the command's.

use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::process::{ChildStdout, Stdio};
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::published::Place;
use crate::support::{Running, Scratch, bounded, conforms, finish, qemus, text};

#[test]
fn a_command_by_the_shell_has_its_output_and_its_status() {
    let table = [
        ("echo before; nonesuch-program", 127, &b"before\n"[..]),
        ("kill -9 $(sh -c 'echo $PPID')", 137, &b""[..]),
    ];
    for (qemu, (command, status, stdout)) in qemus()
        .iter()
        .flat_map(|it| table.iter().map(move |row| (it, row)))
    {
        let run = qemu.linux("initramfs", ["--expect", "~ # ", "--exec", command]);
        let output = finish(&run);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(*status), "{command}: {stderr}");
        assert!(
            output.stdout.starts_with(stdout),
            "{command}: {}",
            text(&output.stdout)
        );
    }
}

#[test]
fn the_first_command_that_fails_is_the_last() {
    let scratch = Scratch::new();
    let result = scratch.join("result.json");
    let qemu = qemus().pop().unwrap();
    let mut run = qemu.linux("initramfs", ["--expect", "~ # "]);
    run.args([
        "--exec",
        "printf 'a\\000b\\r\\n'",
        "--exec",
        "exit 124",
        "--exec",
        "echo three",
    ]);
    let output = finish(run.arg("--result").arg(&result));
    assert_eq!(
        (output.status.code(), &*text(&output.stdout)),
        (Some(124), "a\0b\r\n")
    );
    let written = conforms("run", &fs::read(result).unwrap()).remove(0);
    assert_eq!(
        (&written["ended"], &written["command"]["status"]),
        (&"command-ended".into(), &124.into())
    );
}

#[test]
fn a_command_by_the_agent_has_its_streams_apart() {
    let table = [
        ("echo out; echo err >&2; exit 255", 255, "out\n", "err\n"),
        ("echo out; kill -9 $$", 137, "out\n", ""),
    ];
    // Each row on the next QEMU: a boot takes its time.
    for (qemu, (command, status, stdout, stderr)) in qemus().iter().cycle().zip(&table) {
        let run = qemu.linux("initramfs-agent", ["--agent", "--exec", command]);
        let output = finish(&run);
        let found = (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        );
        assert_eq!(
            found,
            (Some(*status), (*stdout).to_owned(), (*stderr).to_owned())
        );
    }
}

#[test]
fn a_large_output_comes_whole() {
    let qemu = qemus().pop().unwrap();
    let command = "busybox yes 0123456789 | busybox head -c 1500000";
    for words in [["--expect", "~ # "], ["--step-timeout", "60"]] {
        let is_agents = words[0] != "--expect";
        let initramfs = if is_agents {
            "initramfs-agent"
        } else {
            "initramfs"
        };
        let mut run = qemu.linux(initramfs, words);
        if is_agents {
            run.arg("--agent");
        }
        let output = finish(run.args(["--exec", command]));
        let stderr = text(&output.stderr);
        assert_eq!(output.stdout.len(), 1_500_000, "{words:?}: {stderr}");
        let lines = output.stdout.chunks(11);
        assert!(lines.take(136_363).all(|line| line == b"0123456789\n"));
    }
}

#[test]
fn a_command_has_our_input_and_its_errors_apart_by_either_way() {
    let qemu = qemus().remove(0);
    let command = "busybox cat; echo err >&2; exit 3";
    for words in [["--expect", "~ # "], ["--step-timeout", "60"]] {
        let is_agents = words[0] != "--expect";
        let initramfs = if is_agents {
            "initramfs-agent"
        } else {
            "initramfs"
        };
        let mut run = qemu.linux(initramfs, words);
        if is_agents {
            run.arg("--agent");
        }
        run.args(["--exec", command, "--exec-stdin"]);
        let mut run = bounded(&run)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let input: Vec<u8> = (0..=255).cycle().take(9000).collect();
        run.stdin.take().unwrap().write_all(&input).unwrap();
        let output = run.wait_with_output().unwrap();
        let stderr = text(&output.stderr);
        assert_eq!((output.status.code(), &*stderr), (Some(3), "err\n"));
        assert!(
            output.stdout == input,
            "{words:?}: {} bytes",
            output.stdout.len()
        );
    }
}

#[test]
fn output_is_live() {
    let qemu = qemus().pop().unwrap();
    let command = "echo one; busybox sleep 1000";
    let mut run = qemu.linux("initramfs-agent", ["--agent", "--exec", command]);
    let mut running = Running::start(&mut run);
    running.until("one");
    running.signal("INT");
    assert_eq!(running.status(Duration::from_secs(20)), Some(130));
}

#[test]
fn a_login_takes_the_shell_that_is_there() {
    let qemu = qemus().remove(0);
    let run = qemu.linux("initramfs", ["--login", "root", "--exec", "id -u"]);
    let output = finish(&run);
    let stderr = text(&output.stderr);
    assert_eq!(
        (output.status.code(), &*text(&output.stdout)),
        (Some(0), "0\n"),
        "{stderr}"
    );
}

#[test]
fn output_that_nobody_reads_keeps_no_machine_from_its_stop() {
    let place = Place::new();
    let qemu = qemus().pop().unwrap();
    let flood = "while :; do echo a line of some length that nobody ever reads; done";
    let steps = ["--name", "unread", "--expect", "~ # ", "--exec", flood];
    let mut run = qemu.linux("initramfs", steps);
    place.here(&mut run);
    let mut running = Running::start(&mut run);
    running.until("a line");
    // Nothing announces that.
    while !is_full(running.stdout.get_ref()) {
        thread::yield_now();
    }
    assert_eq!(place.said(&["stop", "unread"]), "unread\n");
    assert_eq!(running.status(Duration::from_secs(10)), Some(125));
}

/// Whether a pipe takes no more.
fn is_full(pipe: &ChildStdout) -> bool {
    let path = format!("/proc/self/fd/{}", pipe.as_raw_fd());
    let writer = fs::File::options().write(true).open(path).unwrap();
    let mut fds = [PollFd::new(writer.as_fd(), PollFlags::POLLOUT)];
    poll(&mut fds, PollTimeout::ZERO).unwrap() == 0
}
