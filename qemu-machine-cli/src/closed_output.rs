//! Whether standard output was closed when this process was started (`>&-`).
//!
//! Before `main`, Rust's runtime opens `/dev/null` in place of a closed standard
//! stream. A write would then succeed, and the output would be lost in silence.
//! So the look comes before that, from the list of functions that the system's
//! loader calls first.

// Nothing else is unsafe: the section has addresses of functions with this ABI.
#![expect(unsafe_code, reason = "only the loader calls before the runtime")]

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether it was closed.
pub(crate) fn is_closed() -> bool {
    IS_CLOSED.load(Ordering::Relaxed)
}

static IS_CLOSED: AtomicBool = AtomicBool::new(false);

#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = look;

extern "C" fn look() {
    // Without `/proc`, there is nothing to see, and it counts as open.
    let is_there = |path: &str| fs::symlink_metadata(path).is_ok();
    let is_closed = !is_there("/proc/self/fd/1") && is_there("/proc/self/fd");
    IS_CLOSED.store(is_closed, Ordering::Relaxed);
}
