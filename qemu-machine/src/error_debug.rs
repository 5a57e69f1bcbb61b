//! The `Debug` of every error is its `Display`. So `unwrap`, `expect` and an
//! error of `main` show plain text.

use qemu_qmp_engine::debug_is_display;

debug_is_display!(
    crate::Error,
    crate::error::AccelDenial,
    crate::error::AccelError,
    crate::error::BestAccelError,
    crate::error::DisplayError,
    crate::error::ExitError,
    crate::ExitReport,
    crate::error::ExpectError,
    crate::error::ExpectFailure,
    crate::error::ForwardError,
    crate::error::InputError,
    crate::error::InteractError,
    crate::error::InteractFailure,
    crate::error::LaunchError,
    crate::error::LaunchFailure,
    crate::error::MoveError,
    crate::error::PatternError,
    crate::qtest::QtestEnd,
    crate::error::PoolError,
    crate::error::PublishedError,
    crate::error::QtestError,
    crate::error::QtestFailure,
    crate::error::QtestProtocolError,
    crate::error::RegistryError,
    crate::error::SchemaError,
    crate::error::ScreenError,
    crate::error::SendError,
    crate::error::ShellError,
    crate::error::ShellFailure,
    crate::error::ShutdownError,
    crate::error::SnapshotError,
    crate::error::SnapshotFailure,
    crate::error::TemplateError,
    crate::error::WakeError,
    crate::error::WakeFailure,
);

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn no_error_of_the_crate_is_forgotten() {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let forgotten = testbed::errors_with_another_debug(&sources, 24);
        assert!(
            forgotten.is_empty(),
            "give them to `debug_is_display!`, and derive no `Debug`: {forgotten:?}"
        );
    }
}
