//! The `Debug` of every error is its `Display`, because `unwrap`, `expect` and an
//! error returned from `main` print `Debug`.

use qemu_qmp_engine::debug_is_display;

debug_is_display!(
    crate::agent::AgentError,
    crate::agent::AgentFailure,
    crate::connect::ConnectError,
    crate::Disconnected,
    {C: std::fmt::Display} crate::client::EventError<C>,
    crate::client::ExecuteError,
    crate::client::ExecuteFailure,
    crate::client::JobError,
    crate::client::JobFailure,
    crate::client::MigrationError,
    crate::wire::ProtocolError,
    crate::schema::QuestionError,
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
