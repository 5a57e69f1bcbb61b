//! A QEMU whose accelerators are as a test says: a script that starts another
//! program for each.

use std::ffi::OsString;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Scratch, fake_qemu};

/// What the tiny guest's loop comes to, as a probe asks for it.
pub const ANSWER: &str = "bench 100 3177809671";

/// A script in a scratch folder, run as QEMU is. It keeps the words of each of
/// its starts in `starts`.
pub struct PlayedQemu {
    pub binary: PathBuf,
    starts: PathBuf,
}

/// Who plays an accelerator.
pub enum Player<'a> {
    /// The scripted peer, by this script.
    Fake(&'a str),
    /// The same, after as much work as TCG has with a guest: what it takes
    /// grows with the host's load, and with it what others are given.
    Tcg(&'a str),
    /// A real QEMU.
    Real(&'a Path),
    /// A command of a shell.
    Shell(&'a str),
}

impl PlayedQemu {
    /// Lists these accelerators, and has each played; emulates `target`.
    pub fn new(scratch: &Scratch, target: &str, accels: &[(&str, Player<'_>)]) -> Self {
        let binary = scratch.join("qemu-system-played");
        let starts = scratch.join("starts");
        let asked = format!(
            "greet\nnegotiate\nexpect query-target\nreply {{\"arch\": \"{target}\"}}\nserve"
        );
        let mut cases = String::new();
        let mut case = |words: &str, player: &Player<'_>| {
            let fake = |script: &str| {
                let fake = fake_qemu();
                format!("exec '{}' \"$@\" -fake-script '{script}'", fake.display())
            };
            let command = match player {
                Player::Fake(script) => fake(script),
                Player::Tcg(script) => format!(
                    "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; {}",
                    fake(script)
                ),
                Player::Real(qemu) => format!("exec '{}' \"$@\"", qemu.display()),
                Player::Shell(command) => (*command).to_owned(),
            };
            writeln!(cases, "*' {words} '*) {command} ;;").unwrap();
        };
        let names: Vec<&str> = accels.iter().map(|(name, _)| *name).collect();
        let names = names.join("\\n");
        let list = format!("printf 'Accelerators supported in QEMU binary:\\n{names}\\n'");
        case("-accel help", &Player::Shell(&list));
        case("-machine none", &Player::Fake(&asked));
        for (name, player) in accels {
            case(&format!("-accel {name}"), player);
        }
        let starts_path = starts.display();
        let script =
            format!("#!/bin/sh\necho $$ \"$*\" >>'{starts_path}'\ncase \" $* \" in\n{cases}esac\n");
        write_program(&binary, &script);
        Self { binary, starts }
    }

    /// The words that it was started with each time so far, after the process's
    /// id.
    pub fn starts(&self) -> Vec<String> {
        let starts = std::fs::read_to_string(&self.starts).unwrap_or_default();
        starts.lines().map(str::to_owned).collect()
    }

    /// How often it was started with this accelerator, or as `-accel help`.
    pub fn starts_with(&self, accel: &str) -> usize {
        let words = format!(" -accel {accel}");
        let starts = self.starts();
        let trials = starts
            .iter()
            .filter(|start| !start.contains("-machine none"));
        trials
            .filter(|start| format!("{start} ").contains(&format!("{words} ")))
            .count()
    }

    /// The ids of all its processes so far.
    pub fn pids(&self) -> Vec<u32> {
        let pid = |start: &String| start.split(' ').next().unwrap().parse().unwrap();
        self.starts().iter().map(pid).collect()
    }
}

impl From<&PlayedQemu> for OsString {
    fn from(qemu: &PlayedQemu) -> Self {
        qemu.binary.clone().into()
    }
}

/// By another process: while this one has a program open for writing, a fork of
/// another thread's may have it open too, and then it cannot be executed.
fn write_program(path: &Path, text: &str) {
    let written = Command::new("sh")
        .args([
            "-c",
            "printf %s \"$1\" >\"$2\" && chmod +x \"$2\"",
            "sh",
            text,
        ])
        .arg(path)
        .status();
    assert!(written.unwrap().success());
}
