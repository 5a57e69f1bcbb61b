//! How fast a flood is drained: from the command that starts it until the
//! machine and the reader have ended.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use qemu_machine::spec::ConsoleConfig;
use qemu_machine::{Console, Machine, MachineBuilder, Wait, guests};

use crate::Failure;

/// The source of a flood.
pub(super) enum Source {
    /// The scripted peer, as fast as the socket takes it.
    Socket { program: PathBuf, bytes: u32 },
    /// The tiny guest on a real QEMU.
    Guest { program: PathBuf, bytes: u32 },
}

/// The reader of a flood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drain {
    /// `cat`, the floor.
    Cat,
    Plain,
    CatToFile,
    Logged,
    Searched,
    PastNoise,
    Shown,
}

pub(super) struct Run {
    pub(super) bytes_per_second: f64,
    /// The growth of this process's memory.
    pub(super) grown_bytes: f64,
}

impl Drain {
    pub(super) const ALL: [Self; 7] = [
        Self::Cat,
        Self::Plain,
        Self::CatToFile,
        Self::Logged,
        Self::Searched,
        Self::PastNoise,
        Self::Shown,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Cat => "floor, cat",
            Self::Plain => "ours, drained",
            Self::CatToFile => "floor, cat to file",
            Self::Logged => "ours, logged",
            Self::Searched => "ours, searched",
            Self::PastNoise => "ours, past noise",
            Self::Shown => "ours, with screen",
        }
    }

    fn config(self, log: &Path) -> ConsoleConfig {
        match self {
            Self::Cat | Self::CatToFile => Console::serial().undrained(),
            Self::Plain | Self::Searched => Console::serial(),
            Self::Logged => Console::serial().log(log),
            Self::PastNoise => Console::serial().past_escapes().past_kernel_lines(),
            Self::Shown => Console::serial().screen(),
        }
    }

    fn searches(self) -> bool {
        matches!(self, Self::Searched | Self::PastNoise)
    }
}

impl Source {
    pub(super) fn run(&self, drain: Drain) -> Result<Run, Failure> {
        let log = std::env::temp_dir().join(format!("bench-{}.log", std::process::id()));
        let result = self.measure(drain, &log);
        let _ = std::fs::remove_file(log);
        result
    }

    fn measure(&self, drain: Drain, log: &Path) -> Result<Run, Failure> {
        let vm = self.builder().console(drain.config(log)).launch().wait()?;
        let console = vm.console();
        let stream = console.take_stream();
        let cat = match (&stream, drain) {
            (Some(stream), Drain::Cat) => Some(cat(stream.try_clone()?.into(), Stdio::null())?),
            (Some(stream), _) => Some(cat(stream.try_clone()?.into(), File::create(log)?.into())?),
            (None, _) => None,
        };
        let before = resident_kib()?;
        let begun = Instant::now();
        let word = self.word();
        match &stream {
            Some(stream) => std::io::Write::write_all(&mut &*stream, word.as_bytes())?,
            None => console.send(&word).wait()?,
        }
        drop(stream);
        if drain.searches() {
            let found = console.expect("never").timeout(None).wait();
            if found.is_ok() {
                return Err("the search found a text that is not in the flood".into());
            }
        }
        if let Some(mut cat) = cat {
            cat.wait()?;
        }
        vm.wait_for_exit().timeout(None).wait()?;
        let seconds = begun.elapsed().as_secs_f64();
        Ok(Run {
            bytes_per_second: f64::from(self.bytes()) / seconds,
            grown_bytes: f64::from(resident_kib()?.saturating_sub(before)) * 1024.0,
        })
    }

    fn builder(&self) -> MachineBuilder {
        match self {
            Self::Socket { program, bytes } => Machine::builder(program).args([
                "-fake-script".to_owned(),
                format!("greet\nnegotiate\nconsole-expect go\nconsole-fill {bytes} x\nexit 0"),
            ]),
            Self::Guest { program, .. } => Machine::builder(program)
                .accel(["tcg"])
                .arg("-nodefaults")
                .firmware(guests::tiny()),
        }
    }

    /// The command that starts the flood.
    fn word(&self) -> String {
        match self {
            Self::Socket { .. } => "go".to_owned(),
            Self::Guest { bytes, .. } => format!("flood {bytes}\npoweroff\n"),
        }
    }

    fn bytes(&self) -> u32 {
        match self {
            Self::Socket { bytes, .. } | Self::Guest { bytes, .. } => *bytes,
        }
    }
}

fn cat(from: OwnedFd, to: Stdio) -> Result<std::process::Child, Failure> {
    Ok(Command::new("cat").stdin(from).stdout(to).spawn()?)
}

/// `VmRSS` of `proc(5)`.
pub(crate) fn resident_kib() -> Result<u32, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kilobytes.ok_or("no VmRSS")?.trim().parse()?)
}
