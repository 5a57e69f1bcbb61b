//! Into a Linux guest that runs: commands, files, a shell for a person.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;

use super::console::Person;
use super::published::Place;
use crate::support::{Qemu, Running, qemus, text};

/// Runs a Linux with a shell on its console, and one with an agent.
fn start(place: &Place, qemu: &Qemu) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let run = qemu.linux("initramfs", ["--expect", "~ # "]);
            place.start(run, "shell");
        });
        let run = qemu.linux("initramfs-agent", ["--agent", "--exec", "true"]);
        place.start(run, "agent");
    });
}

#[test]
fn commands_and_files_go_into_guests_and_come_back() {
    let qemu = qemus().pop().unwrap();
    let place = Place::new();
    start(&place, &qemu);
    commands(&place);
    files(&place);
    the_console_is_used_in_turn(&place);
    a_person_gets_a_shell(&place);
    a_command_ends_with_a_reset_of_the_guest(&place);
}

fn commands(place: &Place) {
    let script = "echo \"a  b\"; echo err >&2; exit 7";
    for name in ["shell", "agent"] {
        let output = place.ask(&["exec", name, "--", "sh", "-c", script]);
        let found = (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        );
        let expected = (Some(7), "a  b\n".to_owned(), "err\n".to_owned());
        assert_eq!(found, expected, "{name}");
        let script = "read word; echo got $word";
        let mut read = place.verb(&["exec", name, "--input", "--", "sh", "-c", script]);
        let read = read.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut read = read.spawn().unwrap();
        read.stdin.take().unwrap().write_all(b"this\n").unwrap();
        let output = read.wait_with_output().unwrap();
        assert_eq!(text(&output.stdout), "got this\n", "{name}");
    }
    let missing = place.ask(&["exec", "shell", "--console", "--", "nonesuch"]);
    assert_eq!(missing.status.code(), Some(127));
    let refused = place.failed(1, &["exec", "shell", "--agent", "--", "true"]);
    assert!(
        refused.contains("has no port for a guest agent"),
        "{refused}"
    );
    let by_address = ["agent", "agent", "exec", "--", "sh", "-c", "echo hi"];
    assert_eq!(place.said(&by_address), "hi\n");
    let mut sleeping = place.verb(&["exec", "shell", "--", "sh", "-c", "echo on; sleep 60"]);
    let mut sleeping = Running::start(&mut sleeping);
    sleeping.until("on");
    sleeping.signal("INT");
    assert_eq!(sleeping.status(Duration::from_secs(30)), Some(130));
    assert_eq!(
        place.said(&["exec", "shell", "--", "echo", "free"]),
        "free\n"
    );
}

fn files(place: &Place) {
    let ours = |name: &str| place.folder.join(name).to_str().unwrap().to_owned();
    for (name, size) in [("agent", 2_500_000_u32), ("shell", 6_000), ("shell", 0)] {
        let bytes: Vec<u8> = (0..size)
            .map(|it| (it.wrapping_mul(it) >> 7).to_le_bytes()[0])
            .collect();
        let (from, back) = (ours("from"), ours("back"));
        fs::write(&from, &bytes).unwrap();
        fs::set_permissions(&from, Permissions::from_mode(0o751)).unwrap();
        place.said(&["copy", &from, &format!("{name}:/")]);
        place.said(&["copy", &format!("{name}:/from"), &back]);
        assert!(fs::read(&back).unwrap() == bytes, "{name}");
        let mode = fs::metadata(&back).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o751, "{name}");
        fs::remove_file(&back).unwrap();
        let missing = place.failed(1, &["copy", &format!("{name}:/nonesuch"), "-"]);
        assert!(missing.contains("/nonesuch"), "{missing}");
        let refused = place.failed(1, &["copy", &from, &format!("{name}:/nonesuch/x")]);
        assert!(refused.contains("/nonesuch/x"), "{refused}");
    }
    for words in [["a", "b"], ["a:/b", "c:/d"]] {
        let both = place.failed(2, &["copy", words[0], words[1]]);
        assert!(both.contains("NAME:PATH"), "{both}");
    }
    assert_eq!(
        place.said(&["copy", "shell:/proc/sys/kernel/ostype", "-"]),
        "Linux\n"
    );
}

fn the_console_is_used_in_turn(place: &Place) {
    let start = |number: usize| {
        let script = format!("echo {number}; sleep 0.2; echo {number}");
        let mut exec = place.verb(&["exec", "shell", "--", "sh", "-c", &script]);
        exec.stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let all: Vec<_> = (0..3).map(start).collect();
    for (number, exec) in all.into_iter().enumerate() {
        let output = exec.wait_with_output().unwrap();
        assert_eq!(text(&output.stdout), format!("{number}\n{number}\n"));
    }
}

/// By its own reset, or by somebody else's.
fn a_command_ends_with_a_reset_of_the_guest(place: &Place) {
    let mut exec = place.verb(&["exec", "shell", "--", "sh", "-c", "echo on; sleep 600"]);
    let exec = exec.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut exec = exec.spawn().unwrap();
    let mut output = BufReader::new(exec.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "on\n");
    place.said(&["reset", "shell"]);
    let ended = exec.wait_with_output().unwrap();
    let said = text(&ended.stderr);
    assert!(said.contains("the guest was reset"), "{said}");
    assert_eq!(ended.status.code(), Some(125), "{said}");
}

fn a_person_gets_a_shell(place: &Place) {
    let no_terminal = place.failed(2, &["shell", "shell"]);
    assert!(no_terminal.contains("no terminal"), "{no_terminal}");
    for words in [&["shell", "shell"][..], &["console", "shell"]] {
        let (person, terminal) = testbed::pseudo_terminal();
        let mut person = Person::at(person);
        let stream = || OwnedFd::try_clone(&terminal).unwrap();
        let mut verb = place.verb(words);
        let verb = verb.stdin(stream()).stdout(stream()).stderr(stream());
        let mut verb = verb.spawn().unwrap();
        person.sees("Ctrl-]");
        person.types("echo per''son\r");
        person.sees("person\r\n");
        person.types("\x1d");
        assert_eq!(verb.wait().unwrap().code(), Some(0), "{words:?}");
    }
    assert_eq!(
        place.said(&["exec", "shell", "--", "echo", "alive"]),
        "alive\n"
    );
}
