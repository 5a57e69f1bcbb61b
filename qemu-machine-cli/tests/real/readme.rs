//! The session in the repository's README: its commands run on every QEMU, and
//! must print what the page shows. With `UPDATE` in the environment, the page
//! gets what they print.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::{BINARY, Qemu, Scratch, bounded, linux_guest, qemus, text};

/// A command of the session, which may have several lines, and what it printed.
struct Turn {
    command: String,
    printed: String,
}

#[test]
fn the_session_in_the_readme_is_true() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let text = fs::read_to_string(&page).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (session, after) = rest.split_once(END).unwrap();
    let turns = read(session);
    assert!(turns.len() > 3, "{session}");
    for qemu in qemus() {
        let printed = play(&turns, &qemu);
        if std::env::var_os("UPDATE").is_some() {
            let page_text = [before, BEGIN, &write(&turns, &printed), END, after];
            return fs::write(&page, page_text.concat()).unwrap();
        }
        for (turn, printed) in turns.iter().zip(&printed) {
            assert_eq!(
                without_times(&turn.printed),
                without_times(printed),
                "QEMU {}: {}\n\
                 UPDATE=1 cargo test -p qemu-machine-cli --test real readme",
                qemu.version,
                turn.command,
            );
        }
    }
}

const BEGIN: &str = "```console\n";
const END: &str = "```\n";

/// Reads the session. A command begins with `$ `, and goes on after a backslash.
fn read(session: &str) -> Vec<Turn> {
    let mut turns: Vec<Turn> = Vec::new();
    let mut goes_on = false;
    for line in session.lines() {
        let begin = line.strip_prefix("$ ").filter(|_| !goes_on);
        if let Some(command) = begin {
            turns.push(Turn {
                command: command.to_owned(),
                printed: String::new(),
            });
        } else {
            let turn = turns.last_mut().expect("a session begins with a command");
            let part = if goes_on {
                turn.command.push('\n');
                &mut turn.command
            } else {
                &mut turn.printed
            };
            part.push_str(line);
            if !goes_on {
                part.push('\n');
            }
        }
        goes_on = (goes_on || begin.is_some()) && line.ends_with('\\');
    }
    turns
}

fn write(turns: &[Turn], printed: &[String]) -> String {
    let mut session = String::new();
    for (Turn { command, .. }, printed) in turns.iter().zip(printed) {
        write!(session, "$ {command}\n{printed}").unwrap();
    }
    session
}

/// Runs the commands in one shell, which finds this QEMU and this command, in a
/// folder with a Linux. The result is what each printed.
fn play(turns: &[Turn], qemu: &Qemu) -> Vec<String> {
    let scratch = Scratch::new();
    let programs = scratch.join("bin");
    fs::create_dir(&programs).unwrap();
    symlink(&qemu.binary, programs.join("qemu-system-x86_64")).unwrap();
    symlink(BINARY, programs.join("qemu-machine")).unwrap();
    for name in ["vmlinuz", "initramfs"] {
        symlink(linux_guest().join(name), scratch.join(name)).unwrap();
    }
    let mut script = String::from("exec 2>&1\n");
    for Turn { command, .. } in turns {
        // The mark keeps the status for the next command.
        writeln!(script, "{command}\nmark $?").unwrap();
    }
    let script = format!("mark() {{ printf '{MARK}'; return $1; }}\n{script}");
    let mut shell = bounded(Command::new("bash").args(["-c", &script]));
    let paths = [programs, PathBuf::from(std::env::var("PATH").unwrap())];
    let paths = paths.map(|it| it.to_str().unwrap().to_owned());
    shell.env("PATH", paths.join(":")).env("LC_ALL", "C");
    shell.current_dir(scratch.path()).stdin(Stdio::null());
    let output = shell.output().unwrap();
    let printed = text(&output.stdout).replace('\r', "");
    let mut printed: Vec<String> = printed.split(MARK).map(with_ends).collect();
    assert_eq!(printed.pop(), Some(String::new()), "{printed:?}");
    assert_eq!(printed.len(), turns.len(), "{printed:?}");
    printed
}

const MARK: &str = "<next turn>";

/// Each line without blanks at its end, and the last one with an end.
fn with_ends(printed: &str) -> String {
    let lines = printed
        .lines()
        .map(|line| line.trim_end().to_owned() + "\n");
    lines.collect()
}

/// Replaces spans of time, which differ each time.
fn without_times(printed: &str) -> String {
    let mut replaced = String::new();
    let mut rest = printed;
    while let Some(at) = rest.find(|it: char| it.is_ascii_digit()) {
        let number = &rest[at..];
        let is_number = |it: char| it.is_ascii_digit() || it == '.';
        let length = number.find(|it| !is_number(it)).unwrap_or(number.len());
        let (number, after) = number.split_at(length);
        replaced.push_str(&rest[..at]);
        let unit = ["ms", "µs", "s"].into_iter().find(|unit| {
            let next = after.strip_prefix(unit).map(|it| it.chars().next());
            next.is_some_and(|next| !next.is_some_and(char::is_alphanumeric))
        });
        if let Some(unit) = unit {
            replaced.push_str("TIME");
            rest = &after[unit.len()..];
        } else {
            replaced.push_str(number);
            rest = after;
        }
    }
    replaced + rest
}

#[test]
fn spans_of_time_are_no_difference() {
    let table = [
        ("after 68.8ms, (1.2s)", "after TIME, (TIME)"),
        ("9.5µs", "TIME"),
        ("status 3\n5 steps 4sets", "status 3\n5 steps 4sets"),
    ];
    for (printed, replaced) in table {
        assert_eq!(without_times(printed), replaced);
    }
}
