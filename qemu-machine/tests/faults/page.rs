//! The table for people: `docs/faults.md`.

use std::fmt::Write;
use std::path::Path;

use super::{Place, table};

/// Holds the page to the table; with `UPDATE` in the environment, writes it.
pub fn check() -> Result<(), String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/faults.md");
    let page = render();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &page).map_err(|error| error.to_string())?;
    }
    match std::fs::read_to_string(&path) {
        Ok(there) if there == page => Ok(()),
        _ => Err(format!(
            "{} is not the table: UPDATE=1 cargo test -p qemu-machine --test scripted_faults page",
            path.display()
        )),
    }
}

fn render() -> String {
    let mut page = HEADER.to_owned();
    let mut group = "";
    for row in table() {
        if row.group != group {
            group = row.group;
            let _ = write!(page, "\n## {group}\n\n{COLUMNS}");
        }
        let place = match row.place {
            Place::Scripted => "scripted peer",
            Place::Real => "QEMU",
            Place::Both => "both",
        };
        let (fault, gets, within) = (&row.what, row.gets, row.within);
        let _ = writeln!(page, "| {fault} | {place} | {gets} | {within:?} |");
    }
    page
}

const HEADER: &str = "\
# Faults

What can go wrong, what the caller gets then, and within how long from the fault
(on a machine that is busy with other things; on a quiet one it is milliseconds
beyond the deadline that the row sets). This page is written from the table that
the tests play, `qemu-machine/tests/faults`: on the scripted peer, or a program
that is none, by `cargo test -p qemu-machine --test scripted_faults`, and on every
real QEMU by `--test real_faults`; a part of a row's name plays it alone.

After each row, nothing of it is left in the process that played it: no child,
adopted ones included, no descriptor, no thread, no file.
";

const COLUMNS: &str = "\
| fault | where | what the caller gets | within |
|---|---|---|---|
";
