//! The examples run, on every real QEMU.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support;
use qemu_machine::display::Screenshot;

/// Runs an example, which cargo builds beside the tests, and gives what it
/// printed.
fn run(example: &str, arguments: &[PathBuf]) -> String {
    run_with(example, arguments, &[])
}

/// The same, with changes to its environment.
fn run_with(example: &str, arguments: &[PathBuf], environment: &[(&str, &Path)]) -> String {
    let output = Command::new(program(example))
        .args(arguments)
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{example}: {errors}\n{text}");
    text
}

fn program(example: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let program = tests
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .join("examples")
        .join(example);
    assert!(
        program.is_file(),
        "no {}: run `cargo build --examples`",
        program.display()
    );
    program
}

#[test]
fn boot_does_the_same_in_three_settings() {
    for qemu in support::qemus() {
        for example in ["boot", "boot_tokio", "boot_smol"] {
            let told = run(example, std::slice::from_ref(&qemu.binary));
            let lines: Vec<&str> = told.lines().collect();
            assert_eq!(lines[0], "the guest is running", "{example}");
            assert!(
                lines[1].starts_with("event SHUTDOWN"),
                "{example}: {}",
                lines[1]
            );
            assert!(
                lines[2].contains("exited with code 0"),
                "{example}: {}",
                lines[2]
            );
        }
    }
}

#[test]
fn qtest_drives_devices_and_memory() {
    for qemu in support::qemus() {
        let told = run("qtest", std::slice::from_ref(&qemu.binary));
        for expected in [
            "slot 0: 8086:1237",
            "memory: hello, memory",
            "interrupt: IRQ raise 4",
            "accelerator 'qtest'",
            "exited with code 0",
        ] {
            assert!(told.contains(expected), "no {expected:?} in:\n{told}");
        }
    }
}

#[test]
fn the_console_is_driven_like_a_person_would() {
    let linux = support::linux_guest();
    for qemu in support::qemus() {
        let files = [linux.join("vmlinux"), linux.join("initramfs")];
        let told = run(
            "console",
            &[std::slice::from_ref(&qemu.binary), files.as_slice()].concat(),
        );
        for expected in [
            "found \"login:\"\n",
            "the editor shows \"hello from the host\"\n",
            "exited with code 0",
        ] {
            assert!(told.contains(expected), "no {expected:?} in:\n{told}");
        }
    }
}

#[test]
fn the_demo_tells_the_main_job() {
    let linux = support::linux_guest();
    for qemu in support::qemus() {
        let files = [linux.join("vmlinux"), linux.join("initramfs")];
        let told = run(
            "demo",
            &[std::slice::from_ref(&qemu.binary), files.as_slice()].concat(),
        );
        for expected in [
            format!("QEMU {}", qemu.version),
            "negotiated".to_owned(),
            "hello, host".to_owned(),
            "query-status -> running".to_owned(),
            "event       SHUTDOWN".to_owned(),
            "shell       Linux 6".to_owned(),
            "by the guest (guest-shutdown)".to_owned(),
        ] {
            assert!(told.contains(&expected), "no {expected:?} in:\n{told}");
        }
    }
}

#[test]
fn introspection_asks_what_each_version_can_do() {
    for qemu in support::qemus() {
        let told = run("introspection", std::slice::from_ref(&qemu.binary));
        let answer = if qemu.version == "7.2" { "no" } else { "yes" };
        for expected in [
            "deprecated: nbd-server-add".to_owned(),
            r#"screendump takes format ["ppm", "png"]"#.to_owned(),
            "screendump/arg-type/format/^png: yes".to_owned(),
            format!("migrate/arg-type/*uri: {answer}"),
        ] {
            assert!(told.contains(&expected), "no {expected:?} in:\n{told}");
        }
    }
}

#[test]
fn the_shell_runs_commands_in_linux() {
    let linux = support::linux_guest();
    for qemu in support::qemus() {
        let files = [linux.join("vmlinux"), linux.join("initramfs")];
        let told = run(
            "shell",
            &[std::slice::from_ref(&qemu.binary), files.as_slice()].concat(),
        );
        let lines: Vec<&str> = told.lines().collect();
        assert!(lines[0].starts_with("kernel: 6."), "{told}");
        assert!(lines[1].starts_with("status 1: cat: "), "{told}");
        assert!(lines[2].contains("did not run 'sleep 1000'"), "{told}");
        assert_eq!(lines[3], "it goes on", "{told}");
    }
}

#[test]
fn monitor_speaks_with_qemu_and_writes_it_down() {
    let scratch = support::Scratch::new("monitor");
    for qemu in support::qemus() {
        let transcript = scratch.join("transcript");
        let told = run("monitor", &[qemu.binary, transcript.clone()]);
        for expected in [
            "status: running".to_owned(),
            format!("human: {}", qemu.version),
            "event: STOP".to_owned(),
            "event: RESET".to_owned(),
            "refused: DeviceNotFound".to_owned(),
            "state: begins with QEVM".to_owned(),
            "exited with code 0".to_owned(),
        ] {
            assert!(told.contains(&expected), "no {expected:?} in:\n{told}");
        }
        let written = std::fs::read_to_string(transcript).unwrap();
        assert!(written.contains("device_del"), "{written}");
    }
}

