//! A log-in as a conversation: the question on the console, the next input,
//! and the outcome.
//!
//! ```text
//!            name                password
//! NotAsked --------> NameTyped ------------> PasswordTyped
//!    |  ^                |                      |     |
//!    |  +--- asked again +----------------------+     |
//!    +--- a prompt: a line end; the same prompt again: a marker --> answered: open
//! ```
//!
//! The rules; real consoles need each of them:
//!
//! - **A question is answered when it stands**: it is the last text on the
//!   console, and nothing has followed for [`SETTLES`]. Earlier input may be
//!   thrown away: `login(1)` flushes its input before it asks for the password.
//!   Or the guest may read it as the answer to the next question.
//! - **A question that comes again is answered again.** If nothing follows a
//!   question for [`LOST`], not even an echo, its answer was lost.
//! - **A line end makes the guest print a prompt again** that was lost, or that
//!   another program's output tore. None is typed at a question, nor while the
//!   guest may still ask for a password. That is for [`LATE`] after the last
//!   output behind the name, or [`LATE_PROMPT`] if it looks like a prompt.
//!   Without a password from the caller, a line end cannot spoil an answer.
//! - **Only a password is typed at a question for a password.**
//! - **A shell is a shell when it has answered.** A banner may look like a
//!   prompt, so a line end comes first: a shell repeats its prompt. Then a
//!   marker is typed, and only a shell answers that. So a marker line never
//!   answers a question: a wrong prompt costs only a line end.
//! - **A refusal counts if the guest surely read the name and the password as
//!   such.** That is not sure after a line end, a marker, or an answer that was
//!   typed twice. Then the log-in is tried again, [`TRIES`] times in all.
//! - **On a console that is never silent**, a line end waits for [`NOISY`] times
//!   as long. None is typed while the guest may still ask for a password. There,
//!   a question or a prompt also counts if other output follows it.
//!
//! Pure: the console's text and the time come in, steps come out.

use std::time::{Duration, Instant};

use super::ShellFailure;
use super::line::{self, Marker};
use super::recent_text::{self, Question, Questions, RecentText, Verdict};

/// A log-in, or the search for an open shell.
#[derive(Debug)]
pub(super) struct Conversation {
    aim: Aim,
    marker: Marker,
    stage: Stage,
    /// The text that looks like a shell, and how far it was checked.
    shell: Candidate,
    seen: RecentText,
    /// When the last byte came, or the last line was typed.
    quiet_since: Instant,
    /// When the last line was typed.
    typed_at: Instant,
    looked_at: Instant,
    typed: Vec<Line>,
    /// How many line ends in a row brought no prompt or question.
    unanswered: u32,
    /// The guest may not have read the name and the password as such.
    is_unsure: bool,
    /// The name was typed, so the shell is the wanted user's.
    is_named: bool,
    refusals: usize,
    outcome: Option<Result<(), ShellFailure>>,
}

/// What the caller wants and has given.
#[derive(Debug)]
pub(super) struct Aim {
    pub(super) questions: Questions,
    /// The user to log in; `None` if the shell must already be open.
    pub(super) user: Option<String>,
    pub(super) has_password: bool,
    /// The shell may open later.
    pub(super) is_patient: bool,
}

/// A line to type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    User,
    Password,
    End,
    Marker,
}

/// The next step.
#[derive(Debug)]
pub(super) enum Step {
    Type(Line),
    /// Wait for more output, but no longer than this.
    Wait(Option<Duration>),
    Ended(Result<(), ShellFailure>),
}

/// The last question that was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    NotAsked,
    NameTyped,
    PasswordTyped,
}

#[derive(Debug, PartialEq, Eq)]
enum Candidate {
    None,
    /// A line end was typed at this prompt, this many times in a row.
    Prompt(Vec<u8>, u32),
    /// The marker was typed.
    Marked,
}

/// What to do about the last text, once nothing has followed for this time.
type Intent = Option<(Duration, Result<Line, ShellFailure>)>;

impl Conversation {
    /// Begins without any text.
    pub(super) fn new(now: Instant, aim: Aim) -> Self {
        Self {
            aim,
            marker: Marker::new(),
            stage: Stage::NotAsked,
            shell: Candidate::None,
            seen: RecentText::default(),
            quiet_since: now,
            typed_at: now,
            looked_at: now,
            typed: Vec::new(),
            unanswered: 0,
            is_unsure: false,
            is_named: false,
            refusals: 0,
            outcome: None,
        }
    }

    /// Restarts the clock. Earlier text stays.
    pub(super) fn begin(&mut self, now: Instant) {
        (self.quiet_since, self.typed_at, self.looked_at) = (now, now, now);
    }

