//! Compares the imports between a crate's rooms with their drawing in
//! ARCHITECTURE.md. A room is a module at the crate's root. The drawing is a code
//! block: its first line is `rooms of NAME, from the top`, and each further line
//! is `room -> room, room`. No arrow may go up.

mod circles;
mod drawing;
mod paths;
mod sources;

use std::{fs, path::PathBuf};

use crate::{failure::Failure, workspace};
use circles::{circles, knots};
use drawing::Drawing;
use sources::Imports;

/// Checks the drawings, or prints the drawings of the actual imports.
pub(crate) fn run(arguments: &[&str]) -> Result<(), Failure> {
    match arguments {
        [] => check().map(drop),
        ["--measure"] => measure(),
        _ => Err(Failure::advice(USAGE)),
    }
}

/// Fails if a drawing and the imports differ, or if imports form a circle.
pub(crate) fn check() -> Result<(), Failure> {
    let text = fs::read_to_string(workspace::root().join(PAGE))
        .map_err(Failure::io(format!("read {PAGE}")))?;
    let mut has_faults = false;
    for name in DRAWN {
        let Some(drawing) = Drawing::find(&text, name) else {
            if name == REQUIRED {
                let title = drawing::title(name);
                tell!("{PAGE} has no code block that begins with `{title}`");
                has_faults = true;
            }
            continue;
        };
        let imports = imports(name)?;
        let faults = drawing.faults(PAGE, &imports);
        for fault in &faults {
            tell!("{fault}");
        }
        has_faults |= !faults.is_empty();
        let (rooms, arrows) = (imports.rooms.len(), imports.arrows.len());
        tell!(
            "{name}: {rooms} rooms, {arrows} arrows, {} faults",
            faults.len()
        );
    }
    if has_faults {
        return Err(Failure::new(
            "The imports differ from the drawing. Correct the imports or the drawing. To print \
             the actual drawing: cargo xtask rooms --measure",
        ));
    }
    Ok(())
}

fn measure() -> Result<(), Failure> {
    for name in DRAWN {
        let imports = imports(name)?;
        tell!("{}", drawing::draw(name, &imports));
        let rooms = imports.rooms.iter().map(String::as_str).collect();
        let pairs = imports.pairs();
        for knot in knots(&rooms, &pairs) {
            let names = knot.join(", ");
            tell!("{} rooms reach each other: {names}", knot.len());
        }
        for circle in drawing::circles_with_places(&imports) {
            tell!("{circle}");
        }
        let (rooms, arrows) = (rooms.len(), pairs.len());
        let circles = circles(&pairs).len();
        tell!("{name}: {rooms} rooms, {arrows} arrows, {circles} circles\n");
    }
    Ok(())
}

fn imports(name: &str) -> Result<Imports, Failure> {
    sources::read(&workspace::root(), &PathBuf::from(name).join("src"))
}

/// The crates that may have a drawing.
const DRAWN: [&str; 2] = [REQUIRED, "qemu-qmp"];

/// The crate that must have one.
const REQUIRED: &str = "qemu-machine";

const PAGE: &str = "ARCHITECTURE.md";

const USAGE: &str = "usage: cargo xtask rooms [--measure]";
