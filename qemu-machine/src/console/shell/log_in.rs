//! Opens the shell on a console: by a log-in, or by using an open shell.
//!
//! [`Conversation`] decides what to type and when. This module has the console
//! and the clock.

use std::fmt;
use std::future::IntoFuture;
use std::ops::ControlFlow;
use std::time::Duration;

use qemu_qmp_engine::{self as engine, operation, timeout_option};

use super::conversation::{Aim, Conversation, Line, Step};
use super::error::Task;
use super::line::{self, Marker};
use super::recent_text::Questions;
use super::task_slot::TaskSlot;
use super::{Shell, ShellError, ShellFailure};
use crate::console::handle::REPORTED_BYTES;
use crate::console::noise::Filter;
use crate::console::{Console, Pattern};
use crate::spec::Noise;

/// Opens the shell on a console; made by [`Console::shell`].
///
/// # Errors
/// [`ShellError`]; its [`failure`](ShellError::failure) is the reason.
///
/// # Cancel safety
/// If the future is dropped, the guest keeps the input that was typed before.
#[derive(Debug, Clone)]
#[must_use = "no shell is opened until awaited or waited for"]
pub struct OpenShell {
    console: Console,
    user: Option<String>,
    password: Option<Secret>,
    questions: Questions,
    timeout: Option<Duration>,
    /// After a reset of the guest: the place in the stream where text counts.
    after_reset: Option<u64>,
}

/// A text that no log or error shows.
#[derive(Clone)]
struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl OpenShell {
    pub(super) fn new(console: Console) -> Self {
        let timeout = console.shared.deadlines.limit();
        Self {
            console,
            user: None,
            password: None,
            questions: Questions::new(),
            timeout,
            after_reset: None,
        }
    }

    /// The same, for a guest that has just been reset.
    pub(super) fn after_reset(mut self) -> Self {
        let mut buffer = self.console.lock();
        let (rest, begin) = buffer.since(buffer.taken(), usize::MAX);
        let position = begin + rest.len() as u64;
        buffer.take_until(position);
        drop(buffer);
        self.after_reset = Some(position);
        self
    }

    /// Logs in as this user, if the console asks for one. If a prompt was lost,
    /// torn, or taken by an [`expect`](Console::expect), a line end makes the
    /// guest print it again.
    ///
    /// A shell may already be open: after an automatic log-in, or from an earlier
    /// one. It is used if `id -un` prints this user, or if the guest has no `id`.
    /// Otherwise the operation fails with
    /// [`OtherUser`](ShellFailure::OtherUser).
    pub fn user(mut self, name: impl Into<String>) -> Self {
        self.user = Some(name.into());
        self
    }

    /// The user's password, for a guest that asks for one. It needs a
    /// [`user`](Self::user).
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(Secret(password.into()));
        self
    }

    /// The question for a user, instead of `login: `. A question is the last text
    /// on the console: text with other text after it in its line is none.
    pub fn login_prompt(mut self, pattern: impl Into<Pattern>) -> Self {
        self.questions.login = pattern.into();
        self
    }

    /// The question for a password, instead of `Password: ` and similar ones.
    pub fn password_prompt(mut self, pattern: impl Into<Pattern>) -> Self {
        self.questions.password = pattern.into();
        self
    }

    /// The prompt that ends a log-in, instead of a `#`, `$`, `%` or `>` followed
    /// by silence. The log-in checks it by a line end, which a shell answers by
    /// the same prompt, and then by a command. No other operation of a shell
    /// needs the prompt.
    pub fn prompt(mut self, pattern: impl Into<Pattern>) -> Self {
        self.questions.prompt = pattern.into();
        self
    }

    /// Whether a terminal would read a part of the name or password as a key.
    fn has_control_characters(&self) -> bool {
        let password = self.password.as_ref().map(|it| it.0.as_str());
        let mut texts = [self.user.as_deref(), password].into_iter().flatten();
        texts.any(|text| text.chars().any(char::is_control))
    }

    /// The console's last output, without the password if the guest echoed it.
    fn last_seen(&self) -> Box<[u8]> {
        let seen = self.console.lock().last(REPORTED_BYTES);
        match &self.password {
            Some(Secret(password)) if !password.is_empty() => {
                let seen = String::from_utf8_lossy(&seen);
                seen.replace(password.as_str(), "…").into_bytes().into()
            }
            _ => seen.into(),
        }
    }

    /// Talks until a shell is open, or the log-in has failed.
    async fn talk(&self, conversation: &mut Conversation) -> Result<(), ShellFailure> {
        let Self {
            console,
            user,
            password,
            ..
        } = self;
        let deadlines = &console.shared.deadlines;
        let observed = &console.shared.observed;
        let mut reader = TextReader::new(console, self.after_reset);
        let mut resets = observed.resets();
        reader.read(conversation);
        conversation.begin(deadlines.now());
        loop {
            if resets != observed.resets() {
                resets = observed.resets();
                conversation.guest_reset();
            }
            match conversation.next(deadlines.now()) {
                Step::Ended(outcome) => return outcome,
                Step::Type(line) => {
                    let typed = match line {
                        Line::User => format!("{}\n", user.as_deref().unwrap_or_default()),
                        Line::Password => {
                            format!("{}\n", password.as_ref().map_or("", |it| it.0.as_str()))
                        }
                        Line::End => "\n".to_owned(),
                        Line::Marker => conversation.marker_line(),
                    };
                    console.send(typed).timeout(None).await?;
                }
                // Silence is only a guess, but nothing else shows that the guest
                // waits. A prompt is the last text before silence. A prompt that
                // was torn or lost leaves nothing but silence.
                Step::Wait(limit) => {
                    let more = console.expect(&reader.any).verbatim().timeout(None);
                    if let Ok(more) = deadlines.timeout(limit, more.into_future()).await {
                        more?;
                        reader.read(conversation);
                    }
                }
            }
        }
    }
}

