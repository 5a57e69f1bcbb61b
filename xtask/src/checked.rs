//! How a check ended that did not fail.

/// Whether there was something to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checked {
    Passed,
    /// What it compares with is not there yet. It has printed a line that says so.
    Skipped,
}
