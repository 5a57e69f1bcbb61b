//! A log-in as a conversation: which question stands on the console, what is
//! typed next, and how it ends.
//!
//! ```text
//!           name            password
//! Unasked --------> Named ------------> Passed      asked again: the same way back
//!    |                |                    |
//!    +--- a prompt: a line end; the same prompt again: a marker --> answered: open
//! ```
//!
//! The rules, each for what consoles were seen to do:
//!
//! - **A question is answered when it stands**: it is the last thing on the
//!   console, and nothing has followed for [`SETTLES`]. What is typed earlier
//!   may be thrown away, as `login(1)` flushes its input before it asks for the
//!   password, or be read as the answer to the next question.
//! - **A question that comes again is answered again.** One that still stands
//!   after [`LOST`], with not one byte behind it, not even an echo, has lost its
//!   answer.
//! - **A line end has a prompt back** that was lost or torn by what another
//!   program wrote. None is typed at a question, nor while a password may still
//!   be asked for: [`LATE`] after the last word behind the name, or
//!   [`LATE_PROMPT`] where that looks like a prompt. Where no password was
//!   given, there is no answer that it could spoil.
//! - **Only a password is typed where a password is asked for.**
//! - **A shell is a shell when it has answered.** A banner may look like a
//!   prompt, so a line end comes first: a shell repeats its prompt. Then a
//!   marker is typed, and whoever answers that is a shell. So a marker line never
//!   answers a question: the wrong prompt has cost a line end.
//! - **A refusal counts where the name and the password were read as such.**
//!   After a line end, a marker, or an answer that was typed twice, that is not
//!   known: then the log-in is tried again, [`TRIES`] times in all.
//! - **On a console that is never silent** a line end waits for [`NOISY`] times as
//!   long instead, but none while a password may still be asked for. There, a
//!   question or a prompt is also heeded that something was written behind.
//!
//! Pure: the console's text and the time come in, steps come out.

use std::time::{Duration, Instant};

use super::ShellFailure;
use super::line::{self, Marker};
use super::seen::{self, Question, Questions, Seen, Verdict};

/// A log-in, or the search for the shell that is there.
#[derive(Debug)]
pub(super) struct Conversation {
    aim: Aim,
    marker: Marker,
    stage: Stage,
    /// What looks like a shell, and how far it was tried.
    shell: Candidate,
    seen: Seen,
    /// When the last byte came, or the last line was typed.
    quiet_since: Instant,
    /// When the last line was typed.
    typed_at: Instant,
    looked_at: Instant,
    typed: Vec<Line>,
    /// Line ends in a row that had no prompt or question back.
    in_vain: u32,
    /// The name and the password may not have been read as such.
    is_unsure: bool,
    /// The user is who was asked for, as the name was typed.
    is_named: bool,
    refusals: usize,
    outcome: Option<Result<(), ShellFailure>>,
}

/// What the caller wants, and has given for it.
#[derive(Debug)]
pub(super) struct Aim {
    pub(super) questions: Questions,
    /// Whose log-in it is; `None` where none is to be asked for.
    pub(super) user: Option<String>,
    pub(super) has_password: bool,
    /// The shell need not be there yet.
    pub(super) is_patient: bool,
}

/// What is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    User,
    Password,
    End,
    Marker,
}

/// What is to be done next.
#[derive(Debug)]
pub(super) enum Step {
    Type(Line),
    /// Wait for more of the console, but no longer than this.
    Wait(Option<Duration>),
    Ended(Result<(), ShellFailure>),
}

/// What was answered last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Unasked,
    Named,
    Passed,
}

#[derive(Debug, PartialEq, Eq)]
enum Candidate {
    None,
    /// This prompt stood when a line end was typed, and so often in a row.
    Prompt(Vec<u8>, u32),
    /// The marker was typed.
    Marked,
}

/// What is intended about what stands, once nothing has followed for the time.
type Intent = Option<(Duration, Result<Line, ShellFailure>)>;

impl Conversation {
    /// Begins with nothing seen.
    pub(super) fn new(now: Instant, aim: Aim) -> Self {
        Self {
            aim,
            marker: Marker::new(),
            stage: Stage::Unasked,
            shell: Candidate::None,
            seen: Seen::default(),
            quiet_since: now,
            typed_at: now,
            looked_at: now,
            typed: Vec::new(),
            in_vain: 0,
            is_unsure: false,
            is_named: false,
            refusals: 0,
            outcome: None,
        }
    }

    /// Has the time begin now, whatever was seen by then.
    pub(super) fn begin(&mut self, now: Instant) {
        (self.quiet_since, self.typed_at, self.looked_at) = (now, now, now);
    }

    /// The guest was reset: it knows of no answer, and its log-in begins again.
    pub(super) fn guest_reset(&mut self) {
        self.stage = Stage::Unasked;
        self.shell = Candidate::None;
        self.is_unsure = false;
        self.is_named = false;
    }

