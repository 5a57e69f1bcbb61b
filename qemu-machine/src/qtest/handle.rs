//! The handle to a qtest channel.

use super::lines;
use super::wire;
use crate::qtest::Irq;
use crate::qtest::QtestCommand;
use crate::qtest::QtestEnd;
use crate::qtest::QtestFailure;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use qemu_qmp::Subscription;
use qemu_qmp::error::EventError;
use qemu_qmp::supervise::PeerContext;
use qemu_qmp_engine::error_text::Shown;

use super::channel::Shared;
use super::command::{Lines, Take};
use super::lines::Line;

/// Receives every later change of an intercepted interrupt line, in order;
/// returned by [`Qtest::irqs`]. It queues up to 4,096 changes.
pub type Irqs = Subscription<Irq, QtestEnd>;

/// The listener received no interrupt.
pub type IrqError = EventError<QtestEnd>;

/// A handle to a machine's qtest channel: it drives devices and memory without
/// guest software.
///
/// Cheap to clone, and usable from any thread. QEMU runs the commands in the
/// order in which they were sent, and each caller gets its own reply.
///
/// The processors of such a machine do not run. With QEMU's accelerator
/// `qtest`, the caller controls the clock. A QEMU without it, such as Debian's,
/// starts with TCG and a paused guest (`-S`). Then the clock stands still and
/// commands that set it fail; `cont` on the monitor makes the guest run.
///
/// QEMU aborts on some mistakes in a test; each method says on which. It also
/// aborts on any access to memory of a machine without a processor
/// (`-machine none`).
///
/// # Examples
/// ```no_run
/// use qemu_machine::{Machine, Wait};
///
/// let vm = Machine::builder("qemu-system-x86_64").qtest().launch().wait()?;
/// let qtest = vm.qtest();
/// qtest.outl(0xcf8, 0x8000_0000).wait()?; // the host bridge's vendor and device
/// println!("{:#x}", qtest.inl(0xcfc).wait()?);
/// qtest.write(0x1000, b"hello").wait()?;
/// assert_eq!(qtest.read(0x1000, 5).wait()?, b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Qtest {
    pub(super) shared: Arc<Shared>,
}

/// I/O ports, which only x86 has. A read from a port without a device returns
/// all ones.
impl Qtest {
    /// Writes a byte to a port.
    pub fn outb(&self, port: u16, value: u8) -> QtestCommand<()> {
        self.set(format!("outb {port:#x} {value:#x}"))
    }

    /// Writes 16 bits to a port.
    pub fn outw(&self, port: u16, value: u16) -> QtestCommand<()> {
        self.set(format!("outw {port:#x} {value:#x}"))
    }

    /// Writes 32 bits to a port.
    pub fn outl(&self, port: u16, value: u32) -> QtestCommand<()> {
        self.set(format!("outl {port:#x} {value:#x}"))
    }

    /// Reads a byte from a port.
    pub fn inb(&self, port: u16) -> QtestCommand<u8> {
        self.value(format!("inb {port:#x}"))
    }

    /// Reads 16 bits from a port.
    pub fn inw(&self, port: u16) -> QtestCommand<u16> {
        self.value(format!("inw {port:#x}"))
    }

    /// Reads 32 bits from a port.
    pub fn inl(&self, port: u16) -> QtestCommand<u32> {
        self.value(format!("inl {port:#x}"))
    }
}

/// The address space of the first processor: memory and mapped devices. Values
/// are in the byte order of the guest. At an unmapped address, a write has no
/// effect and a read returns zeros.
impl Qtest {
    /// Writes a byte.
    pub fn writeb(&self, address: u64, value: u8) -> QtestCommand<()> {
        self.set(format!("writeb {address:#x} {value:#x}"))
    }

    /// Writes 16 bits.
    pub fn writew(&self, address: u64, value: u16) -> QtestCommand<()> {
        self.set(format!("writew {address:#x} {value:#x}"))
    }

    /// Writes 32 bits.
    pub fn writel(&self, address: u64, value: u32) -> QtestCommand<()> {
        self.set(format!("writel {address:#x} {value:#x}"))
    }

    /// Writes 64 bits.
    pub fn writeq(&self, address: u64, value: u64) -> QtestCommand<()> {
        self.set(format!("writeq {address:#x} {value:#x}"))
    }

    /// Reads a byte.
    pub fn readb(&self, address: u64) -> QtestCommand<u8> {
        self.value(format!("readb {address:#x}"))
    }

    /// Reads 16 bits.
    pub fn readw(&self, address: u64) -> QtestCommand<u16> {
        self.value(format!("readw {address:#x}"))
    }