timeout_option!(OpenShell, timeout);

/// Reads the console, and passes its text on without the kernel's lines.
struct TextReader<'a> {
    console: &'a Console,
    filter: Filter,
    position: u64,
    /// Any byte.
    any: Pattern,
}

impl<'a> TextReader<'a> {
    /// Begins before the end of the last match that was taken: a question may be
    /// a part of it.
    fn new(console: &'a Console, after_reset: Option<u64>) -> Self {
        let taken = console.lock().taken();
        let noise = Noise {
            escapes: false,
            kernel_lines: true,
        };
        let position = taken.saturating_sub(REPORTED_BYTES as u64);
        let position = position.max(after_reset.unwrap_or(0));
        Self {
            console,
            filter: Filter::new(noise, position),
            position,
            any: Pattern::regex("(?s).").expect("an expression of ours"),
        }
    }

    /// Takes all new text, or the text up to the end of the conversation.
    fn read(&mut self, conversation: &mut Conversation) {
        let now = self.console.shared.deadlines.now();
        let (bytes, begin) = self.console.lock().since(self.position, usize::MAX);
        self.position = begin + bytes.len() as u64;
        let ended = self.filter.push(&bytes, |run, mut at| {
            for line in run.split_inclusive(|byte| *byte == b'\n') {
                at += line.len() as u64;
                if conversation.feed(line, now) {
                    return ControlFlow::Break(at);
                }
            }
            ControlFlow::Continue(())
        });
        if let ControlFlow::Break(at) = ended {
            self.position = at;
        }
        self.console.lock().take_until(self.position);
    }
}

operation!(OpenShell => Result<Shell, ShellError>);

impl OpenShell {
    async fn run(self) -> Result<Shell, ShellError> {
        let task = match &self.user {
            Some(user) => format!("log '{user}' in"),
            None => "answer".to_owned(),
        };
        let task = Task::begin(&self.console, task);
        if self.has_control_characters() {
            return Err(task.failed(ShellFailure::ControlCharacter));
        }
        if self.user.is_none() && self.after_reset.is_none() && self.console.has_shell_at_prompt() {
            return Ok(self.opened());
        }
        let before = self.console.times_typed();
        let now = self.console.shared.deadlines.now();
        let aim = Aim {
            questions: self.questions.clone(),
            user: self.user.clone(),
            has_password: self.password.is_some(),
            is_patient: self.user.is_some() || self.after_reset.is_some(),
        };
        let mut conversation = Conversation::new(now, aim);
        let opened = task.within(self.timeout, self.talk(&mut conversation));
        opened.await.map_err(|error| ShellError {
            typed: conversation.typed().collect(),
            awaited: Some(conversation.awaited().into()),
            seen: self.last_seen(),
            ..error
        })?;
        let shell = self.opened();
        // A second marker may still be answered. Then a line is printed.
        let typed = before + conversation.typed().count() as u64;
        shell.console.shell_is_at_prompt(typed, shell.resets);
        Ok(shell)
    }

    fn opened(self) -> Shell {
        Shell {
            resets: self.console.shared.observed.resets(),
            console: self.console.clone(),
            slot: TaskSlot::default(),
            opened: self,
        }
    }
}

/// Types Ctrl-C and a line with a marker, again and again, until the shell has
/// answered it and one more line.
///
/// Both may be lost. An interrupted shell throws away the input that it has
/// read. And bash ignores Ctrl-C if its command ends by itself at that moment.
/// Nothing reports either case, so the line is typed once more, then both.
///
/// One answer is not enough. If bash is interrupted while it starts a program,
/// it answers, and the program takes the terminal after that. Then the second
/// line has no answer, and the next Ctrl-C ends the program. Answers to lines
/// from before the last Ctrl-C do not count: it may still be on its way.
pub(super) async fn interrupt(console: &Console) -> Result<(), ShellFailure> {
    let marker = Marker::new();
    let mut lines = 0..;
    let mut types = async |key: &str| {
        let number = lines.next().unwrap_or_default();
        let typed = format!("{key}{}", line::numbered_line(&marker, number));
        console.send(typed).timeout(None).await?;
        Ok::<u32, ShellFailure>(number)
    };
    let mut pace = PACE;
    loop {
        let interrupts = types("\x03").await?;
        let mut answers = answers_within(pace, console, &marker, interrupts).await?;
        if !answers {
            types("").await?;
            answers = answers_within(pace, console, &marker, interrupts).await?;
        }
        if answers {
            let last = types("").await?;
            if answers_within(pace, console, &marker, last).await? {
                return Ok(());
            }
        }
        pace *= 2;
    }
}

/// Whether the shell answers a line within this time: the one with this number
/// or a later one.
async fn answers_within(
    pace: Duration,
    console: &Console,
    marker: &Marker,
    number: u32,
) -> Result<bool, ShellFailure> {
    let answers = async {
        loop {
            let answer = console.expect(marker.then("([0-9]+)\r?\n"));
            let answer = answer.past_kernel_lines().timeout(None).await?;
            let answered = answer.group(1).and_then(|it| str::from_utf8(it).ok());
            if answered.is_some_and(|it| it.parse().is_ok_and(|it: u32| it >= number)) {
                return Ok(());
            }
        }
    };
    match engine::timeout(Some(pace), answers).await {
        Ok(answered) => answered.map(|()| true),
        Err(_) => Ok(false),
    }
}

/// The time until a line without an answer is typed again, and then twice as
/// long each time. Most shells answer faster, so few lines are typed twice.
const PACE: Duration = Duration::from_millis(500);
