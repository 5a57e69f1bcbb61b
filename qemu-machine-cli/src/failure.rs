//! A verb that did not do what was asked: the outcome, and the text for people.

use std::fmt;
use std::io;

use qemu_machine::error::ErrorKind;

use crate::exit::Outcome;

/// Why a verb ends early.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) outcome: Outcome,
    /// `None` if everything was said, or nobody is there to read it.
    pub(crate) message: Option<String>,
}

impl Failure {
    pub(crate) fn new(outcome: Outcome, message: impl fmt::Display) -> Self {
        Self {
            outcome,
            message: Some(message.to_string()),
        }
    }

    /// It failed; the text is the library's.
    pub(crate) fn failed(message: impl fmt::Display) -> Self {
        Self::new(Outcome::Failed, message)
    }

    /// The arguments cannot be used.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(Outcome::Usage, message)
    }

    /// A file of ours cannot be read or written.
    pub(crate) fn file(action: &str, path: &std::path::Path, cause: &io::Error) -> Self {
        let message = format!("cannot {action} {}: {cause}", path.display());
        Self::new(Outcome::Broken, message)
    }
}

impl Outcome {
    /// Of an operation that failed.
    pub(crate) fn of(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Timeout => Self::TimedOut,
            _ => Self::Failed,
        }
    }
}
