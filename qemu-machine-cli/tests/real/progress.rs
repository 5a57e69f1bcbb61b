//! The progress of a run, on a terminal: the screen that a person sees.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use crate::support::{Qemu, qemus, text};

/// A run with a terminal on standard error, in a new session.
fn on_terminal(qemu: &Qemu, terminal: &OwnedFd, words: &[&str]) -> Command {
    let run = qemu.run(words);
    // Then it is no background job, however the tests were started.
    let mut session = Command::new("setsid");
    session.arg(run.get_program()).args(run.get_args());
    session.env("LC_ALL", "C").env("TERM", "xterm");
    session.stdin(Stdio::null());
    session.stderr(OwnedFd::try_clone(terminal).unwrap());
    session
}

/// All that comes from a terminal until this text does.
fn until(terminal: &mut File, seen: &mut String, wanted: &str) {
    until_one(terminal, seen, &[wanted.to_owned()]);
}

/// All that comes from a terminal until one of these texts does.
fn until_one(terminal: &mut File, seen: &mut String, wanted: &[String]) {
    while !wanted.iter().any(|it| seen.contains(it)) {
        let mut bytes = [0; 4096];
        let count = terminal.read(&mut bytes).unwrap_or(0);
        assert_ne!(count, 0, "{wanted:?} was not shown: {seen:?}");
        *seen += &text(&bytes[..count]);
    }
}

/// All that comes from a terminal that has no other end any more.
fn rest(terminal: &mut File, seen: &mut String) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = terminal.read(&mut bytes) {
        *seen += &text(&bytes[..count]);
    }
}

/// What is left on the screen: each `\r\x1b[K` takes its line away.
fn screen(seen: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in seen.split("\r\n") {
        lines.push(line.rsplit("\r\x1b[K").next().unwrap().to_owned());
    }
    lines.join("\n")
}

#[test]
fn a_long_wait_is_shown_and_vanishes() {
    for qemu in qemus() {
        let (mut person, terminal) = testbed::pseudo_terminal();
        let words = ["--expect", "non\\nesuch", "--expect", "more"];
        let mut run = on_terminal(&qemu, &terminal, &words);
        let mut child = run.stdout(Stdio::piped()).spawn().unwrap();
        drop((run, terminal));
        let mut seen = String::new();
        until(
            &mut person,
            &mut seen,
            "\x1b[?7l| waiting for 'non\\nesuch' (",
        );
        // It moves, and time passes.
        let seconds = |count| format!(" waiting for 'non\\nesuch' ({count} s)\x1b[?7h");
        until_one(&mut person, &mut seen, &[1, 2, 3, 4, 5].map(seconds));
        crate::support::signal(child.id(), "INT");
        rest(&mut person, &mut seen);
        assert_eq!(child.wait().unwrap().code(), Some(130));
        assert_eq!(screen(&seen), "", "{seen:?}");
    }
}

#[test]
fn a_message_comes_after_the_progress_and_not_into_it() {
    let qemu = qemus().remove(0);
    let (mut person, terminal) = testbed::pseudo_terminal();
    let words = ["--step-timeout", "3", "--expect", "nonesuch"];
    let mut run = on_terminal(&qemu, &terminal, &words);
    let mut child = run.stdout(Stdio::null()).spawn().unwrap();
    drop((run, terminal));
    let mut seen = String::new();
    rest(&mut person, &mut seen);
    assert_eq!(child.wait().unwrap().code(), Some(124));
    assert!(seen.contains(" waiting for 'nonesuch' ("), "{seen:?}");
    let screen = screen(&seen);
    assert!(
        screen.starts_with("qemu-machine: \x1b[1;31merror:\x1b[0m ") && !screen.contains("waiting"),
        "{screen:?}"
    );
}

#[test]
fn nobody_at_a_terminal_or_a_live_console_has_no_progress() {
    let qemu = qemus().remove(0);
    let words = ["--step-timeout", "0.8", "--expect", "nonesuch"];
    // A pipe, a terminal that can do nothing, and a live console.
    let piped = crate::support::finish(&qemu.run(words));
    assert!(!text(&piped.stderr).contains("waiting"), "{piped:?}");
    for (term, more) in [("dumb", None), ("xterm", Some("--console=stderr"))] {
        let (mut person, terminal) = testbed::pseudo_terminal();
        let words: Vec<&str> = words.into_iter().chain(more).collect();
        let mut run = on_terminal(&qemu, &terminal, &words);
        let mut child = run.env("TERM", term).stdout(Stdio::null()).spawn().unwrap();
        drop((run, terminal));
        let mut seen = String::new();
        rest(&mut person, &mut seen);
        assert_eq!(child.wait().unwrap().code(), Some(124));
        assert!(!seen.contains("waiting"), "{seen:?}");
    }
}
