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
    use std::path::Path;

    #[test]
    fn no_error_of_the_crate_is_forgotten() {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let forgotten = testbed::errors_with_another_debug(&sources, 21);
        assert!(
            forgotten.is_empty(),
            "give them to `debug_is_display!`, and derive no `Debug`: {forgotten:?}"
        );
    }
}
