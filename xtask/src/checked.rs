//! The result of a check that did not fail.

/// Whether the check ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checked {
    Passed,
    /// Something that the check needs is missing. A printed line says what.
    Skipped,
}
