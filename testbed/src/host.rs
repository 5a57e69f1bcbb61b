//! What a program that uses the library may do to itself, or have done to it.

use crate::sys;

pub use crate::sys::Forked;

/// This process may open no more descriptors than these; the limit is lifted
/// when this is dropped.
#[derive(Debug)]
#[must_use = "the limit holds as long as this lives"]
pub struct DescriptorLimit {
    before: u64,
}

impl DescriptorLimit {
    /// Lets this process have no descriptor of this number, or a higher one.
    pub fn below(number: u64) -> Self {
        Self {
            before: sys::limit_descriptors(number),
        }
    }
}

impl Drop for DescriptorLimit {
    fn drop(&mut self) {
        sys::limit_descriptors(self.before);
    }
}

/// Has every further start of a process or thread fail, for as long as this
/// process lives. It gives up being root for that.
pub fn forbid_processes() {
    sys::forbid_processes();
}

/// Ignores SIGCHLD, so that the kernel reaps every child.
pub fn ignore_children() {
    sys::ignore_children();
}

/// Kills a process, without starting another for it.
pub fn kill(pid: u32) {
    sys::kill(pid);
}

/// Reaps a child, whichever ends first; `None` where there is none.
pub fn reap_any() -> Option<u32> {
    sys::reap_any()
}

/// Forks without exec. The child runs `work`, and exits by 0 when it returns,
/// or by 101 when it panics, with nothing of its parent's dropped.
pub fn fork(work: impl FnOnce()) -> Forked {
    sys::fork(work)
}
