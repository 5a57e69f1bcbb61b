//! A separate process for a measurement. It is this program again; it runs each
//! line of its input as a command, and answers it.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use qemu_machine::{Console, Machine, Wait};

use super::life::{By, Recipe};
use crate::{Failure, command, sys};

/// A separate process. It ends with its input.
pub(super) struct Worker {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Worker {
    /// A process with this much memory, which launches this QEMU. The command is the
    /// way to launch; the answer is the seconds of a launch.
    pub(super) fn large(bytes: usize, qemu: &Path) -> Result<Self, Failure> {
        Self::start(&["large".into(), bytes.to_string().into(), qemu.into()])
    }

    /// A process that launches scripted peers and keeps them. The command is their
    /// number; the answer comes when all of them run.
    pub(super) fn keeper(fake_qemu: &Path) -> Result<Self, Failure> {
        Self::start(&["keeper".into(), fake_qemu.into()])
    }

    fn start(words: &[OsString]) -> Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(WORD)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().ok_or("no output")?;
        let input = child.stdin.take();
        Ok(Self {
            child,
            input,
            output: BufReader::new(output),
        })
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a command, and returns the answer.
    pub(super) fn ask(&mut self, line: &str) -> Result<String, Failure> {
        let mut input = self.input.as_ref().ok_or("the worker has ended")?;
        input.write_all(format!("{line}\n").as_bytes())?;
        let mut answer = String::new();
        self.output.read_line(&mut answer)?;
        match answer.strip_suffix('\n') {
            Some(answer) => Ok(answer.to_owned()),
            None => Err(format!("command '{line}' failed in a worker process").into()),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

/// The arguments of a process that launches and ends a machine, and then ends.
pub(crate) fn once(qemu: &Path) -> [OsString; 3] {
    [WORD.into(), "once".into(), qemu.into()]
}

/// The work of this process, if it is a worker.
pub(crate) fn run(words: impl Iterator<Item = OsString>) -> Option<Result<(), Failure>> {
    let words: Vec<_> = words.collect();
    let (first, words) = words.split_first()?;
    (first == WORD).then(|| match words {
        [kind, bytes, qemu] if kind == "large" => {
            let bytes = bytes.to_str().ok_or("not a number")?.parse()?;
            launch_from_large(bytes, Path::new(qemu))
        }
        [kind, fake_qemu] if kind == "keeper" => keep(Path::new(fake_qemu)),
        [kind, qemu] if kind == "once" => command::live(Path::new(qemu)),
        _ => Err("unknown kind of worker".into()),
    })
}

fn launch_from_large(bytes: usize, qemu: &Path) -> Result<(), Failure> {
    sys::forbid_huge_pages()?;
    let memory = std::hint::black_box(vec![1_u8; bytes]);
    let recipe = Recipe::new(qemu)?;
    answer(|line| {
        let by = By::parse(line).ok_or("unknown way to launch")?;
        Ok(by.live(&recipe)?.launch.to_string())
    })?;
    drop(std::hint::black_box(memory));
    Ok(())
}

fn keep(fake_qemu: &Path) -> Result<(), Failure> {
    let builder = Machine::builder(fake_qemu)
        .args(["-fake-script", "greet\nnegotiate\nserve"])
        .console(Console::serial());
    // Allocated now, so that only the machines make the memory grow.
    let mut kept = Vec::with_capacity(1000);
    answer(|line| {
        for _ in 0..line.parse()? {
            kept.push(builder.launch().wait()?);
        }
        Ok(kept.len().to_string())
    })
}

fn answer(mut each: impl FnMut(&str) -> Result<String, Failure>) -> Result<(), Failure> {
    for line in std::io::stdin().lines() {
        println!("{}", each(&line?)?);
    }
    Ok(())
}

/// The first word of its command line.
const WORD: &str = "worker";