    /// More of the console, without the kernel's lines, and no further than to a
    /// line end. `true` where that has ended the conversation.
    pub(super) fn saw(&mut self, text: &[u8], now: Instant) -> bool {
        self.seen.push(text);
        self.quiet_since = now;
        if text.ends_with(b"\n") && !self.typed.is_empty() {
            let line = self.seen.ended_line();
            self.read(&line);
        }
        self.outcome.is_some()
    }

    /// What is to be done when all that has come was seen.
    pub(super) fn next(&mut self, now: Instant) -> Step {
        if let Some(outcome) = self.outcome.take() {
            return Step::Ended(outcome);
        }
        let quiet = now.saturating_duration_since(self.quiet_since);
        let since_look = now.saturating_duration_since(self.looked_at);
        let begins = !self.aim.is_patient && self.typed.is_empty();
        // A look costs more than most bytes are worth.
        if quiet < SETTLES && since_look < NOISY * SETTLES && !begins {
            return Step::Wait(Some(SETTLES.saturating_sub(quiet)));
        }
        self.looked_at = now;
        let question = self.seen.question(&self.aim.questions);
        if !matches!(question, Question::Nothing | Question::Prompt) {
            self.in_vain = 0;
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
                // On a noisy console, looks are what time goes by.
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

    /// The line that has the shell write the marker.
    pub(super) fn marker_line(&self) -> String {
        line::user_line(&self.marker)
    }

    /// What was typed, one after the other.
    pub(super) fn typed(&self) -> impl Iterator<Item = String> {
        self.typed.iter().map(|line| match line {
            Line::User => format!("'{}'", self.aim.user.as_deref().unwrap_or_default()),
            Line::Password => "the password".to_owned(),
            Line::End => "a line end".to_owned(),
            Line::Marker => "a command that a shell answers".to_owned(),
        })
    }

    /// What the next byte should be of.
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
            (_, Stage::Unasked) => format!("the question '{login}' or a shell's prompt '{prompt}'"),
            (_, Stage::Named) => {
                format!("the question '{password}' or a shell's prompt '{prompt}'")
            }
            (_, Stage::Passed) => format!("a shell's prompt '{prompt}'"),
        }
    }