    /// The guest was reset: it has no answers, and its log-in begins again.
    pub(super) fn guest_reset(&mut self) {
        self.stage = Stage::NotAsked;
        self.shell = Candidate::None;
        self.is_unsure = false;
        self.is_named = false;
    }

    /// Reads more text of the console, without the kernel's lines, up to a line
    /// end at most. Returns whether that ended the conversation.
    pub(super) fn feed(&mut self, text: &[u8], now: Instant) -> bool {
        self.seen.push(text);
        self.quiet_since = now;
        if text.ends_with(b"\n") && !self.typed.is_empty() {
            let line = self.seen.ended_line();
            self.read(&line);
        }
        self.outcome.is_some()
    }

    /// The next step, once all text so far was passed to [`feed`](Self::feed).
    pub(super) fn next(&mut self, now: Instant) -> Step {
        if let Some(outcome) = self.outcome.take() {
            return Step::Ended(outcome);
        }
        let quiet = now.saturating_duration_since(self.quiet_since);
        let since_look = now.saturating_duration_since(self.looked_at);
        let begins = !self.aim.is_patient && self.typed.is_empty();
        // Looking for a question is too expensive for every few bytes.
        if quiet < SETTLES && since_look < NOISY * SETTLES && !begins {
            return Step::Wait(Some(SETTLES.saturating_sub(quiet)));
        }
        self.looked_at = now;
        let question = self.seen.question(&self.aim.questions);
        if !matches!(question, Question::Nothing | Question::Prompt) {
            self.unanswered = 0;
            self.shell = Candidate::None;
        }
        let (waited, intent) = if self.aim.is_patient {
            self.in_log_in(question, quiet, now)
        } else {
            self.at_a_shell(question, quiet, now)
        };
        match intent {
            None => Step::Wait(None),
            Some((pace, _)) if waited < pace => {
                // On a noisy console, only a look shows that time has passed.
                Step::Wait(Some(pace.saturating_sub(waited).max(SETTLES)))
            }
            Some((_, Ok(line))) => {
                self.will_type(line, question);
                (self.quiet_since, self.typed_at) = (now, now);
                Step::Type(line)
            }
            Some((_, Err(failure))) => Step::Ended(Err(failure)),
        }
    }

    /// The line that makes the shell write the marker, and its user if that
    /// matters: the guest starts a program for it.
    pub(super) fn marker_line(&self) -> String {
        match self.aim.user {
            Some(_) => line::user_line(&self.marker),
            None => line::marker_line(&self.marker),
        }
    }

    /// The typed lines, in order.
    pub(super) fn typed(&self) -> impl Iterator<Item = String> {
        self.typed.iter().map(|line| match line {
            Line::User => format!("'{}'", self.aim.user.as_deref().unwrap_or_default()),
            Line::Password => "the password".to_owned(),
            Line::End => "a line end".to_owned(),
            Line::Marker => "a command that a shell answers".to_owned(),
        })
    }

    /// What the conversation is waiting for.
    pub(super) fn awaited(&self) -> String {
        let Questions {
            login,
            password,
            prompt,
            ..
        } = &self.aim.questions;
        match (&self.shell, self.stage) {
            _ if !self.aim.is_patient => "the shell's answer".to_owned(),
            (Candidate::Marked, _) => "the shell's answer".to_owned(),
            (_, Stage::NotAsked) => {
                format!("the question '{login}' or a shell's prompt '{prompt}'")
            }
            (_, Stage::NameTyped) => {
                format!("the question '{password}' or a shell's prompt '{prompt}'")
            }
            (_, Stage::PasswordTyped) => format!("a shell's prompt '{prompt}'"),
        }
    }

    /// Reads a line that followed the first input.
    fn read(&mut self, line: &[u8]) {
        if self.typed.contains(&Line::Marker)
            && let Some(user) = self.marker.rest(line)
        {
            self.outcome = Some(self.check(user));
            return;
        }
        // Verdicts before the first answer belong to earlier log-ins.
        if self.stage == Stage::NotAsked {
            return;
        }
        match recent_text::verdict(line) {
            Some(Verdict::Refused) => {
                self.refusals += 1;
                self.stage = Stage::NotAsked;
                if !self.is_unsure || self.refusals >= TRIES {
                    self.outcome = Some(Err(ShellFailure::Refused));
                }
            }
            Some(Verdict::PasswordExpired) => {
                self.outcome = Some(Err(ShellFailure::PasswordExpired));
            }
            Some(Verdict::AccountExpired) => {
                self.outcome = Some(Err(ShellFailure::AccountExpired));
            }
            None => {}
        }
    }

