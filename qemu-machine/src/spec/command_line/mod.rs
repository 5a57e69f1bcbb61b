//! The command line of QEMU: pure functions of a description.

mod compose;
mod device;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod options;
mod shell;
mod start;

use std::ffi::OsString;
use std::fmt;
use std::path::Path;

pub(crate) use compose::{ChannelEnds, Ends, MonitorEnd, compose};
pub(crate) use device::DeviceWithController;
pub use options::{Drive, OptionGroup, UserNet};
pub(crate) use start::GuestStart;

/// A command line: the wrapper, the binary and every argument.
///
/// Its `Display` is a line for a shell, with each word quoted if needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    words: Vec<OsString>,
}

impl CommandLine {
    pub(crate) fn new(words: Vec<OsString>) -> Self {
        Self { words }
    }

    /// The words: the program, then its arguments.
    pub fn words(&self) -> &[OsString] {
        &self.words
    }
}

impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        shell::write_words(f, &self.words)
    }
}

/// The command line of a launch, without running it; made by
/// [`MachineBuilder::dry_run`](crate::MachineBuilder::dry_run).
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct DryRun {
    /// The command line of a launch. Its descriptors exist only in a launch. A
    /// file in the private directory of the machine has the path
    /// `DIRECTORY/name`.
    pub command_line: CommandLine,
    /// A line to paste into a shell, which starts the same machine by hand. Its
    /// first console is the terminal. Its monitor is a unix socket in the
    /// current directory. It has no added descriptors.
    pub shell_line: String,
}

impl DryRun {
    pub(crate) fn new(
        command_line: CommandLine,
        by_hand: &[OsString],
        environment: &[(OsString, Option<OsString>)],
        directory: Option<&Path>,
    ) -> Self {
        let mut words: Vec<OsString> = Vec::new();
        if !environment.is_empty() {
            words.push("env".into());
        }
        // `env` takes its options before the first variable.
        for (key, _) in environment.iter().filter(|(_, value)| value.is_none()) {
            words.extend(["-u".into(), key.clone()]);
        }
        for (key, value) in environment {
            if let Some(value) = value {
                let mut word = key.clone();
                word.push("=");
                word.push(value);
                words.push(word);
            }
        }
        words.extend_from_slice(by_hand);
        let line = CommandLine::new(words);
        let shell_line = match directory {
            Some(path) => {
                let change = CommandLine::new(vec!["cd".into(), path.into()]);
                format!("({change} && exec {line})")
            }
            None => line.to_string(),
        };
        Self {
            command_line,
            shell_line,
        }
    }
}
