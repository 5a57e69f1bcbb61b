//! A writer that receives live output.

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// A writer that gets the bytes of a console, or of the output of QEMU itself,
/// live; for [`ConsoleConfig::tee`](crate::spec::ConsoleConfig::tee) and
/// [`MachineBuilder::tee_output`](crate::MachineBuilder::tee_output).
///
/// Any writer can be a tee: `.tee(std::io::stderr())`. Each tee of each machine
/// has its own thread, so the writer may block. Consoles, machines and clones
/// of one builder may share a writer: only one of them writes at a time.
///
/// - A slow writer delays nothing else. Up to 1 MiB waits for it. More than
///   that is dropped, and a line in its place reports the number of bytes. A
///   log has every byte.
/// - A writer that fails or panics gets nothing more of that console. The
///   machine continues, and
///   [`ExitReport::warnings`](crate::ExitReport::warnings) reports it.
/// - Everything is written and flushed before the end of the machine is
///   reported. A writer that needs more than 5 s for that is abandoned.
///
/// # Examples
/// ```no_run
/// use qemu_machine::{Console, Machine, Wait};
/// use qemu_machine::spec::Tee;
///
/// let vm = Machine::builder("qemu-system-x86_64")
///     .name("node")
///     .console(Console::serial().tee(Tee::new(std::io::stderr()).named_lines()))
///     .tee_output(std::io::stderr())
///     .launch()
///     .wait()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Tee {
    pub(crate) target: TeeTarget,
    pub(crate) form: TeeForm,
}

#[derive(Clone)]
pub(crate) enum TeeTarget {
    Writer(SharedWriter),
    Path(PathBuf),
}

pub(crate) type SharedWriter = Arc<Mutex<dyn Write + Send>>;

/// The pieces of one write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TeeForm {
    /// The bytes, unchanged.
    Bytes,
    Lines,
    NamedLines,
}

impl Tee {
    /// Writes to `writer`, which is never truncated.
    pub fn new(writer: impl Write + Send + 'static) -> Self {
        Self::to(TeeTarget::Writer(Arc::new(Mutex::new(writer))))
    }

    /// Calls `each` with the bytes, live, or with each [line](Self::lines).
    pub fn call(each: impl FnMut(&[u8]) + Send + 'static) -> Self {
        Self::new(Callback(each))
    }

    /// Appends to the file at this path. The launch creates it if needed, and
    /// never truncates it. Several machines may append to one file.
    pub fn append(path: impl Into<PathBuf>) -> Self {
        Self::to(TeeTarget::Path(path.into()))
    }

    /// Writes only whole lines, each with one call, so the lines of several
    /// consoles do not mix. A line is written when its line feed arrives. The
    /// last line gets a line feed if it has none. A line over 64 KiB is written
    /// in pieces.
    pub fn lines(mut self) -> Self {
        self.form = TeeForm::Lines;
        self
    }

    /// Does the same as [`lines`](Self::lines), with the name of the machine
    /// before each line: `[NAME] `. For an
    /// [added](crate::MachineBuilder::add_console) console it is
    /// `[NAME/CONSOLE] `.
    pub fn named_lines(mut self) -> Self {
        self.form = TeeForm::NamedLines;
        self
    }

    fn to(target: TeeTarget) -> Self {
        Self {
            target,
            form: TeeForm::Bytes,
        }
    }

    /// The path of the file that is opened at the launch.
    pub(crate) fn path(&self) -> Option<&Path> {
        match &self.target {
            TeeTarget::Writer(_) => None,
            TeeTarget::Path(path) => Some(path),
        }
    }
}

impl<W: Write + Send + 'static> From<W> for Tee {
    fn from(writer: W) -> Self {
        Self::new(writer)
    }
}

impl fmt::Debug for Tee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut tee = f.debug_struct("Tee");
        tee.field("path", &self.path());
        tee.field("form", &self.form).finish_non_exhaustive()
    }
}

/// A function as a writer.
struct Callback<F>(F);

impl<F: FnMut(&[u8])> Write for Callback<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (self.0)(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
