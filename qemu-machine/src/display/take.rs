//! One picture of a screen, from QEMU's command to its pixels.
//!
//! QEMU writes it to a file in memory, whose descriptor it gets with the first
//! one (QEMU's `add-fd`): nothing lies on a disk, and no directory needs to let
//! QEMU in. There it stays for the next ones: QEMU does not close what is
//! removed while the guest is stopped, so a file for each picture would stay too.
//! Over TCP no descriptor is passed; there the file is in a private directory.
//!
//! It is always a PPM, as every QEMU writes it, at once and with all its pixels,
//! while QEMU packs a PNG with all its other work standing still.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use qemu_qmp::supervise::PeerContext;
use qemu_qmp::{Client, ExecuteError, ExecuteFailure};
use qemu_qmp_engine::{
    Either, Elapsed, TurnLock, Watched, operation, race, timeout_option, yield_now,
};
use serde_json::json;

use super::{Display, DisplayError, Screenshot};
use crate::process::runtime_dir::PrivateDirectory;
use crate::sys;

/// Takes a picture of the screen; made by [`Display::screenshot`].
///
/// # Errors
/// Each variant of [`DisplayError`] says when.
///
/// # Cancel safety
/// If the future is dropped, nothing is left of the picture when QEMU has
/// written it. The next one is taken after that.
#[derive(Debug, Clone)]
#[must_use = "no picture is taken until awaited or waited for"]
pub struct TakeScreenshot {
    display: Display,
    timeout: Option<Duration>,
}

impl TakeScreenshot {
    pub(super) fn new(display: Display) -> Self {
        Self {
            timeout: display.qmp.deadlines().limit(),
            display,
        }
    }
}

timeout_option!(TakeScreenshot, timeout);

operation!(TakeScreenshot => Result<Screenshot, DisplayError>);

impl TakeScreenshot {
    async fn run(self) -> Result<Screenshot, DisplayError> {
        let Self { display, timeout } = self;
        let taken = display.qmp.deadlines().timeout(timeout, display.take());
        taken.await.unwrap_or_else(|Elapsed(limit)| {
            Err(display.timeout("show itself".to_owned(), limit, None))
        })
    }
}

impl Display {
    /// What is shown now, without a deadline.
    pub(super) async fn take(&self) -> Result<Screenshot, DisplayError> {
        let machine = || self.context.name();
        let no_file = |cause| DisplayError::File {
            machine: machine(),
            cause,
        };
        // On the engine, so that it is done to its end, whoever gives up.
        let (qmp, head) = (self.qmp.clone(), self.head.clone());
        let canvas = Arc::clone(&self.canvas);
        let drawn = self
            .engine
            .spawn(async move { canvas.draw(&qmp, head).await });
        let dropped = || NotDrawn::File(io::Error::other("the engine dropped the picture"));
        let drawn = drawn.await.unwrap_or_else(|| Err(dropped()));
        let ppm = drawn.map_err(|error| match error {
            NotDrawn::File(cause) => no_file(cause),
            NotDrawn::Execute(error) if has_no_display(&error) => {
                DisplayError::NoDisplay { machine: machine() }
            }
            NotDrawn::Execute(error) => DisplayError::Execute(error),
        })?;
        // But it is not made sense of there, where others are to be served.
        Screenshot::read_ppm(ppm).map_err(|reason| DisplayError::NoPicture {
            machine: machine(),
            reason,
        })
    }
}

/// What a machine's pictures are put in, one after the other.
#[derive(Debug)]
pub(crate) struct Canvas {
    /// Held by whoever takes one.
    file: TurnLock<Option<SharedFile>>,
    /// Where a directory is made, where that is needed.
    base: PathBuf,
    is_closed: Watched<bool>,
}

/// A file in memory that QEMU has too.
#[derive(Debug)]
struct SharedFile {
    file: File,
    /// What QEMU has, with the place to which it has written.
    written: File,
}

enum NotDrawn {
    File(io::Error),
    Execute(ExecuteError),
}

impl Canvas {
    pub(crate) fn new(base: PathBuf) -> Self {
        Self {
            file: TurnLock::default(),
            base,
            is_closed: Watched::default(),
        }
    }

