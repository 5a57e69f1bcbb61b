//! The public API of the crates as a listing, so that a diff shows each change.
//! It has one line for each item, field, variant, method and trait. It is read
//! from documents of the stable toolchain, which are built as on docs.rs.

mod html;
mod listing;
mod page;

use std::{fs, path::PathBuf, process::Command};

use crate::{failure::Failure, process, process::cargo, workspace};
use listing::Listing;

/// Compares the public API with the listings, or writes the listings.
pub(crate) fn run(arguments: &[&str]) -> Result<(), Failure> {
    match arguments {
        [] => {
            process::run_shown(&mut documents())?;
            compare().map(drop)
        }
        ["--keep"] => {
            process::run_shown(&mut documents())?;
            keep()
        }
        _ => Err(Failure::advice(USAGE)),
    }
}

/// Builds the documents of the published crates, as docs.rs builds them.
pub(crate) fn documents() -> Command {
    let mut doc = cargo(["doc", "--all-features", "--no-deps"]);
    for name in workspace::PUBLISHED {
        doc.args(["--package", name]);
    }
    doc.env("RUSTDOCFLAGS", "-D warnings");
    doc
}

/// Compares the output of [`documents`] with the listings.
pub(crate) fn compare() -> Result<(), Failure> {
    let mut has_changed = false;
    for name in LISTED {
        let path = path(name);
        if !path.is_file() {
            tell!("there is no listing of {name} in {FOLDER}");
            has_changed = true;
            continue;
        }
        let kept =
            fs::read_to_string(&path).map_err(Failure::io(format!("read {}", path.display())))?;
        let kept = kept.lines().map(str::to_owned).collect();
        let is = listing(name)?;
        tell!("{name}: {} lines", is.len());
        for line in listing::differences(&kept, &is) {
            has_changed = true;
            tell!("{line}");
        }
    }
    if has_changed {
        return Err(Failure::new(
            "The public API has changed. To keep the change: cargo xtask api --keep",
        ));
    }
    Ok(())
}

fn keep() -> Result<(), Failure> {
    for name in LISTED {
        let path = path(name);
        let folder = path.parent().unwrap_or(&path);
        fs::create_dir_all(folder).map_err(Failure::io(format!("make {FOLDER}")))?;
        let listing = listing(name)?;
        let lines: Vec<String> = listing.iter().map(|line| format!("{line}\n")).collect();
        fs::write(&path, lines.concat())
            .map_err(Failure::io(format!("write {}", path.display())))?;
        tell!("written: {FOLDER}/{name}.txt, {} lines", listing.len());
    }
    Ok(())
}

fn listing(name: &str) -> Result<Listing, Failure> {
    let library = name.replace('-', "_");
    let folder = workspace::target().join("doc").join(&library);
    listing::read(&library, &folder)
}

fn path(name: &str) -> PathBuf {
    workspace::root().join(FOLDER).join(format!("{name}.txt"))
}

/// The crates whose public API is stable.
const LISTED: [&str; 2] = ["qemu-qmp", "qemu-machine"];

const FOLDER: &str = "docs/api";

const USAGE: &str = "usage: cargo xtask api [--keep]";
