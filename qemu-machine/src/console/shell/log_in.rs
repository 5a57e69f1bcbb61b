//! To the shell on a console: by a log-in, or where it is there already.
//!
//! What is typed and when is decided by [`Conversation`]; here are the console
//! and the clock.

use crate::console::handle::REPORTED_BYTES;
use crate::spec::Noise;
use qemu_qmp_engine::{operation, timeout_option};
use std::fmt;
use std::future::IntoFuture;
use std::ops::ControlFlow;
use std::time::Duration;

use qemu_qmp_engine as engine;

use super::conversation::{Aim, Conversation, Line, Step};
use super::error::Task;
use super::line::{self, Marker};
use super::seen::Questions;
use super::{Shell, ShellError, ShellFailure, State};
use crate::console::noise::Filter;
use crate::console::{Console, Pattern};

/// Gets hold of the shell on a console; made by [`Console::shell`].
///
/// # Errors
/// [`ShellError`], whose [`failure`](ShellError::failure) says which.
///
/// # Cancel safety
/// If the future is dropped, what was typed by then stays typed.
#[derive(Debug, Clone)]
#[must_use = "no shell is spoken with until awaited or waited for"]
pub struct OpenShell {
    console: Console,
    user: Option<String>,
    password: Option<Secret>,
    questions: Questions,
    timeout: Option<Duration>,
    /// Where the console's text begins that counts, if the guest was reset there.
    after_reset: Option<u64>,
}

/// What is not to be seen in any log of ours.
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

    /// The same, for a guest that was reset just now.
    pub(super) fn after_reset(mut self) -> Self {
        let mut buffer = self.console.lock();
        let (rest, begin) = buffer.since(buffer.taken(), usize::MAX);
        let position = begin + rest.len() as u64;
        buffer.take_until(position);
        drop(buffer);
        self.after_reset = Some(position);
        self
    }

    /// Logs in first, as this user, where the console asks for one. A prompt that
    /// was lost, torn, or taken by an [`expect`](Console::expect) is had back by a
    /// line end.
    ///
    /// Where a shell is there without being asked for (an automatic log-in, a
    /// user who is still logged in), it is taken if it is this user's by the word
    /// of `id -un`, as far as the guest has that; else it is
    /// [`OtherUser`](ShellFailure::OtherUser).
    pub fn user(mut self, name: impl Into<String>) -> Self {
        self.user = Some(name.into());
        self
    }

    /// The user's password, where one is asked for; needs a
    /// [`user`](Self::user).
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(Secret(password.into()));
        self
    }

    /// What asks for a user, instead of `login: `. A question is the last thing
    /// on the console: text that another follows in its line is none.
    pub fn login_prompt(mut self, pattern: impl Into<Pattern>) -> Self {
        self.questions.login = pattern.into();
        self
    }

    /// What asks for a password, instead of `Password: ` and the like.
    pub fn password_prompt(mut self, pattern: impl Into<Pattern>) -> Self {
        self.questions.password = pattern.into();
        self
    }

    /// The prompt by which a shell shows in a log-in, instead of a `#`, `$`, `%`
    /// or `>` after which the console is silent. It is tried by a line end, which
    /// a shell answers by the same prompt, and then by a command. No other
    /// operation of a shell needs to know its prompt.
    pub fn prompt(mut self, pattern: impl Into<Pattern>) -> Self {
        self.questions.prompt = pattern.into();
        self
    }

    /// A name or password that is no line, but keys.
    fn has_control_characters(&self) -> bool {
        let password = self.password.as_ref().map(|it| it.0.as_str());
        let mut texts = [self.user.as_deref(), password].into_iter().flatten();
        texts.any(|text| text.chars().any(char::is_control))
    }

    /// The last of the console, without the password where that was echoed.
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

    /// Talks until there is a shell, or will be none.
    async fn talk(&self, conversation: &mut Conversation) -> Result<(), ShellFailure> {
        let Self {
            console,
            user,
            password,
            ..
        } = self;
        let deadlines = &console.shared.deadlines;
        let observed = &console.shared.observed;
        let mut ear = Ear::new(console, self.after_reset);
        let mut resets = observed.resets();
        ear.hear(conversation);
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
                // Silence is a guess, and the only word there is: a prompt is the
                // last thing before it, and a prompt that was torn or thrown away
                // has nothing else to show that it waits.
                Step::Wait(limit) => {
                    let more = console.expect(&ear.any).verbatim().timeout(None);
                    if let Ok(more) = deadlines.timeout(limit, more.into_future()).await {
                        more?;
                        ear.hear(conversation);
                    }
                }
            }
        }
    }
}

timeout_option!(OpenShell, timeout);

/// Takes what the console says, and hands it on without the kernel's lines.
struct Ear<'a> {
    console: &'a Console,
    filter: Filter,
    position: u64,
    /// Any byte.
    any: Pattern,
}

impl<'a> Ear<'a> {
    /// Begins with what was taken last: a question may be a part of it.
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

    /// Takes all that has come, or up to where the conversation has ended.
    fn hear(&mut self, conversation: &mut Conversation) {
        let now = self.console.shared.deadlines.now();
        let (bytes, begin) = self.console.lock().since(self.position, usize::MAX);
        self.position = begin + bytes.len() as u64;
        let ended = self.filter.push(&bytes, |run, mut at| {
            for line in run.split_inclusive(|byte| *byte == b'\n') {
                at += line.len() as u64;
                if conversation.saw(line, now) {
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
        Ok(Shell {
            resets: self.console.shared.observed.resets(),
            console: self.console.clone(),
            state: State::Ready,
            opened: self,
        })
    }
}

/// Types Ctrl-C and a line until the shell does as that says; Ctrl-C every other
/// time.
///
/// Either may be lost. A shell that is interrupted throws away what it has read
/// by then; and bash does not heed Ctrl-C when the command that it waits for ends
/// by itself at that moment. Nothing tells, so both are typed again; answers that
/// come after the first one harm nobody.
pub(super) async fn interrupt(console: &Console) -> Result<(), ShellFailure> {
    let marker = Marker::new();
    let answer = console.expect(marker.then("\r?\n")).past_kernel_lines();
    let mut answer = answer.timeout(None).into_future();
    for key in ["\x03", ""].into_iter().cycle() {
        let typed = format!("{key}{}", line::marker_line(&marker));
        console.send(typed).timeout(None).await?;
        if let Ok(answered) = engine::timeout(Some(PACE), answer.as_mut()).await {
            answered?;
            break;
        }
    }
    Ok(())
}

/// After which time a line that was not answered is typed again: longer than
/// most shells take to answer, so that few are typed twice.
const PACE: Duration = Duration::from_millis(500);
