//! The error of these commands: a message for the user, and the exit code.

use std::{
    fmt::{self, Display},
    io,
    process::ExitCode,
};

/// Why a command did not do its work.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    exit_code: u8,
}

impl Failure {
    /// Something went wrong.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            exit_code: 1,
        }
    }

    /// Nothing went wrong, but the user must do something first.
    pub(crate) fn advice(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            exit_code: 2,
        }
    }

    /// Something went wrong, and the message has been printed.
    pub(crate) fn printed() -> Self {
        Self::new("")
    }

    /// For `map_err`: `doing` names the purpose of the input or output.
    pub(crate) fn io(doing: impl Display) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::new(format!("cannot {doing}: {error}"))
    }

    /// Adds advice for the user.
    pub(crate) fn hint(mut self, hint: &str) -> Self {
        self.message.push('\n');
        self.message.push_str(hint);
        self
    }

    pub(crate) fn is_printed(&self) -> bool {
        self.message.is_empty()
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        self.exit_code.into()
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
