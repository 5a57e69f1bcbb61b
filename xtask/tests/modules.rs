//! Every file in a folder of tests must be a module of its `main.rs`. Otherwise
//! its tests never run, and cargo reports nothing.

use std::{fs, path::Path};

#[test]
fn every_file_beside_a_main_is_one_of_its_modules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for folder in [
        "qemu-machine/tests/real",
        "qemu-machine/tests/scripted",
        "qemu-qmp/tests/hostile_peers",
        "qemu-qmp/tests/qmp",
    ] {
        let folder = root.join(folder);
        let main = fs::read_to_string(folder.join("main.rs")).unwrap();
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            let line = format!("mod {name};");
            let is_there = name == "main" || main.lines().any(|it| it == line);
            assert!(is_there, "no `{line}` in {}/main.rs", folder.display());
        }
    }
}