    /// Reads 32 bits.
    pub fn readl(&self, address: u64) -> QtestCommand<u32> {
        self.value(format!("readl {address:#x}"))
    }

    /// Reads 64 bits.
    pub fn readq(&self, address: u64) -> QtestCommand<u64> {
        self.value(format!("readq {address:#x}"))
    }

    /// Reads `length` bytes, in pieces of 64 KiB. Commands of other callers may
    /// run between two pieces.
    pub fn read(&self, address: u64, length: usize) -> QtestCommand<Vec<u8>> {
        let lines = pieces(address, length as u64, lines::read);
        let name = format!("read {address:#x} {length:#x}");
        self.command(name, lines, Vec::new(), lines::append)
    }

    /// Writes bytes, in pieces like [`read`](Self::read).
    pub fn write(&self, address: u64, data: impl Into<Vec<u8>>) -> QtestCommand<()> {
        let data = data.into();
        let name = format!("write {address:#x} {:#x}", data.len());
        let mut written = 0;
        let lines = pieces(address, data.len() as u64, move |at, bytes| {
            let piece = &data[written..written + bytes];
            written += bytes;
            lines::write(at, piece)
        });
        self.command(name, lines, (), take_done)
    }

    /// Writes the same byte `length` times, in pieces like
    /// [`read`](Self::read).
    pub fn memset(&self, address: u64, length: u64, byte: u8) -> QtestCommand<()> {
        let line = move |at, bytes| format!("memset {at:#x} {bytes:#x} {byte:#x}").into();
        let name = format!("memset {address:#x} {length:#x} {byte:#x}");
        self.command(name, pieces(address, length, line), (), take_done)
    }
}

/// Interrupts.
impl Qtest {
    /// Makes QEMU report every change of the unnamed interrupt inputs of the
    /// device at this QOM path, such as `ioapic` on a PC.
    ///
    /// One device of a machine can be intercepted, until the machine ends. QEMU
    /// refuses a second device.
    ///
    /// QEMU aborts if the object at the path is not a device. In older versions
    /// the behavior is undefined.
    ///
    /// # Examples
    /// ```no_run
    /// use qemu_machine::{Machine, Wait};
    ///
    /// let builder = Machine::builder("qemu-system-x86_64").qtest();
    /// let vm = builder.args(["-serial", "null"]).launch().wait()?;
    /// let qtest = vm.qtest();
    /// qtest.irq_intercept_in("ioapic").wait()?;
    /// let mut irqs = qtest.irqs(); // before what causes them: no race
    /// qtest.outb(0x3f9, 0x02).wait()?; // the serial port's transmitter is empty
    /// assert_eq!(irqs.next().wait()?.to_string(), "IRQ raise 4");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn irq_intercept_in(&self, path: &str) -> QtestCommand<()> {
        self.on_device("irq_intercept_in", path, "")
    }

    /// Makes QEMU report every change of the unnamed interrupt outputs of the
    /// device at this QOM path; otherwise like
    /// [`irq_intercept_in`](Self::irq_intercept_in).
    pub fn irq_intercept_out(&self, path: &str) -> QtestCommand<()> {
        self.on_device("irq_intercept_out", path, "")
    }

    /// Sets the level of an interrupt input of the device at this QOM path.
    /// `name` is the name of the list of lines; `None` is the unnamed list.
    ///
    /// QEMU aborts if the object at the path is not a device, or the device has
    /// no such line. In older versions the behavior is undefined.
    pub fn set_irq_in(
        &self,
        path: &str,
        name: Option<&str>,
        line: u16,
        level: i32,
    ) -> QtestCommand<()> {
        let list = name.unwrap_or("unnamed-gpio-in");
        let mut command = self.on_device("set_irq_in", path, &format!(" {list} {line} {level}"));
        if !is_word(list) {
            command.refuse(NO_WORD);
        }
        command
    }

    /// A listener that receives every later change of an intercepted line. A
    /// change by a command arrives before the command's reply.
    pub fn irqs(&self) -> Irqs {
        self.shared.listen()
    }

    /// Whether this intercepted line is raised, by the last change that QEMU
    /// reported.
    pub fn is_raised(&self, line: u16) -> bool {
        self.shared.is_raised(line)
    }
}

/// The guest's clock.
impl Qtest {
    /// Whether the caller controls the clock: QEMU started with its accelerator
    /// `qtest`.
    pub fn controls_clock(&self) -> bool {
        self.shared.controls_clock()
    }

    /// Advances the guest's clock by this time, or with `None` to the next
    /// timer. Returns the new time.
    pub fn clock_step(&self, time: Option<Duration>) -> QtestCommand<Duration> {
        match time {
            None => self.clock("clock_step".to_owned()),
            Some(time) => self.clock_by("clock_step", time),
        }
    }