    /// Reads a line that came after something was typed.
    fn read(&mut self, line: &[u8]) {
        if self.typed.contains(&Line::Marker)
            && let Some(user) = self.marker.rest(line)
        {
            self.outcome = Some(self.check(user));
            return;
        }
        // What others are told is none of ours.
        if self.stage == Stage::Unasked {
            return;
        }
        match seen::verdict(line) {
            Some(Verdict::Refused) => {
                self.refusals += 1;
                self.stage = Stage::Unasked;
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

    /// A shell that was there already may be another user's.
    fn check(&self, user: &[u8]) -> Result<(), ShellFailure> {
        let told = String::from_utf8_lossy(user).trim().to_owned();
        // Without `id`, or a name for the number, it is not known.
        let is_known = told.starts_with(|it: char| !it.is_ascii_digit());
        match &self.aim.user {
            Some(user) if !self.is_named && is_known && *user != told => {
                Err(ShellFailure::OtherUser { user: told })
            }
            _ => Ok(()),
        }
    }

    /// Where the shell must be there, it is asked at once, again and again.
    fn at_a_shell(&self, question: Question, quiet: Duration, now: Instant) -> (Duration, Intent) {
        match question {
            // It may be what another line, typed before, is the answer to.
            Question::Login | Question::Password | Question::NewPassword | Question::Secret => {
                (quiet, Some((AGAIN, Err(ShellFailure::UserWanted))))
            }
            _ => {
                let pace = if self.typed.is_empty() {
                    Duration::ZERO
                } else {
                    MARKER_AGAIN
                };
                let since_typed = now.saturating_duration_since(self.typed_at);
                (since_typed, Some((pace, Ok(Line::Marker))))
            }
        }
    }

    fn in_log_in(&self, question: Question, quiet: Duration, now: Instant) -> (Duration, Intent) {
        // A question that was answered and stands has lost the answer.
        let again = if self.seen.has_answer() { AGAIN } else { LOST };
        let intent = match (question, self.stage) {
            (Question::Secret, _) => None,
            (Question::Login, Stage::Unasked) => Some((SETTLES, self.name())),
            (Question::Login, Stage::Named) => Some((again, self.name())),
            (Question::Login, Stage::Passed) => Some((AGAIN, self.name_after_password())),
            (Question::Password | Question::NewPassword, Stage::Unasked) => {
                Some((AGAIN, self.password()))
            }
            (Question::NewPassword, _) => Some((SETTLES, Err(ShellFailure::PasswordExpired))),
            (Question::Password, Stage::Named) => Some((SETTLES, self.password())),
            (Question::TornPassword, Stage::Named) => Some((AGAIN, self.password())),
            (Question::Password, Stage::Passed) => Some((again, self.password_again())),
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

    /// A refusal without a word that is known, or the password was lost.
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

    /// A line end, until the same prompt comes again. One that has the time or a
    /// number in it is never the same.
    fn to_a_prompt(&self, stage: Stage) -> Intent {
        let answers = self.typed.last() == Some(&Line::End) && self.seen.has_answer();
        let pace = match (&self.shell, stage) {
            _ if answers => SETTLES,
            (Candidate::Prompt(..), _) => LOST,
            (Candidate::Marked, _) => MARKER_LOST,
            (Candidate::None, Stage::Passed) => SETTLES,
            (Candidate::None, Stage::Named) if self.aim.has_password => LATE_PROMPT,
            (Candidate::None, Stage::Unasked | Stage::Named) => AGAIN,
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

    /// By silence alone, of which nothing tells what it is: a prompt that was
    /// lost or torn, a guest that still boots, or one that is slow.
    fn to_nothing(&self, stage: Stage, quiet: Duration, now: Instant) -> (Duration, Intent) {
        // Where something always comes, time goes by all the same.
        let silence = quiet.max(now.saturating_duration_since(self.typed_at) / NOISY);
        let may_be_asked = stage == Stage::Named && self.aim.has_password;
        let line_ends = self.line_ends();
        // What another program has written behind a question, or a prompt, is no
        // answer to it.
        if may_be_asked && self.seen.has_passed(&self.aim.questions.password) {
            return (silence, Some((TORN, Ok(Line::Password))));
        }
        if stage == Stage::Unasked
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
            Stage::Unasked => (silence, TORN * (1 << self.in_vain.min(4))),
            Stage::Named if self.aim.has_password => (quiet, LATE),
            Stage::Named | Stage::Passed => (silence, 2 * TORN),
        };
        (waited, Some((pace, Ok(Line::End))))
    }

    fn will_type(&mut self, line: Line, question: Question) {
        match line {
            Line::User => {
                if self.stage == Stage::Passed {
                    self.refusals += 1;
                }
                // Where nothing came since it was typed before, both may be read.
                self.is_unsure = self.stage == Stage::Named && !self.seen.has_answer();
                self.is_named = true;
                self.stage = Stage::Named;
            }
            Line::Password => {
                self.is_unsure |= self.stage == Stage::Unasked;
                self.stage = Stage::Passed;
            }
            Line::End if question == Question::Prompt => {
                self.is_unsure |= self.stage == Stage::Named;
                let times = match self.shell {
                    Candidate::Prompt(_, times) => times + 1,
                    _ => 1,
                };
                self.shell = Candidate::Prompt(self.seen.last_line(), times);
            }
            Line::End => {
                self.is_unsure = true;
                self.in_vain += 1;
                if self.shell == Candidate::Marked {
                    self.shell = Candidate::None;
                }
            }
            Line::Marker => {
                self.is_unsure |= self.stage == Stage::Named;
                self.shell = Candidate::Marked;
            }
        }
        self.typed.push(line);
        self.seen.typed();
    }
}

/// How long nothing has followed a question that stands. A program writes its
/// question at once, and what belongs to it (turns the echo off) next.
const SETTLES: Duration = Duration::from_millis(200);

/// The same for a question that was answered before, or for what is a question
/// by its looks only: what else is printed comes in a flow.
const AGAIN: Duration = Duration::from_secs(1);

/// How long an answer takes to show itself, by its echo or the line end.
const LOST: Duration = Duration::from_secs(4);

/// How long nothing comes before a question is taken for lost or torn.
const TORN: Duration = Duration::from_secs(2);

/// How long a log-in may do nothing before it asks for the password: by then it
/// has done all that needs none.
const LATE: Duration = Duration::from_secs(10);

/// The same where the last word looks like a shell's prompt.
const LATE_PROMPT: Duration = Duration::from_secs(5);

/// How long a shell takes to answer the marker, until its prompt is tried again.
const MARKER_LOST: Duration = Duration::from_secs(1);

/// The same, where it need not be at its prompt.
const MARKER_AGAIN: Duration = Duration::from_millis(500);

/// How often a log-in is tried whose name or password may not have been read.
const TRIES: usize = 3;

/// How often the name is typed.
const NAMES: usize = 6;

/// How many line ends in a row what looks like a prompt has to answer, if it
/// looks different each time.
const PROMPTS: u32 = 3;

/// How many line ends are typed to have a prompt back.
const LINE_ENDS: usize = 20;

/// How much longer than silence a console that is never silent is waited for.
const NOISY: u32 = 3;

#[cfg(test)]
mod tests;
