//! From the options to a machine: which QEMU, with which arguments.

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};
use qemu_machine::error::ErrorKind;
use qemu_machine::spec::{ConsoleConfig, Drive, OptionGroup, Tee};
use qemu_machine::{Accel, Console, Machine, MachineBuilder, Wait, guests};

use super::{Live, Run};
use crate::attention::{Attention, Call};
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::offered::Offered;
use crate::output;
use crate::progress::{self, Stream};

/// Describes the machine. Without these options, it is the built-in tiny guest.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Machine")]
pub(in crate::verb) struct MachineOptions {
    /// The QEMU to run; by default that of this processor
    #[arg(long, value_name = "BINARY", value_hint = ValueHint::CommandName)]
    pub(super) qemu: Option<OsString>,

    /// Runs the QEMU of this processor instead: aarch64, riscv64
    #[arg(
        long,
        value_name = "NAME",
        conflicts_with = "qemu",
        hide_short_help = true
    )]
    pub(super) arch: Option<String>,

    /// The machine's type: q35, microvm, virt
    #[arg(long, value_name = "TYPE", hide_short_help = true)]
    pub(super) machine: Option<OsString>,

    /// A Linux kernel to boot
    #[arg(long, value_name = "FILE")]
    pub(super) kernel: Option<PathBuf>,

    /// The kernel's initial file system
    #[arg(long, value_name = "FILE")]
    pub(super) initrd: Option<PathBuf>,

    /// The kernel's command line
    #[arg(long, value_name = "TEXT")]
    pub(super) append: Option<OsString>,

    /// A disk: a file, or QEMU's own form (file=…,if=…)
    #[arg(long, value_name = "DISK", value_hint = ValueHint::FilePath)]
    pub(super) drive: Vec<OsString>,

    /// The guest's memory: 256M, 2G
    #[arg(long, value_name = "SIZE")]
    pub(super) memory: Option<OsString>,

    /// How many processors the guest has
    #[arg(long, value_name = "NUMBER")]
    pub(super) smp: Option<u32>,

    /// Accelerators to try, in order; best is the fastest
    #[arg(long, value_name = "best|NAME", value_delimiter = ',',
          value_parser = Offered(accelerators), hide_possible_values = true)]
    pub(super) accel: Vec<String>,

    /// Gives the guest a port for its agent, and runs --exec by the agent
    #[arg(long, hide_short_help = true)]
    pub(in crate::verb) agent: bool,
}

/// How other programs find the machine, and what is kept of it.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Machine")]
pub(in crate::verb) struct HostOptions {
    /// The machine's name for other verbs; qemu-PID by default
    #[arg(long, hide_short_help = true)]
    pub(super) name: Option<String>,

    /// Keeps the logs of QEMU and of the console in this directory
    #[arg(long, value_name = "DIRECTORY", value_hint = ValueHint::DirPath, hide_short_help = true)]
    pub(super) log_dir: Option<PathBuf>,

    /// Writes every message of the monitor to this file
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub(super) transcript: Option<PathBuf>,

    /// Writes QEMU's own output live to standard error
    #[arg(long, hide_short_help = true)]
    pub(super) qemu_output: bool,
}

/// The monitors for other programs.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Machine")]
pub(in crate::verb) struct SocketOptions {
    /// Also serves QMP on this unix socket, for `qemu-machine qmp`; one client
    /// at a time, so give it again for another
    #[arg(long, value_name = "SOCKET", hide_short_help = true,
          conflicts_with_all = ["freeze_on_failure", "freezable"])]
    pub(super) qmp: Vec<PathBuf>,
}

impl HostOptions {
    /// The name of the machine, which no other machine that runs has.
    pub(super) fn name(&self) -> String {
        let name = self.name.clone();
        name.unwrap_or_else(|| format!("qemu-{}", std::process::id()))
    }
}

impl MachineOptions {
    /// The QEMU that an option names.
    fn binary(&self) -> Option<OsString> {
        let by_arch = || Some(qemu_of(self.arch.as_deref()?).into());
        self.qemu.clone().or_else(by_arch)
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
    /// Whether the guest gets its own identity before the first step.
    pub(super) wakes: bool,
}

/// Makes the machine. Tries the accelerators, if that was asked for.
pub(super) fn plan(run: &Run, attention: &Attention) -> Result<Plan, Failure> {
    let options = &run.machine;
    let (binary, arguments) = split(&run.qemu_arguments);
    let named = options.binary();
    if let (Some(given), Some(_)) = (&named, binary) {
        let given = given.display();
        return Err(Failure::usage(format!(
            "QEMU is given twice: {given} by an option, and another after --"
        )));
    }
    let binary = binary.map(OsStr::to_owned).or(named);
    let binary = binary.unwrap_or_else(|| default_qemu().into());
    let is_tiny = !options.names_a_guest() && run.qemu_arguments.is_empty();
    let view = View::of(run, is_tiny);
    view.show_progress(run);

    let mut builder = Machine::builder(&binary).name(run.host.name());
    builder = with_hardware(builder, options, &binary, attention)?;
    if is_tiny {
        builder = with_tiny_guest(builder, options, &binary);
    }
    // A whole command line has its own serial ports.
    let is_whole = binary_is_given(&run.qemu_arguments);
    let needs_console = run.steps.need_console(options.agent);
    if view.live.is_some() || view.interacts || needs_console || !is_whole {
        builder = builder.console(console(Console::serial(), run, view.live, attention));
    }
    if options.agent {
        builder = builder.guest_agent();
    }
    builder = with_sockets(builder, &run.sockets);
    builder = with_logs(builder, &run.host)?.args(arguments);
    builder = run.freeze.prepare(builder)?;
    Ok(Plan {
        builder,
        interacts: view.interacts,
        wakes: false,
    })
}

/// Makes a clone of a template. Its first console is as it was, but for what is
/// done with its output.
pub(super) fn plan_clone(
    run: &Run,
    clone: MachineBuilder,
    wakes: bool,
    attention: &Attention,
) -> Result<Plan, Failure> {
    let view = View::of(run, true);
    view.show_progress(run);
    let mut builder = clone.name(run.host.name());
    let mut consoles = builder.spec().consoles();
    let first = consoles.find(|(name, _)| name.is_none());
    let first = first.map(|(_, config)| config.clone());
    drop(consoles);
    if let Some(first) = first {
        builder = builder.console(console(first, run, view.live, attention));
    }
    builder = run.freeze.prepare(builder)?;
    Ok(Plan {
        builder: with_logs(builder, &run.host)?,
        interacts: view.interacts,
        wakes,
    })
}

/// What a person sees of the console.
struct View {
    live: Option<Live>,
    interacts: bool,
}

impl View {
    /// If the run has nothing else to do, the console may be shown by itself.
    fn of(run: &Run, may_show: bool) -> Self {
        let at_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
        let shows_by_itself = may_show
            && run.steps.is_empty()
            && run.console.console.is_none()
            && !run.background.detach
            && !run.console.qmp_shell
            && run.ends.dry_run.is_none();
        let interacts = run.console.interact || (shows_by_itself && at_terminal);
        let live = match run.console.console {
            Some(Live::Auto) if run.steps.have_commands() => Some(Live::Stderr),
            None if shows_by_itself && !interacts => Some(Live::Stdout),
            given => given,
        };
        Self { live, interacts }
    }

