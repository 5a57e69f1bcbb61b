//! The peer `qemu.qmp`. One Python process serves all rounds, so that its start
//! does not count.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::cost::Cost;
use crate::Failure;

pub(super) const QEMU_QMP: &str = "qemu.qmp";

/// A Python process that runs one operation of its script on request.
pub(super) struct Python {
    child: Child,
    told: Option<ChildStdin>,
    tells: BufReader<ChildStdout>,
}

impl Python {
    pub(super) fn start(program: &Path, operation: &str, socket: &Path) -> Result<Self, Failure> {
        let mut child = Command::new(program)
            .args(["-c", SCRIPT, operation])
            .arg(socket)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let tells = child.stdout.take().ok_or("no output")?;
        Ok(Self {
            told: child.stdin.take(),
            tells: BufReader::new(tells),
            child,
        })
    }

    /// One round of this number of operations.
    pub(super) fn round(&mut self, operations: u32) -> Result<Cost, Failure> {
        let told = self.told.as_mut().ok_or("the Python peer has ended")?;
        writeln!(told, "{operations}")?;
        let mut line = String::new();
        self.tells.read_line(&mut line)?;
        let mut words = line.split_whitespace().map(str::parse::<f64>);
        let mut seconds = || -> Result<f64, Failure> {
            let word = words.next().ok_or("the Python peer sent no result")?;
            Ok(word? / f64::from(operations))
        };
        Ok(Cost {
            seconds: seconds()?,
            cpu_seconds: seconds()?,
        })
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        // It ends when its input is closed.
        self.told = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const SCRIPT: &str = include_str!("../../peers/qmp.py");
