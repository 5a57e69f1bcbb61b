//! Every test that `docs/guarantees.md` names exists.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// The tests that the page names, each as `file.rs::name`.
fn named(page: &str) -> Vec<(&str, &str)> {
    page.split('`')
        .skip(1)
        .step_by(2)
        .filter_map(|code| code.split_once("::"))
        .filter(|(file, _)| Path::new(file).extension().is_some_and(|end| end == "rs"))
        .collect()
}

/// Every Rust file of the workspace's crates, by name; several may share one.
fn sources(folder: &Path, found: &mut BTreeMap<String, Vec<PathBuf>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.entry(name).or_default().push(path);
        }
    }
}

/// Whether a file has a test, or a scenario, of this name.
fn has_test(path: &Path, name: &str) -> bool {
    let text = fs::read_to_string(path).unwrap();
    let start = format!("fn {name}(");
    text.lines()
        .any(|line| line.trim_start().starts_with(&start))
}

#[test]
fn every_test_that_the_guarantees_name_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(root.join("docs/guarantees.md")).unwrap();
    let mut files = BTreeMap::new();
    sources(&root, &mut files);
    let named = named(&page);
    assert!(named.len() >= 50, "only {} tests are named", named.len());
    let missing: Vec<_> = named
        .into_iter()
        .filter(|(file, name)| {
            !files
                .get(*file)
                .is_some_and(|paths| paths.iter().any(|path| has_test(path, name)))
        })
        .collect();
    assert!(missing.is_empty(), "no such tests: {missing:#?}");
}

#[test]
fn every_line_of_the_guarantees_names_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(root.join("docs/guarantees.md")).unwrap();
    let row = |line: &&str| ["| P", "| D", "| R"].iter().any(|it| line.starts_with(it));
    let unproven: Vec<_> = page
        .lines()
        .filter(row)
        .filter(|line| named(line).is_empty())
        .collect();
    assert!(unproven.is_empty(), "no test proves: {unproven:#?}");
}