    /// The machine has ended: lets go of it, and of what a picture that is under
    /// way is put in.
    pub(crate) async fn close(&self) {
        self.is_closed.set(true);
        *self.file.lock().await = None;
    }

    async fn closed(&self) {
        self.is_closed.until(|it| it.then_some(())).await;
    }

    /// Has QEMU draw its screen, and gives the picture.
    async fn draw(&self, qmp: &Client, head: Option<(String, u32)>) -> Result<Vec<u8>, NotDrawn> {
        let drawn = race(self.closed(), self.draw_while_open(qmp, head));
        if let Either::Right(drawn) = drawn.await {
            return drawn;
        }
        // How the machine ended is what the monitor tells who asks now.
        screendump(qmp, json!({})).await?;
        Err(NotDrawn::File(io::Error::other("the machine has ended")))
    }

    async fn draw_while_open(
        &self,
        qmp: &Client,
        head: Option<(String, u32)>,
    ) -> Result<Vec<u8>, NotDrawn> {
        let mut arguments = json!({});
        if let Some((device, head)) = head {
            arguments["device"] = device.into();
            arguments["head"] = head.into();
        }
        let mut file = self.file.lock().await;
        let shared = match &mut *file {
            Some(shared) => shared,
            none => match SharedFile::new(qmp).await {
                Ok(shared) => none.insert(shared),
                Err(NotDrawn::Execute(error)) if passes_none(&error) => {
                    let directory = PrivateDirectory::create(&self.base);
                    let directory = directory.map_err(NotDrawn::File)?;
                    // QEMU may have another working directory.
                    let path = std::path::absolute(directory.path().join("screen.ppm"));
                    let path = path.map_err(NotDrawn::File)?;
                    arguments["filename"] = path.to_string_lossy().into();
                    screendump(qmp, arguments).await?;
                    let file = File::open(path).map_err(NotDrawn::File)?;
                    return read(&file).await.map_err(NotDrawn::File);
                }
                Err(error) => return Err(error),
            },
        };
        shared.written.rewind().map_err(NotDrawn::File)?;
        arguments["filename"] = format!("/dev/fdset/{SET}").into();
        screendump(qmp, arguments).await?;
        shared.take().await.map_err(NotDrawn::File)
    }
}

async fn screendump(qmp: &Client, arguments: serde_json::Value) -> Result<(), NotDrawn> {
    let dump = qmp.execute_json("screendump", arguments).timeout(None);
    dump.await.map(drop).map_err(NotDrawn::Execute)
}

impl SharedFile {
    async fn new(qmp: &Client) -> Result<Self, NotDrawn> {
        let file = sys::memory_file(c"screen").map_err(NotDrawn::File)?;
        // QEMU takes a descriptor only if it is open as it would open it.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let written = File::options().write(true).open(path);
        let written = written.map_err(NotDrawn::File)?;
        let passed = written.try_clone().map_err(NotDrawn::File)?;
        let add = qmp.add_fd(SET, passed).timeout(None);
        add.await.map_err(NotDrawn::Execute)?;
        Ok(Self { file, written })
    }

    /// All that is in it; nothing is, afterwards.
    async fn take(&mut self) -> io::Result<Vec<u8>> {
        self.file.rewind()?;
        let bytes = read(&self.file).await?;
        self.file.set_len(0)?;
        Ok(bytes)
    }
}

/// All of a file, in pieces between which others on the engine have their turn.
async fn read(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while file.take(PIECE_BYTES).read_to_end(&mut bytes)? > 0 {
        yield_now().await;
    }
    Ok(bytes)
}

fn passes_none(error: &ExecuteError) -> bool {
    matches!(*error.failure, ExecuteFailure::NoDescriptors)
}

/// Whether QEMU complains that there is no screen at all. It has no class of
/// its own for it.
fn has_no_display(error: &ExecuteError) -> bool {
    let reply = error.reply();
    reply.is_some_and(|reply| reply.desc.contains("no console to take a screendump from"))
}

/// The set of descriptors that the file is in: the last one there can be, for
/// those that people choose, and QEMU gives away, are small.
const SET: u32 = i32::MAX as u32;

/// As much as is read of a socket in one turn.
const PIECE_BYTES: u64 = 64 << 10;