    fn show_progress(&self, run: &Run) {
        let is_quiet = match self.live {
            None => true,
            Some(Live::Stderr) => false,
            Some(Live::Auto | Live::Stdout) => output::goes_to_file(),
        };
        if is_quiet && !run.host.qemu_output {
            progress::show();
        }
    }
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
            let _phase = progress::phase("trying the accelerators");
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
        // It reports a panic of the guest.
        builder = builder.device(&OptionGroup::new("pvpanic"));
    }
    builder
}

fn console(
    mut console: ConsoleConfig,
    run: &Run,
    live: Option<Live>,
    attention: &Attention,
) -> ConsoleConfig {
    if let Some(live) = live {
        let tee = match live {
            Live::Auto | Live::Stdout => Tee::new(Watched(attention.clone())),
            Live::Stderr => Tee::new(Aside),
        };
        console = console.tee(if run.console.prefix {
            tee.named_lines()
        } else {
            tee
        });
    }
    if let Some(directory) = &run.host.log_dir {
        let name = run.host.name().replace('/', "_");
        console = console.log(directory.join(format!("{name}.console")));
    }
    if run.steps.have_commands() && !run.machine.agent {
        // The ring has what a command prints while its output is written.
        console = console.ring_bytes(COMMAND_RING_BYTES);
    }
    console
}

fn with_sockets(mut builder: MachineBuilder, options: &SocketOptions) -> MachineBuilder {
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
    builder
}

fn with_logs(
    mut builder: MachineBuilder,
    options: &HostOptions,
) -> Result<MachineBuilder, Failure> {
    if let Some(directory) = &options.log_dir {
        std::fs::create_dir_all(directory)
            .map_err(|error| Failure::file("make the directory", directory, &error))?;
        builder = builder.log_dir(directory);
    }
    if let Some(path) = &options.transcript {
        builder = builder.transcript(path);
    }
    if options.qemu_output {
        builder = builder.tee_output(Aside);
    }
    Ok(builder)
}

/// Tries the accelerators, and returns the fastest.
fn best(binary: &OsStr, attention: &Attention) -> Result<Accel, Failure> {
    // An interrupted search ends once nothing is left of it.
    let found = Accel::best(binary).cancel_on(attention.called()).wait();
    found
        .map(|choice| choice.accel().clone())
        .map_err(|error| match attention.take() {
            Some(Call::Signal(number)) if error.kind() == ErrorKind::Cancelled => Failure {
                outcome: Outcome::Signal(number),
                message: None,
            },
            _ => Failure::failed(error),
        })
}

/// What a shell offers for `--accel`. Any other name goes to QEMU.
fn accelerators() -> Vec<String> {
    ["best", "kvm", "tcg", "xen"].map(str::to_owned).into()
}

/// Splits the words after `--` into a binary, if they begin with one, and
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
    qemu_of(std::env::consts::ARCH)
}

/// The QEMU of a processor, by the name that Rust, Linux or QEMU has for it.
fn qemu_of(processor: &str) -> String {
    let target = match processor {
        "x86" | "i686" => "i386",
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        "powerpc64" | "ppc64le" => "ppc64",
        same => same,
    };
    format!("qemu-system-{target}")
}

/// Standard output. If it cannot be written, it calls.
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
        let written = progress::aside(bytes, Stream::Output, || {
            let mut stdout = output::stdout()?.lock();
            // An unfinished line is shown, too.
            let written = stdout.write(bytes);
            written.and_then(|count| stdout.flush().map(|()| count))
        });
        self.told(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.told(io::stdout().flush())
    }
}

/// Standard error, beside the progress.
struct Aside;

impl Write for Aside {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        progress::aside(bytes, Stream::Error, || io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// How much a command may print before it waits for our standard output.
pub(in crate::verb) const COMMAND_RING_BYTES: usize = 4 << 20;

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
