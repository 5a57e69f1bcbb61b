//! From the options to a machine: which QEMU, with which arguments.

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use qemu_machine::spec::{Drive, OptionGroup, Tee};
use qemu_machine::{Accel, Console, Machine, MachineBuilder, guests};

use super::{Live, Run};
use crate::attention::{Attention, Call};
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::output;

/// What the machine is. With none of these, it is the tiny guest that is built
/// in.
#[derive(Debug, Args)]
#[command(next_help_heading = "Machine")]
pub(super) struct MachineOptions {
    /// The QEMU to run; by default that of this processor, from PATH
    #[arg(long, value_name = "BINARY")]
    qemu: Option<OsString>,

    /// The machine's name, by which other verbs find it; qemu-PID by default
    #[arg(long)]
    name: Option<String>,

    /// The machine's type: q35, microvm, virt
    #[arg(long, value_name = "TYPE")]
    machine: Option<OsString>,

    /// A Linux kernel to boot
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,

    /// The kernel's initial file system
    #[arg(long, value_name = "FILE")]
    initrd: Option<PathBuf>,

    /// The kernel's command line
    #[arg(long, value_name = "TEXT")]
    append: Option<OsString>,

    /// A disk: a file, or what QEMU's own -drive takes (file=…,if=…)
    #[arg(long, value_name = "DISK")]
    drive: Vec<OsString>,

    /// The guest's memory: 256M, 2G
    #[arg(long, value_name = "SIZE")]
    memory: Option<OsString>,

    /// How many processors the guest has
    #[arg(long, value_name = "NUMBER")]
    smp: Option<u32>,

    /// The accelerators to try, in order; best tries them all and takes the
    /// fastest
    #[arg(long, value_name = "best|NAME", value_delimiter = ',')]
    accel: Vec<String>,

    /// Gives the guest a port for its agent, and runs --exec by the agent
    #[arg(long)]
    pub(super) agent: bool,

    /// Also serves QMP on this unix socket, for `qemu-machine qmp`; one client
    /// at a time, so give it again for another
    #[arg(long, value_name = "SOCKET")]
    pub(super) qmp: Vec<PathBuf>,

    /// Keeps the logs of QEMU and of the console in this directory
    #[arg(long, value_name = "DIRECTORY")]
    pub(super) log_dir: Option<PathBuf>,

    /// Writes every message of the monitor to this file
    #[arg(long, value_name = "FILE")]
    transcript: Option<PathBuf>,

    /// Writes QEMU's own output live to standard error
    #[arg(long)]
    qemu_output: bool,
}

impl MachineOptions {
    /// The name of the machine, which no other machine that runs has.
    pub(super) fn name(&self) -> String {
        let name = self.name.clone();
        name.unwrap_or_else(|| format!("qemu-{}", std::process::id()))
    }

    fn names_a_guest(&self) -> bool {
        self.kernel.is_some() || !self.drive.is_empty()
    }
}

/// A machine that can be launched.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) builder: MachineBuilder,
    /// Whether the console goes to the terminal after the last step.
    pub(super) interacts: bool,
}

/// Makes the machine. Tries the accelerators, if that was asked for.
pub(super) fn plan(run: &Run, attention: &Attention) -> Result<Plan, Failure> {
    let options = &run.machine;
    let (binary, arguments) = split(&run.qemu_arguments);
    if let (Some(given), Some(_)) = (&options.qemu, binary) {
        let given = given.display();
        return Err(Failure::usage(format!(
            "QEMU is given twice: by --qemu {given} and after --"
        )));
    }
    let binary = binary.or(options.qemu.as_deref());
    let binary = binary.map_or_else(|| default_qemu().into(), OsStr::to_owned);
    let is_tiny = !options.names_a_guest() && run.qemu_arguments.is_empty();
    let at_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    let shows_by_itself = is_tiny
        && run.steps.is_empty()
        && run.console.console.is_none()
        && !run.background.detach
        && run.ends.dry_run.is_none();
    let interacts = run.console.interact || (shows_by_itself && at_terminal);

    let mut builder = Machine::builder(&binary).name(options.name()).publish();
    builder = with_hardware(builder, options, &binary, attention)?;
    if is_tiny {
        builder = with_tiny_guest(builder, options, &binary);
    }
    let live = match run.console.console {
        Some(Live::Auto) if run.steps.have_commands() => Some(Live::Stderr),
        None if shows_by_itself && !interacts => Some(Live::Stdout),
        given => given,
    };
    // A whole command line of the user's has its own idea of its serial ports.
    let is_whole = binary_is_given(&run.qemu_arguments);
    let is_watched = live.is_some() || interacts || run.steps.need_console(options.agent);
    if is_watched || !is_whole {
        builder = builder.console(console(run, live, attention));
    }
    builder = with_channels(builder, options)?;
    Ok(Plan {
        builder: builder.args(arguments),
        interacts,
    })
}

fn with_hardware(
    mut builder: MachineBuilder,
    options: &MachineOptions,
    binary: &OsStr,
    attention: &Attention,
) -> Result<MachineBuilder, Failure> {
    if let Some(machine) = &options.machine {
        builder = builder.machine(machine);
    }
    for name in &options.accel {
        builder = if name == "best" {
            builder.accel([best(binary, attention)?])
        } else {
            builder.accel([name])
        };
    }
    if let Some(size) = &options.memory {
        builder = builder.memory(size);
    }
    if let Some(number) = options.smp {
        builder = builder.smp(number);
    }
    if let Some(path) = &options.kernel {
        builder = builder.kernel(path);
    }
    if let Some(path) = &options.initrd {
        builder = builder.initrd(path);
    }
    if let Some(text) = &options.append {
        builder = builder.append(text);
    }
    for disk in &options.drive {
        builder = with_disk(builder, disk);
    }
    Ok(builder)
}