#[test]
fn jobs_are_followed_to_their_end() {
    for qemu in support::qemus() {
        let told = run("jobs", std::slice::from_ref(&qemu.binary));
        for expected in [
            "current: 16777216, total: 16777216",
            "the backup is concluded",
            "the migration is completed",
            "by the guest",
        ] {
            assert!(told.contains(expected), "no {expected:?} in:\n{told}");
        }
    }
}

#[test]
fn snapshots_are_gone_back_to() {
    let scratch = support::Scratch::new("example-snapshots");
    for qemu in support::qemus() {
        let disk = scratch.join("disk");
        let create = Command::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2"])
            .args([&disk, Path::new("1M")])
            .status();
        assert!(create.unwrap().success());
        let told = run("snapshots", &[disk, qemu.binary]);
        for expected in [
            "snapshot 'fresh' with ",
            "the guest is as it was",
            "cannot load snapshot 'older': no disk has it; existing snapshots: 'fresh'",
            "by the guest",
        ] {
            assert!(told.contains(expected), "no {expected:?} in:\n{told}");
        }
    }
}

#[test]
fn screen_sees_and_presses() {
    let scratch = support::Scratch::new("example-screen");
    for qemu in support::qemus() {
        let picture = scratch.join("shown.png");
        let told = run("screen", &[qemu.binary, picture.clone()]);
        for expected in ["a screen of 720x400", "event RESET", "the same again"] {
            assert!(told.contains(expected), "no {expected:?} in:\n{told}");
        }
        assert_eq!(Screenshot::open(picture).unwrap().width(), 720);
    }
}

#[test]
fn the_guest_agent_runs_a_program_and_carries_files() {
    let linux = support::linux_guest();
    for qemu in support::qemus() {
        let files = [linux.join("vmlinux"), linux.join("initramfs-agent")];
        let told = run(
            "guest_agent",
            &[std::slice::from_ref(&qemu.binary), files.as_slice()].concat(),
        );
        let lines: Vec<&str> = told.lines().collect();
        assert!(lines[0].starts_with("agent "), "{told}");
        assert_eq!(lines[1], r#"sorted "a\nb\nc\n""#);
        assert!(lines[2].starts_with("has ended: "), "{told}");
        assert_eq!(lines[3], "ended with Some(0)");
        assert!(lines[4].contains("guest-shutdown"), "{told}");
    }
}

#[test]
fn a_pool_has_linux_ready() {
    let linux = support::linux_guest();
    let qemu = support::qemus().remove(0);
    let files = [linux.join("vmlinuz"), linux.join("initramfs"), qemu.binary];
    let told = run("pool", &files);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!((lines[0], lines.len()), ("2 clones are ready", 4), "{told}");
    for line in &lines[1..] {
        assert!(line.starts_with("Linux 6."), "{told}");
        assert!(line.contains(" answered after "), "{told}");
    }
}

#[test]
fn template_boots_once_and_each_clone_is_another_machine() {
    let linux = support::linux_guest();
    for qemu in support::qemus() {
        let files = [linux.join("vmlinux"), linux.join("initramfs")];
        let told = run("template", &[&files[..], &[qemu.binary]].concat());
        let lines: Vec<&str> = told.lines().collect();
        assert!(lines[0].starts_with("booted in "), "{told}");
        let ids = lines[1..].iter().filter_map(|line| line.split(' ').nth(1));
        let ids: std::collections::HashSet<&str> = ids.collect();
        assert_eq!((lines.len(), ids.len()), (4, 3), "{told}");
    }
}

/// With a separate cache, so that it has only this host's findings.
#[test]
fn accel_tells_what_each_is_worth_and_boots_with_the_best() {
    let scratch = support::Scratch::new("example-accel");
    for qemu in support::qemus() {
        let told = run_with(
            "accel",
            &[qemu.binary],
            &[("XDG_CACHE_HOME", scratch.path())],
        );
        let lines: Vec<&str> = told.lines().collect();
        assert!(lines[0].starts_with("accelerators of "), "{told}");
        assert!(lines[1].starts_with("  tcg  works: "), "{told}");
        assert!(lines[2].starts_with("  kvm  "), "{told}");
        let best = if told.contains("best: kvm") {
            "kvm"
        } else {
            "tcg"
        };
        let last = format!("the guest is ready, with {best}");
        assert_eq!(lines.last(), Some(&&*last), "{told}");
    }
}

#[test]
fn interact_hands_the_guest_to_what_is_typed_and_tells_its_end() {
    for qemu in support::qemus() {
        let mut child = Command::new(program("interact"))
            .arg(&qemu.binary)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It stays open: the end of what is typed would end the session.
        let mut keys = child.stdin.take().unwrap();
        let mut shown = BufReader::new(child.stdout.take().unwrap());
        let (mut screen, mut told) = (String::new(), String::new());
        shown.read_line(&mut screen).unwrap();
        keys.write_all(b"echo typed\npoweroff\n").unwrap();
        shown.read_to_string(&mut screen).unwrap();
        let mut errors = child.stderr.take().unwrap();
        errors.read_to_string(&mut told).unwrap();
        assert!(child.wait().unwrap().success(), "{told}");
        assert!(screen.contains("tiny guest ready\r\n"), "{screen}");
        assert!(screen.contains("typed\r\n> "), "{screen}");
        assert!(told.contains("guest-shutdown"), "{told}");
    }
}