    /// Checks the user of a shell that was already open.
    fn check(&self, user: &[u8]) -> Result<(), ShellFailure> {
        let actual = String::from_utf8_lossy(user).trim().to_owned();
        // The name is unknown without `id`, or if the number has no name.
        let is_known = actual.starts_with(|it: char| !it.is_ascii_digit());
        match &self.aim.user {
            Some(user) if !self.is_named && is_known && *user != actual => {
                Err(ShellFailure::OtherUser { user: actual })
            }
            _ => Ok(()),
        }
    }

    /// If the shell must already be open, the marker is typed at once, and again
    /// until it answers. Each pause is twice as long as the last: what is there
    /// may be no shell, and keep all that is typed.
    fn at_a_shell(&self, question: Question, quiet: Duration, now: Instant) -> (Duration, Intent) {
        match question {
            // A line that was typed earlier may still answer it.
            Question::Login | Question::Password | Question::NewPassword | Question::Secret => {
                (quiet, Some((AGAIN, Err(ShellFailure::UserWanted))))
            }
            _ => {
                let pace = if self.typed.is_empty() {
                    Duration::ZERO
                } else {
                    let times = self.typed.len().min(MARKER_DOUBLED) - 1;
                    MARKER_AGAIN * (1 << times)
                };
                let since_typed = now.saturating_duration_since(self.typed_at);
                (since_typed, Some((pace, Ok(Line::Marker))))
            }
        }
    }

    fn in_log_in(&self, question: Question, quiet: Duration, now: Instant) -> (Duration, Intent) {
        // A question that stands although it was answered has lost the answer.
        let again = if self.seen.has_answer() { AGAIN } else { LOST };
        let intent = match (question, self.stage) {
            (Question::Secret, _) => None,
            (Question::Login, Stage::NotAsked) => Some((SETTLES, self.name())),
            (Question::Login, Stage::NameTyped) => Some((again, self.name())),
            (Question::Login, Stage::PasswordTyped) => Some((AGAIN, self.name_after_password())),
            (Question::Password | Question::NewPassword, Stage::NotAsked) => {
                Some((AGAIN, self.password()))
            }
            (Question::NewPassword, _) => Some((SETTLES, Err(ShellFailure::PasswordExpired))),
            (Question::Password, Stage::NameTyped) => Some((SETTLES, self.password())),
            (Question::TornPassword, Stage::NameTyped) => Some((AGAIN, self.password())),
            (Question::Password, Stage::PasswordTyped) => Some((again, self.password_again())),
            (Question::Prompt, stage) => self.to_a_prompt(stage),
            (Question::TornPassword | Question::Nothing, stage) => {
                return self.to_nothing(stage, quiet, now);
            }
        };
        (quiet, intent)
    }

    fn name(&self) -> Result<Line, ShellFailure> {
        if self.aim.user.is_none() {
            return Err(ShellFailure::UserWanted);
        }
        let times = self.typed.iter().filter(|it| **it == Line::User).count();
        if times >= NAMES {
            return Err(ShellFailure::AskedAgain { times });
        }
        Ok(Line::User)
    }

    /// The guest refused without a known text, or the password was lost.
    fn name_after_password(&self) -> Result<Line, ShellFailure> {
        if self.refusals > 0 {
            return Err(ShellFailure::Refused);
        }
        self.name()
    }

    fn password(&self) -> Result<Line, ShellFailure> {
        if self.aim.user.is_none() {
            Err(ShellFailure::UserWanted)
        } else if self.aim.has_password {
            Ok(Line::Password)
        } else {
            Err(ShellFailure::PasswordWanted)
        }
    }

    fn password_again(&self) -> Result<Line, ShellFailure> {
        let typed = self.typed.iter().rev();
        let in_a_row = typed.take_while(|it| **it == Line::Password).count();
        if in_a_row >= TRIES {
            return Err(ShellFailure::Refused);
        }
        Ok(Line::Password)
    }

    /// Types line ends until the same prompt comes again. A prompt with the time
    /// or a number in it is never the same.
    fn to_a_prompt(&self, stage: Stage) -> Intent {
        let answers = self.typed.last() == Some(&Line::End) && self.seen.has_answer();
        let pace = match (&self.shell, stage) {
            _ if answers => SETTLES,
            (Candidate::Prompt(..), _) => LOST,
            (Candidate::Marked, _) => MARKER_LOST,
            (Candidate::None, Stage::PasswordTyped) => SETTLES,
            (Candidate::None, Stage::NameTyped) if self.aim.has_password => LATE_PROMPT,
            (Candidate::None, Stage::NotAsked | Stage::NameTyped) => AGAIN,
        };
        match &self.shell {
            Candidate::Prompt(prompt, times)
                if answers && (*prompt == self.seen.last_line() || *times >= PROMPTS) =>
            {
                Some((pace, Ok(Line::Marker)))
            }
            _ if self.line_ends() >= LINE_ENDS => None,
            _ => Some((pace, Ok(Line::End))),
        }
    }