fn with_disk(builder: MachineBuilder, disk: &OsStr) -> MachineBuilder {
    if disk.as_encoded_bytes().contains(&b'=') {
        return builder.args([OsStr::new("-drive"), disk]);
    }
    let drive = Drive::file(disk);
    builder.drive(match Path::new(disk).extension().and_then(OsStr::to_str) {
        Some(format @ ("qcow2" | "raw")) => drive.format(format),
        // QEMU looks at the file.
        _ => drive,
    })
}

fn with_tiny_guest(
    mut builder: MachineBuilder,
    options: &MachineOptions,
    binary: &OsStr,
) -> MachineBuilder {
    builder = builder.firmware(guests::tiny()).arg("-nodefaults");
    let is_pc = binary.to_string_lossy().contains("x86_64") && options.machine.is_none();
    if is_pc {
        // Its panic is seen.
        builder = builder.device(&OptionGroup::new("pvpanic"));
    }
    builder
}

fn console(
    run: &Run,
    live: Option<Live>,
    attention: &Attention,
) -> qemu_machine::spec::ConsoleConfig {
    let mut console = Console::serial();
    if let Some(live) = live {
        let tee = match live {
            Live::Auto | Live::Stdout => Tee::new(Watched(attention.clone())),
            Live::Stderr => Tee::new(io::stderr()),
        };
        console = console.tee(if run.console.prefix {
            tee.named_lines()
        } else {
            tee
        });
    }
    if let Some(directory) = &run.machine.log_dir {
        let name = run.machine.name().replace('/', "_");
        console = console.log(directory.join(format!("{name}.console")));
    }
    if run.steps.have_commands() && !run.machine.agent {
        // The output of a command is in the ring until it is written.
        console = console.ring_bytes(COMMAND_RING_BYTES);
    }
    console
}

fn with_channels(
    mut builder: MachineBuilder,
    options: &MachineOptions,
) -> Result<MachineBuilder, Failure> {
    if options.agent {
        builder = builder.guest_agent();
    }
    for (number, path) in options.qmp.iter().enumerate() {
        let id = format!("served{number}");
        let socket = OptionGroup::new("socket")
            .set("id", &id)
            .set("path", path)
            .switch("server", true)
            .switch("wait", false);
        builder = builder.option("-chardev", &socket);
        builder = builder.arg("-mon");
        builder = builder.arg(format!("chardev={id},mode=control"));
    }
    if let Some(directory) = &options.log_dir {
        std::fs::create_dir_all(directory)
            .map_err(|error| Failure::file("make the directory", directory, &error))?;
        builder = builder.log_dir(directory);
    }
    if let Some(path) = &options.transcript {
        builder = builder.transcript(path);
    }
    if options.qemu_output {
        builder = builder.tee_output(io::stderr());
    }
    Ok(builder)
}

/// The fastest accelerator, which is tried out.
fn best(binary: &OsStr, attention: &Attention) -> Result<Accel, Failure> {
    match attention.wait(Accel::best(binary)) {
        Ok(Ok(choice)) => Ok(choice.accel().clone()),
        Ok(Err(error)) => Err(Failure::failed(error)),
        Err(Call::Signal(number)) => Err(Failure {
            outcome: Outcome::Signal(number),
            message: None,
        }),
        Err(_) => Err(Failure::failed(
            "the search for an accelerator was given up",
        )),
    }
}

/// Splits what stands after `--`: a binary, if it begins with one, and the
/// arguments.
fn split(words: &[OsString]) -> (Option<&OsStr>, &[OsString]) {
    match words.split_first() {
        Some((first, rest)) if is_qemu(first) => (Some(first), rest),
        _ => (None, words),
    }
}

fn binary_is_given(words: &[OsString]) -> bool {
    split(words).0.is_some()
}

/// Whether a word names a QEMU, and is no argument or image.
fn is_qemu(word: &OsStr) -> bool {
    let name = Path::new(word).file_name().unwrap_or_default();
    let name = name.to_string_lossy();
    name.starts_with("qemu-system-") || name == "qemu-kvm" || name == "kvm"
}

/// The QEMU of this processor.
pub(in crate::verb) fn default_qemu() -> String {
    let target = match std::env::consts::ARCH {
        "x86" => "i386",
        "powerpc64" => "ppc64",
        same => same,
    };
    format!("qemu-system-{target}")
}

/// Standard output, which calls when it cannot be written.
struct Watched(Attention);

impl Watched {
    fn told<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result {
            let failure = output::unwritable(error);
            let text = failure.message.unwrap_or_default();
            self.0.call(Call::Output(error.kind(), text));
        }
        result
    }
}

impl Write for Watched {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut stdout = io::stdout().lock();
        // A console is live also within a line.
        let written = stdout.write(bytes);
        let written = written.and_then(|count| stdout.flush().map(|()| count));
        self.told(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.told(io::stdout().flush())
    }
}

/// How much a command may print on a console: 64 MiB, and what the terminal adds.
const COMMAND_RING_BYTES: usize = 160 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_command_line_is_told_from_arguments() {
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let whole = words(&["/opt/qemu-system-arm", "-M", "virt"]);
        assert_eq!(split(&whole), (Some(&*whole[0]), &whole[1..]));
        for given in [&["-m", "1G"][..], &["disk.img"], &["qemu/disk.img"], &[]] {
            let given = words(given);
            assert_eq!(split(&given), (None, &given[..]));
        }
    }
}
