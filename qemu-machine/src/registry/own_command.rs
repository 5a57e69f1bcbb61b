//! The commands that the owner answers itself, named by QAPI's rule for extensions
//! (`docs/devel/qapi-code-gen`, "Downstream extensions").
//!
//! Pure: both ends read and write the arguments here. Times are seconds.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::life::{Ladder, Rung};

/// Returns the state of the machine.
pub(super) const STATUS: &str = "__org.qemu-machine_status";

/// Ends the machine, softly first, and returns its report.
pub(super) const SHUTDOWN: &str = "__org.qemu-machine_shutdown";

/// Kills the machine, and returns its report.
pub(super) const KILL: &str = "__org.qemu-machine_kill";

/// A command of the owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OwnCommand {
    Status,
    Shutdown(Options),
    Kill,
}

/// How to end a machine. What is not set is as its builder set it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Options {
    /// The rung of the guest before the others, and its timeout.
    pub(super) guest: Option<(Rung, Duration)>,
    pub(super) quit: QuitTimeout,
    pub(super) terminate: Option<Duration>,
}

/// How long to wait after `quit`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum QuitTimeout {
    #[default]
    AsBuilt,
    /// Until QEMU exits.
    Endless,
    Set(Duration),
}

impl OwnCommand {
    /// `None` if the owner has no such command.
    ///
    /// # Errors
    /// What is wrong with the arguments.
    pub(super) fn read(name: &str, arguments: Option<&str>) -> Option<Result<Self, String>> {
        if ![STATUS, SHUTDOWN, KILL].contains(&name) {
            return None;
        }
        let Ok(arguments) = serde_json::from_str(arguments.unwrap_or("{}")) else {
            return Some(Err("the arguments are nested too deep".to_owned()));
        };
        Some(match name {
            SHUTDOWN => Options::read(&arguments).map(Self::Shutdown),
            _ => match arguments.keys().next() {
                Some(unknown) => Err(unexpected(unknown)),
                None if name == KILL => Ok(Self::Kill),
                None => Ok(Self::Status),
            },
        })
    }
}

impl Options {
    fn read(arguments: &Map<String, Value>) -> Result<Self, String> {
        let mut options = Self::default();
        for (name, value) in arguments {
            let time = || {
                let time = value.as_f64().map(Duration::try_from_secs_f64);
                time.and_then(Result::ok).ok_or_else(|| {
                    format!("Invalid parameter type for '{name}', expected: number of seconds")
                })
            };
            match name.as_str() {
                AFTER_GUEST => options.guest = Some((Rung::Guest, time()?)),
                POWERDOWN => options.guest = Some((Rung::Powerdown, time()?)),
                QUIT_TIMEOUT if value.is_null() => options.quit = QuitTimeout::Endless,
                QUIT_TIMEOUT => options.quit = QuitTimeout::Set(time()?),
                TERMINATE_TIMEOUT => options.terminate = Some(time()?),
                unknown => return Err(unexpected(unknown)),
            }
        }
        if arguments.contains_key(AFTER_GUEST) && arguments.contains_key(POWERDOWN) {
            return Err(format!(
                "Parameters '{AFTER_GUEST}' and '{POWERDOWN}' exclude each other"
            ));
        }
        Ok(options)
    }

    /// The arguments of the command.
    pub(super) fn arguments(&self) -> Value {
        let mut arguments = Map::new();
        let mut set = |name: &str, value: Value| arguments.insert(name.to_owned(), value);
        if let Some((rung, limit)) = self.guest {
            let name = match rung {
                Rung::Powerdown => POWERDOWN,
                _ => AFTER_GUEST,
            };
            set(name, json!(limit.as_secs_f64()));
        }
        match self.quit {
            QuitTimeout::AsBuilt => None,
            QuitTimeout::Endless => set(QUIT_TIMEOUT, Value::Null),
            QuitTimeout::Set(limit) => set(QUIT_TIMEOUT, json!(limit.as_secs_f64())),
        };
        if let Some(terminate) = self.terminate {
            set(TERMINATE_TIMEOUT, json!(terminate.as_secs_f64()));
        }
        Value::Object(arguments)
    }

    /// The rungs, with the machine's own timeouts where none is set.
    pub(super) fn ladder(&self, quit: Option<Duration>, terminate: Duration) -> Ladder {
        let guest = self.guest.map(|(rung, limit)| (rung, Some(limit)));
        let quit = match self.quit {
            QuitTimeout::AsBuilt => quit,
            QuitTimeout::Endless => None,
            QuitTimeout::Set(limit) => Some(limit),
        };
        let rungs = [
            (Rung::Quit, quit),
            (Rung::Terminate, Some(self.terminate.unwrap_or(terminate))),
        ];
        Ladder::new(guest.into_iter().chain(rungs))
    }
}

fn unexpected(name: &str) -> String {
    format!("Parameter '{name}' is unexpected")
}

const AFTER_GUEST: &str = "after-guest";
const POWERDOWN: &str = "powerdown";
const QUIT_TIMEOUT: &str = "quit-timeout";
const TERMINATE_TIMEOUT: &str = "terminate-timeout";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_are_written_are_those_that_are_read() {
        let second = Duration::from_secs(1);
        let every = [
            Options::default(),
            Options {
                guest: Some((Rung::Powerdown, second)),
                quit: QuitTimeout::Endless,
                terminate: Some(2 * second),
            },
            Options {
                guest: Some((Rung::Guest, second / 2)),
                quit: QuitTimeout::Set(second),
                terminate: None,
            },
        ];
        for options in every {
            let text = options.arguments().to_string();
            let read = OwnCommand::read(SHUTDOWN, Some(&text)).unwrap();
            assert_eq!(read, Ok(OwnCommand::Shutdown(options)));
        }
        assert_eq!(OwnCommand::read(KILL, None).unwrap(), Ok(OwnCommand::Kill));
        assert_eq!(OwnCommand::read("quit", None), None);
    }

    #[test]
    fn arguments_that_are_not_understood_end_no_machine() {
        let refused = |name, text: &str| OwnCommand::read(name, Some(text)).unwrap().unwrap_err();
        assert_eq!(refused(KILL, r#"{"x":1}"#), "Parameter 'x' is unexpected");
        assert!(refused(SHUTDOWN, r#"{"powerdown":"1"}"#).contains("'powerdown', expected"));
        assert!(refused(SHUTDOWN, r#"{"powerdown":-1}"#).contains("'powerdown', expected"));
        let both = refused(SHUTDOWN, r#"{"powerdown":1,"after-guest":1}"#);
        assert!(both.contains("exclude each other"), "{both}");
        let deep = format!(r#"{{"x":{}{}}}"#, "[".repeat(200), "]".repeat(200));
        assert!(refused(SHUTDOWN, &deep).contains("too deep"));
    }

    #[test]
    fn what_is_not_set_is_as_the_builder_set_it() {
        let [long, short] = [9, 1].map(Duration::from_secs);
        let ladder = Options::default().ladder(None, long);
        let expected = [(Rung::Quit, None), (Rung::Terminate, Some(long))];
        assert_eq!(ladder, Ladder::new(expected));
        let options = Options {
            guest: Some((Rung::Powerdown, short)),
            quit: QuitTimeout::Set(short),
            terminate: Some(short),
        };
        let rungs = [Rung::Powerdown, Rung::Quit, Rung::Terminate];
        let expected = rungs.map(|rung| (rung, Some(short)));
        assert_eq!(options.ladder(None, long), Ladder::new(expected));
    }
}