    /// Advances the guest's clock to this time. Returns the new time.
    ///
    /// A time in the past changes nothing; newer versions of QEMU refuse it.
    pub fn clock_set(&self, time: Duration) -> QtestCommand<Duration> {
        self.clock_by("clock_set", time)
    }

    pub(super) fn clock_by(&self, name: &str, time: Duration) -> QtestCommand<Duration> {
        let mut command = self.clock(format!("{name} {}", time.as_nanos()));
        if i64::try_from(time.as_nanos()).is_err() {
            command.refuse("the time is beyond the range of the guest's clock");
        }
        command
    }

    pub(super) fn clock(&self, line: String) -> QtestCommand<Duration> {
        let lines = if self.controls_clock() {
            Ok(one(line.clone()))
        } else {
            Err(QtestFailure::NeedsAccelerator)
        };
        self.command(line, lines, Duration::ZERO, |time, reply, _| {
            *time = Duration::from_nanos(lines::number(reply)?);
            Ok(())
        })
    }
}

impl Qtest {
    /// Sends a line unchanged, for a command without a method here. Returns
    /// QEMU's reply line, also if it is a `FAIL`.
    ///
    /// QEMU aborts if the command lacks an argument, or an argument is not a
    /// number where a number must be.
    pub fn raw(&self, line: &str) -> QtestCommand<String> {
        let mut command = self.command(
            Shown(line).to_string().chars().take(80).collect(),
            Ok(one(line.to_owned())),
            String::new(),
            |line, reply, _| {
                line.clone_from(&reply.line);
                Ok(())
            },
        );
        if line.is_empty() {
            command.refuse("the line is empty, and QEMU would abort");
        } else if line.contains('\n') {
            command.refuse("it is more than one line");
        } else if line.contains('\0') {
            command.refuse("the line has a NUL, and QEMU would stop reading there");
        }
        command
    }

    pub(super) fn set(&self, line: String) -> QtestCommand<()> {
        self.command(line.clone(), Ok(one(line)), (), take_done)
    }

    pub(super) fn value<N: TryFrom<u64> + Default>(&self, line: String) -> QtestCommand<N> {
        self.command(
            line.clone(),
            Ok(one(line)),
            N::default(),
            |value, reply, _| {
                *value = lines::number(reply)?;
                Ok(())
            },
        )
    }

    pub(super) fn on_device(&self, name: &str, path: &str, rest: &str) -> QtestCommand<()> {
        let mut command = self.set(format!("{name} {path}{rest}"));
        if !is_word(path) {
            command.refuse(NO_WORD);
        }
        command
    }

    pub(super) fn command<T>(
        &self,
        name: String,
        lines: Result<Lines, QtestFailure>,
        output: T,
        take: Take<T>,
    ) -> QtestCommand<T> {
        QtestCommand::new(self.clone(), name, lines, output, take)
    }

    /// Finds out whether the caller controls the clock. The command changes
    /// nothing, and QEMU knows it only with the accelerator `qtest`.
    pub(crate) async fn ask_for_clock(&self) {
        let reply = self.shared.exchange("clock_set 0".to_owned()).await;
        let known = |line: &str| !line.starts_with("FAIL Unknown command");
        // If the channel has ended, the next command reports it.
        self.shared
            .set_clock(reply.is_ok_and(|reply| known(&reply.line)));
    }
}

impl fmt::Debug for Qtest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Qtest")
            .field("machine", &self.shared.context.name())
            .field("controls_clock", &self.controls_clock())
            .finish_non_exhaustive()
    }
}

fn one(line: String) -> Lines {
    Box::new(std::iter::once(Line::from(line)))
}

/// A line for each piece of a buffer.
fn pieces(
    address: u64,
    length: u64,
    mut line: impl FnMut(u64, usize) -> Line + Send + 'static,
) -> Result<Lines, QtestFailure> {
    let Some(pieces) = lines::pieces(address, length) else {
        return Err(QtestFailure::Argument {
            reason: "the buffer reaches past the end of the address space",
        });
    };
    Ok(Box::new(pieces.map(move |(at, bytes)| line(at, bytes))))
}

fn take_done(_: &mut (), reply: &wire::Reply, _: usize) -> Result<(), QtestFailure> {
    lines::done(reply)
}

/// Whether QEMU reads the text as one argument.
fn is_word(text: &str) -> bool {
    !text.is_empty() && !text.contains([' ', '\n', '\0'])
}

const NO_WORD: &str = "a path or name must be one word";
