//! What `unwrap`, `expect` and an error of `main` show: the `Debug` of every error
//! is its `Display`.

/// Implements `Debug` of these types by their `Display`.
macro_rules! debug_is_display {
    ($($error:ty),+ $(,)?) => {$(
        impl std::fmt::Debug for $error {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, f)
            }
        }
    )+};
}

pub(crate) use debug_is_display;

debug_is_display!(
    crate::AccelDenial,
    crate::AccelError,
    crate::BestAccelError,
    crate::DisplayError,
    crate::ExitError,
    crate::ExitReport,
    crate::ExpectError,
    crate::ExpectFailure,
    crate::ForwardError,
    crate::InputError,
    crate::InteractError,
    crate::IrqError,
    crate::LaunchError,
    crate::LaunchFailure,
    crate::MoveError,
    crate::PatternError,
    crate::QtestEnd,
    crate::QtestError,
    crate::QtestFailure,
    crate::QtestProtocolError,
    crate::SchemaError,
    crate::ScreenError,
    crate::SendError,
    crate::ShellError,
    crate::ShellFailure,
    crate::ShutdownError,
    crate::SnapshotError,
    crate::SnapshotFailure,
);

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    /// The words of each line of the crate that begins a definition or an `impl`,
    /// and what all uses of the macro list.
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

    /// The type, where the line makes one that is an error.
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

    #[test]
    fn no_error_of_the_crate_is_forgotten() {
        let (mut lines, mut listed) = (Vec::new(), Vec::new());
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        read(&sources, &mut lines, &mut listed);
        let errors: Vec<_> = lines.iter().filter_map(|line| error_of(line)).collect();
        assert!(
            errors.len() > 20,
            "the sources are read wrongly: {errors:?}"
        );
        let forgotten: Vec<_> = errors
            .into_iter()
            .filter(|error| !listed.iter().any(|it| it == error))
            .collect();
        assert!(
            forgotten.is_empty(),
            "give them to `debug_is_display!`, and derive no `Debug`: {forgotten:?}"
        );
    }
}
