//! The steps of a run, in the order in which they stand on the command line.

use std::ffi::OsString;
use std::fmt;
use std::str::FromStr;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command, Error, FromArgMatches};
use qemu_machine::console::Pattern;

use crate::escapes;

/// The steps, in their order.
#[derive(Debug, Clone, Default)]
pub(super) struct Steps(pub(super) Vec<Step>);

/// One step.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Waits until the console prints this.
    Expect(Pattern),
    /// Types these bytes on the console.
    Send(Vec<u8>),
    /// Logs in on the console.
    Login(Login),
    /// Runs a command in the guest.
    Exec(String),
}

/// Who logs in.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::verb) struct Login {
    pub(in crate::verb) user: String,
    pub(in crate::verb) password: Option<String>,
}

impl FromStr for Login {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        login(text)
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the password.
        f.debug_tuple("Login").field(&self.user).finish()
    }
}

impl Steps {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a command is to be run in the guest.
    pub(super) fn have_commands(&self) -> bool {
        self.0.iter().any(|step| matches!(step, Step::Exec(_)))
    }

    /// Whether a shell is on the console after them.
    pub(super) fn have_shell(&self) -> bool {
        let has = |step: &Step| matches!(step, Step::Login(_) | Step::Exec(_));
        self.0.iter().any(has)
    }

    /// Whether the machine needs a console for them.
    pub(super) fn need_console(&self, has_agent: bool) -> bool {
        let is_agents = |step: &Step| has_agent && matches!(step, Step::Exec(_));
        self.0.iter().any(|step| !is_agents(step))
    }
}

/// The options, and how a value becomes a step.
const OPTIONS: [(&str, &str, &str, ReadStep); 5] = [
    (
        "expect",
        "TEXT",
        r"Waits until the console prints this text; \n is Enter",
        |text| Ok(Step::Expect(Pattern::literal(escapes::parse(text)?))),
    ),
    (
        "expect-regex",
        "REGEX",
        "Waits until the console prints what this regular expression matches",
        |text| {
            let pattern = Pattern::regex(text).map_err(|error| error.to_string())?;
            Ok(Step::Expect(pattern))
        },
    ),
    (
        "send",
        "TEXT",
        r"Types this text on the console; \n is Enter",
        |text| Ok(Step::Send(escapes::parse(text)?)),
    ),
    (
        "login",
        "USER",
        "Logs in: USER, USER:env:NAME or USER:file:PATH",
        |text| Ok(Step::Login(login(text)?)),
    ),
    (
        "exec",
        "COMMAND",
        "Runs a command in the guest; its status becomes ours",
        |text| Ok(Step::Exec(text.to_owned())),
    ),
];

/// Where the help has them.
const HEADING: &str = "Console and steps";

type ReadStep = fn(&str) -> Result<Step, String>;

/// Reads `root`, `root:env:NAME` or `root:file:PATH`.
fn login(text: &str) -> Result<Login, String> {
    let Some((user, source)) = text.split_once(':') else {
        let user = text.to_owned();
        return Ok(Login {
            user,
            password: None,
        });
    };
    let password = match source.split_once(':') {
        Some(("env", name)) => std::env::var(name)
            .map_err(|error| format!("the variable {name} has no password: {error}"))?,
        Some(("file", path)) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| format!("cannot read the password from {path}: {error}"))?;
            text.lines().next().unwrap_or_default().to_owned()
        }
        _ => {
            return Err(
                "a password is not given itself, which others could see: give USER:env:NAME or \
                 USER:file:PATH"
                    .to_owned(),
            );
        }
    };
    Ok(Login {
        user: user.to_owned(),
        password: Some(password),
    })
}

/// Whether an option of this name is a step.
pub(crate) fn is_step(name: &str) -> bool {
    OPTIONS.iter().any(|(step, ..)| *step == name)
}

/// Whether these words are steps.
pub(crate) fn check<'a>(words: impl IntoIterator<Item = &'a OsString>) -> Result<(), Error> {
    use clap::Args;
    let command = Steps::augment_args(Command::new("steps").no_binary_name(true));
    Steps::from_arg_matches(&command.try_get_matches_from(words)?).map(drop)
}

/// By hand, because a derived reader does not keep the order of different
/// options.
impl clap::Args for Steps {
    fn augment_args(command: Command) -> Command {
        let options = OPTIONS.iter().map(|(name, value, help, _)| {
            Arg::new(*name)
                .long(*name)
                .value_name(*value)
                .help(*help)
                .help_heading(HEADING)
                .hide_short_help(*name == "expect-regex")
                .allow_hyphen_values(true)
                .action(ArgAction::Append)
        });
        command.args(options)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Steps {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut steps = Vec::new();
        for (name, _, _, read) in OPTIONS {
            let (Some(places), Some(values)) =
                (matches.indices_of(name), matches.get_many::<String>(name))
            else {
                continue;
            };
            for (place, value) in places.zip(values) {
                let step = read(value).map_err(|reason| {
                    let message = format!("--{name}: {reason}");
                    Error::raw(ErrorKind::ValueValidation, message)
                })?;
                steps.push((place, step));
            }
        }
        steps.sort_by_key(|(place, _)| *place);
        Ok(Self(steps.into_iter().map(|(_, step)| step).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Steps, Error> {
        use clap::Args;
        let command = Steps::augment_args(Command::new("run"));
        Steps::from_arg_matches(&command.try_get_matches_from(words)?)
    }

    #[test]
    fn steps_keep_the_order_of_the_command_line() {
        let words = [
            "run", "--send", r"a\n", "--expect", "b", "--exec", "-c", "--send", "d",
        ];
        let steps = read(&words).unwrap().0;
        assert!(matches!(&steps[0], Step::Send(bytes) if bytes == b"a\n"));
        assert!(matches!(&steps[1], Step::Expect(_)));
        assert!(matches!(&steps[2], Step::Exec(command) if command == "-c"));
        assert!(matches!(&steps[3], Step::Send(bytes) if bytes == b"d"));
    }

    #[test]
    fn what_is_no_step_is_refused() {
        for words in [
            ["--expect", r"\q"],
            ["--expect-regex", "("],
            ["--login", "root:secret"],
        ] {
            let error = read(&["run", words[0], words[1]]).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{words:?}");
        }
    }

    #[test]
    fn a_password_comes_from_a_variable() {
        let path = std::env::var("PATH").unwrap();
        let login = login("root:env:PATH").unwrap();
        assert_eq!(login.password.as_ref(), Some(&path));
        assert!(!format!("{login:?}").contains(&path));
    }
}