    fn line_ends(&self) -> usize {
        self.typed.iter().filter(|it| **it == Line::End).count()
    }

    /// Decides by silence alone. It may mean that a prompt was lost or torn, that
    /// the guest still boots, or that it is slow.
    fn to_nothing(&self, stage: Stage, quiet: Duration, now: Instant) -> (Duration, Intent) {
        // On a console that is never silent, the time since the last input counts.
        let silence = quiet.max(now.saturating_duration_since(self.typed_at) / NOISY);
        let may_be_asked = stage == Stage::NameTyped && self.aim.has_password;
        let line_ends = self.line_ends();
        // Another program's output after a question or a prompt is no answer.
        if may_be_asked && self.seen.has_passed(&self.aim.questions.password) {
            return (silence, Some((TORN, Ok(Line::Password))));
        }
        if stage == Stage::NotAsked
            && line_ends > 0
            && self.seen.has_passed(&self.aim.questions.login)
        {
            return (silence, Some((TORN, self.name())));
        }
        if let Candidate::Prompt(prompt, _) = &self.shell
            && self.typed.last() == Some(&Line::End)
            && self.seen.has_line(prompt)
        {
            return (silence, Some((SETTLES, Ok(Line::Marker))));
        }
        if line_ends >= LINE_ENDS {
            return (silence, None);
        }
        let (waited, pace) = match stage {
            Stage::NotAsked => (silence, TORN * (1 << self.unanswered.min(4))),
            Stage::NameTyped if self.aim.has_password => (quiet, LATE),
            Stage::NameTyped | Stage::PasswordTyped => (silence, 2 * TORN),
        };
        (waited, Some((pace, Ok(Line::End))))
    }

    fn will_type(&mut self, line: Line, question: Question) {
        match line {
            Line::User => {
                if self.stage == Stage::PasswordTyped {
                    self.refusals += 1;
                }
                // Without output since the first one, the guest may read both.
                self.is_unsure = self.stage == Stage::NameTyped && !self.seen.has_answer();
                self.is_named = true;
                self.stage = Stage::NameTyped;
            }
            Line::Password => {
                self.is_unsure |= self.stage == Stage::NotAsked;
                self.stage = Stage::PasswordTyped;
            }
            Line::End if question == Question::Prompt => {
                self.is_unsure |= self.stage == Stage::NameTyped;
                let times = match self.shell {
                    Candidate::Prompt(_, times) => times + 1,
                    _ => 1,
                };
                self.shell = Candidate::Prompt(self.seen.last_line(), times);
            }
            Line::End => {
                self.is_unsure = true;
                self.unanswered += 1;
                if self.shell == Candidate::Marked {
                    self.shell = Candidate::None;
                }
            }
            Line::Marker => {
                self.is_unsure |= self.stage == Stage::NameTyped;
                self.shell = Candidate::Marked;
            }
        }
        self.typed.push(line);
        self.seen.typed();
    }
}

/// The silence after which a question stands. A program writes its question at
/// once, and then does what belongs to it (turns the echo off).
const SETTLES: Duration = Duration::from_millis(200);

/// The same for a question that was answered before, or for text that only
/// looks like one: other output usually comes in a flow.
const AGAIN: Duration = Duration::from_secs(1);

/// How long an answer may take to show, by its echo or the line end.
const LOST: Duration = Duration::from_secs(4);

/// The silence after which a question was probably lost or torn.
const TORN: Duration = Duration::from_secs(2);

/// How long a log-in may be silent before it asks for the password. After that
/// it needs none.
const LATE: Duration = Duration::from_secs(10);

/// The same if the last text looks like a shell's prompt.
const LATE_PROMPT: Duration = Duration::from_secs(5);

/// How long a shell may take to answer the marker before a line end is typed.
const MARKER_LOST: Duration = Duration::from_secs(1);

/// How long a shell that must already be open may take to answer the marker.
const MARKER_AGAIN: Duration = Duration::from_millis(500);

/// After how many markers this time is not doubled any more: it is 8 s then.
const MARKER_DOUBLED: usize = 5;

/// How often a log-in is tried if the guest may not have read its answers.
const TRIES: usize = 3;

/// How often the name is typed at most.
const NAMES: usize = 6;

/// How many line ends in a row a prompt that changes each time must answer.
const PROMPTS: u32 = 3;

/// How many line ends are typed at most to bring back a prompt.
const LINE_ENDS: usize = 20;

/// The factor for the waits on a console that is never silent.
const NOISY: u32 = 3;

#[cfg(test)]
mod tests;
