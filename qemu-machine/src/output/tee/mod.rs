//! Live output: the bytes of a console, or of QEMU itself, go to a writer of
//! the caller.
//!
//! ```text
//! engine --bytes--> Queue (bounded) --thread--> Lines --> the caller's writer
//! ```
//!
//! The engine never waits. Each tee of each machine has its own thread. Bytes
//! beyond the limit of its queue are dropped and counted.

mod feed;
mod lines;
mod queue;

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Arc, Mutex};

pub(crate) use feed::{Feed, finish};

use crate::spec::{SharedWriter, Tee, TeeForm, TeeTarget};

/// Starts to write the bytes of `source`, which `label` names in lines.
pub(crate) fn begin(tee: &Tee, source: String, label: &str) -> io::Result<Feed> {
    let writer: SharedWriter = match &tee.target {
        TeeTarget::Writer(writer) => Arc::clone(writer),
        TeeTarget::Path(path) => {
            let mut options = File::options();
            // Opening a pipe without a reader would block the engine.
            options
                .append(true)
                .create(true)
                .custom_flags(libc::O_NONBLOCK);
            let file = options.open(path)?;
            Arc::new(Mutex::new(file))
        }
    };
    let lines = match tee.form {
        TeeForm::Bytes => None,
        TeeForm::Lines => Some(lines::Lines::new(String::new())),
        TeeForm::NamedLines => Some(lines::Lines::new(format!("[{label}] "))),
    };
    Feed::begin(source, writer, lines)
}
