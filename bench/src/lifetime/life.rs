//! One life of a machine: from nothing to the first possible command, and from
//! there to its end. By bare system calls, by the library, and by a fork.

use std::ffi::CString;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use qemu_machine::{Machine, MachineBuilder, Wait};

use crate::sys::{self, Bare};
use crate::{Failure, runtime};

/// The smallest PC; its guest does not run.
pub(super) struct Recipe {
    pub(super) builder: MachineBuilder,
    /// The command line of the library.
    words: Vec<CString>,
}

/// The times of launch and end, in seconds.
pub(super) struct Life {
    pub(super) launch: f64,
    pub(super) end: f64,
}

/// The way to launch and end it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// The floor: `vfork`, `execv`, blocking reads and writes, `waitpid`.
    BareCalls,
    Wait,
    Await,
    /// The same, but it reads the monitor to its end before it waits for the
    /// process.
    BareCallsHearing,
    /// The same as the floor, but with the standard library's `fork`.
    Fork,
}

impl By {
    /// Parses the name.
    pub(super) fn parse(word: &str) -> Option<Self> {
        let all = [
            Self::BareCalls,
            Self::BareCallsHearing,
            Self::Wait,
            Self::Await,
            Self::Fork,
        ];
        all.into_iter().find(|by| by.word() == word)
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::BareCalls => "bare-calls",
            Self::BareCallsHearing => "bare-calls-hearing",
            Self::Wait => "wait",
            Self::Await => "await",
            Self::Fork => "fork",
        }
    }

    pub(super) fn live(self, recipe: &Recipe) -> Result<Life, Failure> {
        match self {
            Self::BareCalls => recipe.live_bare(Met::vforked, Met::quit),
            Self::BareCallsHearing => recipe.live_bare(Met::vforked, Met::quit_and_hear),
            Self::Fork => recipe.live_bare(Met::forked, Met::quit),
            Self::Wait => recipe.live_waiting(),
            Self::Await => runtime::block_on(recipe.live_awaiting()),
        }
    }
}

impl Recipe {
    pub(super) fn new(qemu: &Path) -> Result<Self, Failure> {
        let builder = Machine::builder(qemu)
            .accel(["tcg"])
            .memory("16M")
            .args(["-nodefaults", "-S"]);
        Ok(Self {
            words: words(&builder)?,
            builder,
        })
    }

    fn live_waiting(&self) -> Result<Life, Failure> {
        let begun = Instant::now();
        let vm = self.builder.launch().wait()?;
        let launch = begun.elapsed().as_secs_f64();
        let begun = Instant::now();
        vm.shutdown().wait()?;
        let end = begun.elapsed().as_secs_f64();
        Ok(Life { launch, end })
    }

    pub(super) async fn live_awaiting(&self) -> Result<Life, Failure> {
        let begun = Instant::now();
        let vm = self.builder.launch().await?;
        let launch = begun.elapsed().as_secs_f64();
        let begun = Instant::now();
        vm.shutdown().await?;
        let end = begun.elapsed().as_secs_f64();
        Ok(Life { launch, end })
    }

    fn live_bare(
        &self,
        start: fn(&[CString]) -> Result<Met, Failure>,
        quit: fn(Met) -> Result<(), Failure>,
    ) -> Result<Life, Failure> {
        let begun = Instant::now();
        let met = start(&self.words)?;
        let launch = begun.elapsed().as_secs_f64();
        let begun = Instant::now();
        quit(met)?;
        let end = begun.elapsed().as_secs_f64();
        Ok(Life { launch, end })
    }
}

/// The command line of the library for such a machine.
pub(crate) fn words(builder: &MachineBuilder) -> Result<Vec<CString>, Failure> {
    let command_line = builder.dry_run().command_line;
    let words = command_line.words().iter();
    Ok(words
        .map(|word| sys::c_string(word))
        .collect::<Result<_, _>>()?)
}

/// A QEMU that has greeted and accepts commands.
pub(crate) struct Met {
    child: Child,
    monitor: BufReader<UnixStream>,
}

enum Child {
    Vforked(Bare),
    Forked(std::process::Child),
}

impl Met {
    pub(crate) fn vforked(words: &[CString]) -> Result<Self, Failure> {
        let (ours, theirs) = UnixStream::pair()?;
        let null = File::options().read(true).write(true).open("/dev/null")?;
        let null = null.as_fd();
        let child = sys::vfork_exec(words, &[null, null, null, theirs.as_fd()])?;
        drop(theirs);
        Self::meet(Child::Vforked(child), ours)
    }

    fn forked(words: &[CString]) -> Result<Self, Failure> {
        let (ours, theirs) = UnixStream::pair()?;
        let (program, arguments) = words.split_first().ok_or("no program")?;
        let mut command = Command::new(program.to_str()?);
        for argument in arguments {
            command.arg(argument.to_str()?);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = sys::fork_exec(&mut command, theirs.as_fd(), MONITOR)?;
        drop(theirs);
        Self::meet(Child::Forked(child), ours)
    }

    fn meet(child: Child, monitor: UnixStream) -> Result<Self, Failure> {
        let mut monitor = BufReader::new(monitor);
        let mut line = String::new();
        monitor.read_line(&mut line)?;
        if !line.starts_with(r#"{"QMP""#) {
            return Err(format!("no greeting: {line:?}").into());
        }
        monitor
            .get_mut()
            .write_all(b"{\"execute\":\"qmp_capabilities\"}\n")?;
        line.clear();
        monitor.read_line(&mut line)?;
        if !line.starts_with(r#"{"return""#) {
            return Err(format!("no capabilities: {line:?}").into());
        }
        Ok(Self { child, monitor })
    }

    pub(crate) fn quit(mut self) -> Result<(), Failure> {
        self.ask_to_quit()?;
        self.wait()
    }

    fn quit_and_hear(mut self) -> Result<(), Failure> {
        self.ask_to_quit()?;
        let mut line = String::new();
        // The stream may also end with a reset.
        while matches!(self.monitor.read_line(&mut line), Ok(1..)) {
            line.clear();
        }
        self.wait()
    }

    fn ask_to_quit(&mut self) -> Result<(), Failure> {
        let quit = b"{\"execute\":\"quit\"}\n";
        Ok(self.monitor.get_mut().write_all(quit)?)
    }

    fn wait(self) -> Result<(), Failure> {
        let ended_well = match self.child {
            Child::Vforked(child) => child.wait()? == 0,
            Child::Forked(mut child) => child.wait()?.success(),
        };
        if ended_well {
            Ok(())
        } else {
            Err("QEMU exited with a failure".into())
        }
    }
}

/// The descriptor number of the monitor in QEMU.
const MONITOR: i32 = 3;
