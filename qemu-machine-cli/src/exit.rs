//! The status of the command: a pure mapping from an outcome to a code.
//!
//! | status | outcome |
//! |---|---|
//! | 0 | it did what was asked |
//! | 1 | it failed: a refused command, a pattern that did not come, a guest that panicked, a QEMU that exited with an error |
//! | 2 | the arguments cannot be used |
//! | 124 | a timeout passed |
//! | 125 | the command itself failed: its output cannot be written, or with `run --exec` the guest's command did not end |
//! | 126 | QEMU is there but cannot be executed |
//! | 127 | there is no such QEMU |
//! | 128+n | signal n ended the command, the guest's command or QEMU; 141 if nobody reads standard output |
//! | any | the status of the guest's command (`run --exec`, `agent exec`), or the code of a guest that exits by a device |

/// How a verb ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It did what was asked.
    Succeeded,
    /// It did not.
    Failed,
    /// The arguments cannot be used.
    Usage,
    /// A timeout passed.
    TimedOut,
    /// The failure is neither the guest's nor QEMU's.
    Broken,
    /// A program is there but cannot be executed.
    NotExecutable,
    /// There is no such program.
    NotFound,
    /// A signal ended it.
    Signal(i32),
    /// The program that ran chose the status.
    Exit(i64),
}

/// The signal of a write that nobody reads.
const SIGPIPE: i32 = 13;

impl Outcome {
    /// Nobody reads standard output any more.
    pub(crate) const OUTPUT_CLOSED: Self = Self::Signal(SIGPIPE);

    /// The status for the process that started the command.
    pub(crate) fn status(self) -> u8 {
        match self {
            Self::Succeeded => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::TimedOut => 124,
            Self::Broken => 125,
            Self::NotExecutable => 126,
            Self::NotFound => 127,
            Self::Signal(number) => u8::try_from(128 + number).unwrap_or(u8::MAX),
            // A status has 8 bits. A failure must not become 0.
            Self::Exit(code) => match code.to_le_bytes()[0] {
                0 if code != 0 => 1,
                status => status,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_has_the_status_of_the_table() {
        let table = [
            (Outcome::Succeeded, 0),
            (Outcome::Failed, 1),
            (Outcome::Usage, 2),
            (Outcome::TimedOut, 124),
            (Outcome::Broken, 125),
            (Outcome::NotExecutable, 126),
            (Outcome::NotFound, 127),
            (Outcome::Signal(2), 130),
            (Outcome::Signal(15), 143),
            (Outcome::OUTPUT_CLOSED, 141),
            (Outcome::Exit(0), 0),
            (Outcome::Exit(42), 42),
            (Outcome::Exit(255), 255),
        ];
        for (outcome, status) in table {
            assert_eq!(outcome.status(), status, "{outcome:?}");
        }
    }

    #[test]
    fn a_code_that_no_status_can_have_stays_a_failure() {
        assert_eq!(Outcome::Exit(256).status(), 1);
        assert_eq!(Outcome::Exit(-1).status(), 255);
        assert_eq!(Outcome::Signal(500).status(), 255);
    }
}
