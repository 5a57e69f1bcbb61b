//! A writer that receives live output.

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Where a console's bytes, or those of QEMU's own output, also go as they come;
/// for [`ConsoleConfig::tee`](crate::spec::ConsoleConfig::tee) and
/// [`MachineBuilder::tee_output`](crate::MachineBuilder::tee_output).
///
/// Any writer is one: `.tee(std::io::stderr())`. It is called by a thread of its
/// own, and may block. It may be shared by consoles and machines, also by clones
/// of one builder: one of them writes at a time.
///
/// - A writer that does not keep up delays nobody. 1 MiB waits for it at most;
///   what comes then is dropped, and a line in its place says how many bytes
///   were. A log has every byte.
/// - A writer that fails or panics gets nothing more of that console. The
///   machine goes on, and [`ExitReport::warnings`](crate::ExitReport::warnings)
///   says so.
/// - What has come is written and flushed before the machine's end is reported.
///   A writer that takes longer than 5 s for that is not waited for.
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

/// In which pieces it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TeeForm {
    /// As they come.
    Bytes,
    Lines,
    NamedLines,
}

impl Tee {
    /// Writes to `writer`, which is never truncated.
    pub fn new(writer: impl Write + Send + 'static) -> Self {
        Self::to(TeeTarget::Writer(Arc::new(Mutex::new(writer))))
    }

    /// Calls `each` with the bytes as they come, or with each
    /// [line](Self::lines).
    pub fn call(each: impl FnMut(&[u8]) + Send + 'static) -> Self {
        Self::new(Callback(each))
    }

    /// Appends to the file of this path, which is made at the launch if it is not
    /// there, and never truncated. Several machines may append to one file.
    pub fn append(path: impl Into<PathBuf>) -> Self {
        Self::to(TeeTarget::Path(path.into()))
    }

    /// Writes whole lines alone, each by one call, so that those of several
    /// consoles do not mix. A line is written when its line feed has come; the
    /// last one, at the end, gets a line feed if it has none. Of a line longer
    /// than 64 KiB, the pieces are written.
    pub fn lines(mut self) -> Self {
        self.form = TeeForm::Lines;
        self
    }

    /// As [`lines`](Self::lines), with the machine's name before each line:
    /// `[NAME] `, and for a console that was
    /// [added](crate::MachineBuilder::add_console) `[NAME/CONSOLE] `.
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
