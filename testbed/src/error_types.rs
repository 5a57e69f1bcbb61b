//! Finds the error types in the sources of a crate, and those that the macro
//! `debug_is_display!` lists.

use std::fs;
use std::path::Path;

/// The error types below `sources` that no use of `debug_is_display!` lists.
///
/// # Panics
/// The sources cannot be read, or fewer than `least` error types are found, which
/// means that this search is wrong.
pub fn errors_with_another_debug(sources: &Path, least: usize) -> Vec<String> {
    let (mut lines, mut listed) = (Vec::new(), Vec::new());
    read(sources, &mut lines, &mut listed);
    let errors: Vec<_> = lines.iter().filter_map(|line| error_of(line)).collect();
    assert!(
        errors.len() >= least,
        "too few error types were found: {errors:?}"
    );
    errors
        .into_iter()
        .filter(|error| !listed.iter().any(|it| it == error))
        .map(str::to_owned)
        .collect()
}

/// The words of each line that begins a definition or an `impl`, and the lists of
/// all uses of the macro.
fn read(folder: &Path, lines: &mut Vec<Vec<String>>, listed: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(&path, lines, listed);
        } else {
            let source = fs::read_to_string(&path).unwrap();
            let words = |text: &str| {
                let words = text.split(|letter: char| !letter.is_alphanumeric());
                let words = words.filter(|word| !word.is_empty());
                words.map(str::to_owned).collect::<Vec<_>>()
            };
            lines.extend(source.lines().map(words));
            let uses = source.split("debug_is_display!").skip(1);
            listed.extend(uses.flat_map(|it| words(it.split(';').next().unwrap())));
        }
    }
}

/// The type, if the line makes it an error.
fn error_of(line: &[String]) -> Option<&str> {
    let line: Vec<&str> = line.iter().map(String::as_str).collect();
    match line[..] {
        ["impl", .., "Error" | "StdError", "for", name] => Some(name),
        ["pub", "struct" | "enum", name, ..] => {
            let is_error = name.ends_with("Error") || name.ends_with("Failure");
            is_error.then_some(name)
        }
        _ => None,
    }
}
