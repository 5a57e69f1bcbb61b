//! The shell of `qmp`, with the monitor of the machine of a run.

use std::time::Duration;

use qemu_machine::Machine;

use super::ending::Ending;
use super::stopped::Stopped;
use crate::attention::Attention;
use crate::exit::Outcome;
use crate::verb::qmp::shell::{self, Ended, Options};
use crate::verb::qmp::{Form, Mode, Session};

/// Hands the monitor to the person, or to the script at standard input. The name is
/// that of the history. `None` if QEMU has ended: its report says how.
pub(super) fn converse(
    machine: &Machine,
    name: Option<&str>,
    attention: &Attention,
) -> Result<Option<Stopped>, Stopped> {
    let options = Options::at_terminal(&shell::key(name.unwrap_or("run")));
    let form = Form {
        in_one_line: !options.has_editor(),
        verbose: false,
    };
    let monitor = machine.monitor().clone();
    let mut session = Session::new(monitor, attention, Mode::Qmp, form, PATIENCE);
    let ended = shell::run(&mut session, &options).map_err(Stopped::from)?;
    match ended {
        Ended::Left(Outcome::Succeeded) | Ended::Quit(Outcome::Succeeded) => {
            Ok(Some(Stopped::quietly(Ending::Done)))
        }
        Ended::Left(Outcome::TimedOut) => Err(Stopped::quietly(Ending::TimedOut)),
        // Its lines have said why.
        Ended::Left(_) | Ended::Quit(_) => Err(Stopped::quietly(Ending::StepFailed)),
        Ended::Lost(_) => Ok(None),
        Ended::Signal(number) => Err(Stopped::quietly(Ending::Interrupted(number))),
    }
}

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
