//! A verb that did not do what was asked: the outcome, and the text for people.

use std::fmt;
use std::io;

use qemu_machine::error::ErrorKind;

use crate::exit::Outcome;

/// Why a verb ends early.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) outcome: Outcome,
    /// `None` if it is printed already, or nobody could read it.
    pub(crate) message: Option<String>,
}

impl Failure {
    pub(crate) fn new(outcome: Outcome, message: impl fmt::Display) -> Self {
        Self {
            outcome,
            message: Some(message.to_string()),
        }
    }

    /// An operation failed; the text comes from the library.
    pub(crate) fn failed(message: impl fmt::Display) -> Self {
        Self::new(Outcome::Failed, message)
    }

    /// The arguments cannot be used.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(Outcome::Usage, message)
    }

    /// A file cannot be read or written.
    pub(crate) fn file(action: &str, path: &std::path::Path, cause: &io::Error) -> Self {
        let message = format!("cannot {action} {}: {cause}", path.display());
        Self::new(Outcome::Broken, message)
    }
}

impl Outcome {
    /// The outcome of an operation that failed in this way.
    pub(crate) fn of(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Timeout => Self::TimedOut,
            _ => Self::Failed,
        }
    }
}
