//! Lists the test targets. `real` and names that begin with `real_` need a real
//! QEMU. Cargo cannot exclude targets, so the others are named one by one.

use std::{collections::BTreeSet, fs, io, path::Path};

use crate::failure::Failure;

/// The names of all test targets of a workspace that need no real QEMU.
///
/// Several crates may have targets of the same name; cargo runs all of them.
pub(crate) fn without_qemu(root: &Path) -> Result<BTreeSet<String>, Failure> {
    let find = || {
        let mut names = BTreeSet::new();
        for package in fs::read_dir(root)? {
            let package = package?.path();
            if package.join("Cargo.toml").is_file() && package.join("tests").is_dir() {
                names.extend(targets(&package.join("tests"))?);
            }
        }
        names.retain(|name| !needs_qemu(name));
        Ok(names)
    };
    find().map_err(Failure::io("list the test targets"))
}

/// Whether a test target needs a real QEMU.
pub(crate) fn needs_qemu(target: &str) -> bool {
    target == "real" || target.starts_with("real_")
}

/// The targets that cargo finds: `tests/<name>.rs` and `tests/<name>/main.rs`.
fn targets(tests: &Path) -> Result<Vec<String>, io::Error> {
    let mut names = Vec::new();
    for entry in fs::read_dir(tests)? {
        let path = entry?.path();
        let is_file = path.extension().is_some_and(|extension| extension == "rs");
        let name = match path.file_stem() {
            Some(stem) if is_file => stem,
            _ if path.join("main.rs").is_file() => path.file_name().unwrap_or_default(),
            _ => continue,
        };
        names.push(name.to_string_lossy().into_owned());
    }
    Ok(names)
}
