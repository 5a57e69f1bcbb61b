//! The full screen, on a real terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command};

use crate::qom::Objects;
use crate::support::{BINARY, Scratch, command, finish, qemus, signal, text};

/// A person at a terminal on which a program runs.
struct Person {
    keyboard: File,
    terminal: OwnedFd,
    screen: vt100::Parser,
    settings: String,
}

impl Person {
    fn new() -> Self {
        let (person, terminal) = testbed::pseudo_terminal();
        let mut this = Self {
            keyboard: person,
            terminal,
            screen: vt100::Parser::new(24, 100, 0),
            settings: String::new(),
        };
        this.stty(&["rows", "24", "cols", "100"]);
        this.settings = this.stty(&["-g"]);
        this
    }

    fn stream(&self) -> OwnedFd {
        self.terminal.try_clone().unwrap()
    }

    fn stty(&self, words: &[&str]) -> String {
        let mut stty = Command::new("stty");
        text(
            &stty
                .args(words)
                .stdin(self.stream())
                .output()
                .unwrap()
                .stdout,
        )
    }

    /// Starts it, with this terminal as its own: so it learns of a new size.
    fn runs(&self, words: &[&Path]) -> Child {
        let mut run = Command::new("env");
        run.args(["--default-signal=INT,TERM,HUP", "TERM=xterm-256color"]);
        run.args(["setsid", "--ctty", BINARY, "tui"]).args(words);
        let run = run.stdin(self.stream()).stdout(self.stream());
        run.stderr(self.stream()).spawn().unwrap()
    }

    /// Reads until the screen has this text.
    fn sees(&mut self, wanted: &str) {
        while !self.screen.screen().contents().contains(wanted) {
            self.reads(wanted);
        }
    }

    fn reads(&mut self, wanted: &str) {
        let mut bytes = [0; 4096];
        let count = self.keyboard.read(&mut bytes).unwrap_or(0);
        let contents = self.screen.screen().contents();
        assert_ne!(count, 0, "'{wanted}' was not shown: {contents}");
        self.screen.process(&bytes[..count]);
    }

    fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// The program ends with this status, and the terminal is as it was.
    fn gets_the_terminal_back(&mut self, mut child: Child, status: Option<i32>) {
        while self.screen.screen().alternate_screen() {
            self.reads("the screen of before");
        }
        assert_eq!(child.wait().unwrap().code(), status);
        assert!(!self.screen.screen().hide_cursor());
        assert_eq!(self.stty(&["-g"]), self.settings);
    }
}

fn quit(objects: &Objects) {
    let mut quit = command();
    let quit = quit.arg("qmp").arg(objects.scratch.join("qmp2"));
    assert!(finish(quit.arg("quit")).status.success());
}

#[test]
fn the_traffic_is_shown_and_commands_are_sent() {
    for qemu in qemus() {
        let objects = Objects::new(&qemu);
        let mut person = Person::new();
        let child = person.runs(&[&objects.socket()]);
        person.sees("0 of 0 messages | following");
        person.types(":stop\r");
        person.sees("> stop ");
        person.sees("< STOP ");
        person.sees("< stop ");
        person.sees("stop is done");
        person.types(":qom-get path=/machine property=type\r");
        person.sees(r#""pc-i440fx-"#);
        person.types(":nonesuch\r");
        person.sees("The command nonesuch has not been found");
        person.types("fevent\r");
        person.sees("| 1 of 7 messages | filter: event");
        person.sees(r#""event": "STOP""#);
        person.types("?");
        person.sees("search for text");
        person.types("x/stop\r");
        let file = objects.scratch.join("saved.json");
        person.types(&format!("s{}\r", file.display()));
        person.sees("saved to ");
        assert!(std::fs::read_to_string(&file).unwrap().contains("\"STOP\""));
        person.screen.screen_mut().set_size(30, 130);
        person.stty(&["rows", "30", "cols", "130"]);
        // Beside each other now.
        person.sees("┐┌");
        person.types("q");
        person.gets_the_terminal_back(child, Some(0));
        objects.end();
    }
}

#[test]
fn the_terminal_is_given_back_however_it_ends() {
    let objects = Objects::new(&qemus().remove(0));
    let mut person = Person::new();
    for (name, status) in [("TERM", 143), ("INT", 130), ("HUP", 129)] {
        let child = person.runs(&[&objects.socket()]);
        person.sees("0 of 0 messages");
        signal(child.id(), name);
        person.gets_the_terminal_back(child, Some(status));
    }
    let child = person.runs(&[&objects.socket()]);
    person.sees("0 of 0 messages");
    person.types("\x03");
    person.gets_the_terminal_back(child, Some(0));

    let child = person.runs(&[&objects.socket()]);
    person.sees("0 of 0 messages");
    quit(&objects);
    person.sees("SHUTDOWN");
    person.sees("no more messages: ");
    // What was seen can still be read.
    person.types("g");
    person.types("q");
    person.gets_the_terminal_back(child, Some(0));
}

#[test]
fn a_transcript_is_replayed() {
    let qemu = qemus().remove(0);
    let scratch = Scratch::new();
    let transcript = scratch.join("qmp.jsonl");
    let mut run = qemu.run(["--expect", "> ", "--transcript"]);
    assert!(finish(run.arg(&transcript)).status.success());
    let mut person = Person::new();
    let child = person.runs(&[Path::new("--replay"), &transcript]);
    person.sees("greeting");
    person.sees("> qmp_capabilities");
    person.types("/SHUTDOWN\r");
    person.sees(r#""reason": "#);
    person.types("q");
    person.gets_the_terminal_back(child, Some(0));
}
