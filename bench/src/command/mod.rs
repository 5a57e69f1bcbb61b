//! The command `qemu-machine`, compared with a program that uses the library for
//! the same work.

mod exec;
mod run;
mod size;

use std::process::{Command, Stdio};
use std::time::Instant;

use crate::Failure;
use crate::operation::{Bar, Limit, Operation, Unit};
use crate::setting::Setting;
use crate::topic::Topic;
use crate::turns::{Contender, in_turns};

pub(crate) use run::live;

pub(crate) const TOPIC: Topic = Topic {
    rows: &[START, RUN, EXEC, BINARY],
    measure,
};

fn measure(setting: &Setting) -> Result<Vec<Operation>, Failure> {
    let mut operations = Vec::new();
    if setting.wants(START) {
        operations.push(start(setting)?);
    }
    if setting.wants(RUN) {
        operations.push(run::measure(setting)?);
    }
    if setting.wants(EXEC) {
        operations.push(exec::measure(setting)?);
    }
    if setting.wants(BINARY) {
        operations.push(size::measure(setting)?);
    }
    Ok(operations)
}

fn start(setting: &Setting) -> Result<Operation, Failure> {
    let contenders = vec![
        Contender::new(FLOOR_TRUE, || timed(Command::new("true").arg("--version"))),
        Contender::new(COMMAND, || {
            timed(Command::new(&setting.command).arg("--version"))
        }),
    ];
    Ok(Operation {
        id: START,
        name: "the start of the command".into(),
        about: "From the start of `qemu-machine --version` to its end, as a child of the bench. \
                The floor is the program `true` with the same argument."
            .into(),
        unit: Unit::Seconds,
        contenders: in_turns(setting.size(200, 3), contenders)?,
        bars: vec![Bar {
            who: COMMAND,
            limit: Limit::AtMost(0.010),
        }],
    })
}

/// The time of a program from its start to its end, which must be a success.
fn timed(command: &mut Command) -> Result<f64, Failure> {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let begun = Instant::now();
    let status = command.status()?;
    let time = begun.elapsed().as_secs_f64();
    if status.success() {
        Ok(time)
    } else {
        Err(format!("{command:?}: {status}").into())
    }
}

/// A verb of the command with this QEMU.
fn verb(setting: &Setting, verb: &str) -> Command {
    let mut command = Command::new(&setting.command);
    command.arg(verb).arg("--qemu").arg(&setting.qemu);
    command.args(["--accel", "tcg"]);
    command
}

const COMMAND: &str = "ours, the command";
const FLOOR_TRUE: &str = "floor, `true`";
const FLOOR_PROGRAM: &str = "floor, a program";

const START: &str = "command-start";
const RUN: &str = "command-run";
const EXEC: &str = "command-exec";
const BINARY: &str = "command-binary";
