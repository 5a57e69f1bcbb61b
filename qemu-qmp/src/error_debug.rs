//! The `Debug` of every error is its `Display`, because `unwrap`, `expect` and an
//! error returned from `main` print `Debug`.

use qemu_qmp_engine::debug_is_display;

debug_is_display!(
    crate::agent::AgentError,
    crate::agent::AgentFailure,
    crate::ConnectError,
    crate::Disconnected,
    {C: std::fmt::Display} crate::EventError<C>,
    crate::ExecuteError,
    crate::ExecuteFailure,
    crate::JobError,
    crate::JobFailure,
    crate::MigrationError,
    crate::ProtocolError,
    crate::QuestionError,
);

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn no_error_of_the_crate_is_forgotten() {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let forgotten = testbed::errors_with_another_debug(&sources, 16);
        assert!(
            forgotten.is_empty(),
            "add these to `debug_is_display!`, and do not derive `Debug`: {forgotten:?}"
        );
    }
}
