//! The table as a page: `docs/faults.md`.

use std::fmt::Write;
use std::path::Path;

use super::shown_elsewhere::ShownElsewhere;
use super::{Place, python, table, templates};

/// Compares the page with the table. With `UPDATE` in the environment, writes
/// it.
pub fn check() -> Result<(), String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/faults.md");
    for row in templates::ROWS.iter().chain(python::ROWS) {
        row.check()?;
    }
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
    for (title, rows) in [(TEMPLATES, templates::ROWS), (PYTHON, python::ROWS)] {
        page.push_str(title);
        page.extend(rows.iter().map(ShownElsewhere::line));
    }
    page
}

const HEADER: &str = "\
# Faults

This page lists what can go wrong, what the caller then gets, and within how
long after the fault. The times allow for a busy host: on an idle one, the result
comes milliseconds after the deadline of the row, if it has one.

Each row is a test in `qemu-machine/tests/faults`, and the page is generated from
them. Rows on the scripted peer run with
`cargo test -p qemu-machine --test scripted_faults`, and rows on every real QEMU
with `cargo test -p qemu-machine --test real_faults`. A part of its name runs one
row alone.

After each row, the test checks that nothing is left: no child process, adopted
or not, no descriptor, no thread and no file.
";

const TEMPLATES: &str = "
## Templates, clones and pools

Here other processes die. So each row is shown by a separate test, most of them on real QEMUs.

| fault | what the caller gets | shown by |
|---|---|---|
";

const PYTHON: &str = "
## A Python program

Each row is shown by a separate test. The first rows are about the package `qemu_machine`, on real
QEMUs: `cargo xtask python` runs their tests. The last rows are about the replacement for QEMU's
packages.

| fault | what becomes of the machines | shown by |
|---|---|---|
";

const COLUMNS: &str = "\
| fault | where | what the caller gets | within |
|---|---|---|---|
";
