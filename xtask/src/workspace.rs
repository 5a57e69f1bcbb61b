//! Where things are: the workspace, and what is made under its `target`.

use std::path::{Path, PathBuf};

/// The folder of the workspace's `Cargo.toml`.
pub(crate) fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_owned()
}

/// The folder of all that can be made again.
///
/// Never moved by `CARGO_TARGET_DIR`: the tests look for QEMU and guests here.
pub(crate) fn target() -> PathBuf {
    root().join("target")
}
