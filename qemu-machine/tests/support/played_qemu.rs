//! A QEMU with the accelerators that a test needs: a script that starts another
//! program for each.

use std::ffi::OsString;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Scratch, fake_qemu};

/// The answer of the tiny guest to the loop of a probe.
pub const ANSWER: &str = "bench 100 3177809671";

/// A script in a scratch folder, which runs in place of QEMU. It writes the
/// arguments of each start to `starts`.
pub struct PlayedQemu {
    pub binary: PathBuf,
    starts: PathBuf,
}

/// The program that plays an accelerator.
pub enum Player<'a> {
    /// The scripted peer with this script.
    Fake(&'a str),
    /// The same, after as much work as TCG has with a guest. Its time grows with
    /// the host's load, and so does the time limit of the others.
    Tcg(&'a str),
    /// A real QEMU.
    Real(&'a Path),
    /// A command of a shell.
    Shell(&'a str),
}

impl PlayedQemu {
    /// Lists these accelerators, and starts the program of each. Emulates `target`.
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

    /// The process id and the arguments of each start so far.
    pub fn starts(&self) -> Vec<String> {
        let starts = std::fs::read_to_string(&self.starts).unwrap_or_default();
        starts.lines().map(str::to_owned).collect()
    }

    /// The number of starts with this accelerator, or with `-accel help`.
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

    /// The ids of all processes so far.
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

/// Writes the program from another process. While this process has it open for
/// writing, a fork of another thread may have it open too, and exec would fail.
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
