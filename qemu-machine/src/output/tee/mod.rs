//! Live output: what a console, or QEMU itself, says goes to a writer of the
//! caller's as it comes.
//!
//! ```text
//! engine --bytes--> Queue (bounded) --thread--> Lines --> the caller's writer
//! ```
//!
//! The engine never waits: each tee of each machine has a thread of its own, and
//! what its queue does not hold is dropped and counted.

mod feed;
mod lines;
mod queue;

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Arc, Mutex};

pub(crate) use feed::{Feed, finish};

use crate::spec::{SharedWriter, Tee, TeeForm, TeeTarget};

/// Begins to write what `source` says, which is named in lines by `label`.
pub(crate) fn begin(tee: &Tee, source: String, label: &str) -> io::Result<Feed> {
    let writer: SharedWriter = match &tee.target {
        TeeTarget::Writer(writer) => Arc::clone(writer),
        TeeTarget::Path(path) => {
            let mut options = File::options();
            // A pipe that nobody reads would be waited for, on the engine.
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
