//! Takes one picture of a screen, from QEMU's command to the pixels.
//!
//! QEMU writes the picture to a file in memory. It gets the file's descriptor
//! with the first picture (`add-fd`), so nothing is on a disk, and QEMU needs
//! access to no directory. All pictures of a machine share this file: while the
//! guest is paused, QEMU does not close a descriptor that was removed.
//!
//! A TCP connection passes no descriptors. There the file is in a private
//! directory.
//!
//! The format is always PPM: every QEMU writes it, quickly. QEMU does nothing
//! else while it compresses a PNG.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Seek};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use qemu_qmp::Client;
use qemu_qmp::error::{ErrorReply, ExecuteError, ExecuteFailure};

use qemu_qmp_engine::{
    self as engine, Either, Elapsed, TurnLock, Watched, operation, race, timeout_option, yield_now,
};
use serde_json::json;

use super::{Display, DisplayError, Screenshot};
use crate::process::runtime_dir::PrivateDirectory;
use crate::sys;

/// Takes a picture of the screen; returned by [`Display::screenshot`].
///
/// # Errors
/// Each variant of [`DisplayError`] says when.
///
/// # Cancel safety
/// If the future is dropped, the picture is discarded when QEMU has written it.
/// The next picture waits for that.
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
        match taken.await {
            Ok(taken) => taken,
            Err(Elapsed(limit)) => {
                display.canvas.settle().await;
                Err(display.timeout(NO_PICTURE.to_owned(), limit, None))
            }
        }
    }
}

impl Display {
    /// Takes a picture, without a deadline.
    pub(super) async fn take(&self) -> Result<Screenshot, DisplayError> {
        let machine = || self.context.name();
        let no_file = |cause| DisplayError::File {
            machine: machine(),
            cause: Arc::new(cause),
        };
        // On the engine: it runs to its end even if this future is dropped.
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
        // The engine does not parse it, because it serves other tasks.
        Screenshot::read_ppm(ppm).map_err(|reason| DisplayError::NoPicture {
            machine: machine(),
            reason,
        })
    }
}

/// The file of a machine's pictures. It holds one picture at a time.
#[derive(Debug)]
pub(crate) struct Canvas {
    /// Locked while a picture is taken.
    file: TurnLock<Option<SharedFile>>,
    /// The parent of a private directory, if one is needed.
    base: PathBuf,
    /// The number of the descriptor set with the file.
    set: u32,
    /// QEMU keeps no descriptor after a picture.
    is_removed: bool,
    is_closed: Watched<bool>,
}

/// A file in memory that is shared with QEMU.
#[derive(Debug)]
struct SharedFile {
    file: File,
    /// The description that QEMU writes to, with its position.
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
            set: SET,
            is_removed: false,
            is_closed: Watched::default(),
        }
    }

    /// For a QEMU that others may take pictures of, too. It outlives this handle.
    pub(crate) fn of_other(base: PathBuf) -> Self {
        let random = RandomState::new().hash_one(()).to_le_bytes();
        let random = u32::from_le_bytes([random[0], random[1], random[2], random[3]]);
        Self {
            // Below our own, and above those of users and of QEMU.
            set: SET / 2 + random % (SET / 2),
            is_removed: true,
            ..Self::new(base)
        }
    }

    /// Waits, for a moment, until QEMU has no descriptor of a picture in
    /// progress. QEMU may outlive this process, which may end next.
    pub(super) async fn settle(&self) {
        if self.is_removed {
            let settled = engine::timeout(Some(SETTLING), self.file.lock());
            let _ = settled.await;
        }
    }

    /// Stops a picture in progress and closes the file, after the machine has
    /// ended.
    pub(crate) async fn close(&self) {
        self.is_closed.set(true);
        *self.file.lock().await = None;
    }

    async fn closed(&self) {
        self.is_closed.until(|it| it.then_some(())).await;
    }

    /// Makes QEMU write its screen, and returns the bytes of the file.
    async fn draw(&self, qmp: &Client, head: Option<(String, u32)>) -> Result<Vec<u8>, NotDrawn> {
        let drawn = race(self.closed(), self.draw_while_open(qmp, head));
        if let Either::Right(drawn) = drawn.await {
            return drawn;
        }
        // The machine has ended, so this fails with the reason.
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
            none => match SharedFile::new(qmp, self.set).await {
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
        let set = self.set;
        arguments["filename"] = format!("/dev/fdset/{set}").into();
        let dumped = screendump(qmp, arguments).await;
        let taken = match dumped {
            Ok(()) => shared.take().await.map_err(NotDrawn::File),
            Err(error) => Err(error),
        };
        if self.is_removed {
            *file = None;
            let remove = qmp.execute_json("remove-fd", json!({"fdset-id": set}));
            let removed = remove.timeout(None).await;
            removed.map_err(NotDrawn::Execute)?;
        }
        taken
    }
}

/// How long a picture in progress may take after its deadline.
const SETTLING: Duration = Duration::from_secs(2);

async fn screendump(qmp: &Client, arguments: serde_json::Value) -> Result<(), NotDrawn> {
    let dump = qmp.execute_json("screendump", arguments).timeout(None);
    dump.await.map(drop).map_err(NotDrawn::Execute)
}

impl SharedFile {
    async fn new(qmp: &Client, set: u32) -> Result<Self, NotDrawn> {
        let file = sys::memory_file(c"screen").map_err(NotDrawn::File)?;
        // QEMU accepts only a descriptor with the access mode that it needs.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let written = File::options().write(true).open(path);
        let written = written.map_err(NotDrawn::File)?;
        let passed = written.try_clone().map_err(NotDrawn::File)?;
        let add = qmp.add_fd(set, passed).timeout(None);
        add.await.map_err(NotDrawn::Execute)?;
        Ok(Self { file, written })
    }

    /// Reads the file and empties it.
    async fn take(&mut self) -> io::Result<Vec<u8>> {
        self.file.rewind()?;
        let bytes = read(&self.file).await?;
        self.file.set_len(0)?;
        Ok(bytes)
    }
}

/// Reads a file in pieces. Other tasks of the engine run between two pieces.
async fn read(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while file.take(PIECE_BYTES).read_to_end(&mut bytes)? > 0 {
        yield_now().await;
    }
    Ok(bytes)
}

/// Whether the connection passes no descriptors, or a server between it and QEMU
/// does not.
fn passes_none(error: &ExecuteError) -> bool {
    let is_lost = |reply: &ErrorReply| reply.desc.contains("SCM_RIGHTS");
    matches!(*error.failure, ExecuteFailure::NoDescriptors) || error.reply().is_some_and(is_lost)
}

/// Whether QEMU reports that there is no screen. QEMU has no error class for
/// it.
fn has_no_display(error: &ExecuteError) -> bool {
    let reply = error.reply();
    reply.is_some_and(|reply| reply.desc.contains("no console to take a screendump from"))
}

/// The expectation that a picture can be taken, for errors.
pub(super) const NO_PICTURE: &str = "show a picture";

/// The number of the descriptor set with the file: the largest one, because
/// users and QEMU choose small ones.
const SET: u32 = i32::MAX as u32;

/// The same as one read of a socket.
const PIECE_BYTES: u64 = 64 << 10;
