//! Rows of the table that tests elsewhere show.

use std::path::Path;

/// A row that a test elsewhere shows, in Rust or in Python.
pub struct ShownElsewhere {
    pub what: &'static str,
    pub gets: &'static str,
    /// The file of the test, from the folder of the workspace.
    pub file: &'static str,
    pub test: &'static str,
}

impl ShownElsewhere {
    /// Fails if there is no such test.
    pub fn check(&self) -> Result<(), String> {
        let Self { file, test, .. } = self;
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
        let is_python = path.extension().is_some_and(|it| it == "py");
        let head = if is_python { "def" } else { "fn" };
        let source = std::fs::read_to_string(path).map_err(|error| format!("{file}: {error}"))?;
        if source.contains(&format!("{head} {test}(")) {
            Ok(())
        } else {
            Err(format!("{file} has no test {test}"))
        }
    }

    /// The row, as a line of the page.
    pub fn line(&self) -> String {
        let Self {
            what, gets, test, ..
        } = self;
        let file = self.file.rsplit('/').next().unwrap_or_default();
        format!("| {what} | {gets} | `{file}::{test}` |\n")
    }
}
