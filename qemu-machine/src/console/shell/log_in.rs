//! To the shell on a console: by a log-in, or where it is there already.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use qemu_qmp::engine;

use super::error::Task;
use super::line::{self, Marker};
use super::{Shell, ShellError, ShellFailure, State};
use crate::console::{Console, Pattern};

/// Gets hold of the shell on a console; made by [`Console::shell`].
///
/// # Errors
/// [`ShellError`], whose [`failure`](ShellError::failure) says which.
///
/// # Cancel safety
/// If the future is dropped, what was typed by then stays typed.
#[derive(Debug)]
#[must_use = "no shell is spoken with until awaited or waited for"]
pub struct OpenShell {
    console: Console,
    user: Option<String>,
    password: Option<Secret>,
    login_prompt: Pattern,
    password_prompt: Pattern,
    prompt: Pattern,
    timeout: Option<Duration>,
}

/// What is not to be seen in any log of ours.
struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl OpenShell {
    pub(super) fn new(console: Console) -> Self {
        let timeout = console.shared.deadlines.limit();
        let pattern = |expression| Pattern::regex(expression).expect("an expression of ours");
        Self {
            console,
            user: None,
            password: None,
            login_prompt: Pattern::literal("login: "),
            password_prompt: pattern("[Pp]assword[^\r\n]*: "),
            prompt: pattern(r"[#$%>] ?(?:\x1b\[[0-9;?]*[A-Za-z])*$"),
            timeout,
        }
    }

    /// Logs in first, as this user, when the console asks for one. What asks
    /// must not have been taken by an [`expect`](Console::expect) before.
    pub fn user(mut self, name: impl Into<String>) -> Self {
        self.user = Some(name.into());
        self
    }

    /// The user's password, where one is asked for.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(Secret(password.into()));
        self
    }

    /// What asks for a user, instead of `login: `.
    pub fn login_prompt(mut self, pattern: impl Into<Pattern>) -> Self {
        self.login_prompt = pattern.into();
        self
    }

    /// What asks for a password, instead of `Password: ` and the like.
    pub fn password_prompt(mut self, pattern: impl Into<Pattern>) -> Self {
        self.password_prompt = pattern.into();
        self
    }

    /// The prompt by which a shell shows after a log-in, instead of a `#`,
    /// `$`, `%` or `>` after which the console is silent. No other operation
    /// of a shell needs to know its prompt.
    pub fn prompt(mut self, pattern: impl Into<Pattern>) -> Self {
        self.prompt = pattern.into();
        self
    }

    /// Waits no longer than this for all of it, instead of 30 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Waits as long as the console lives.
    pub fn no_timeout(mut self) -> Self {
        self.timeout = None;
        self
    }

    async fn log_in(&self, user: &str) -> Result<(), ShellFailure> {
        let console = &self.console;
        let asked = console.expect(&self.login_prompt).past_kernel_lines();
        asked.no_timeout().await?;
        console.send(format!("{user}\n")).no_timeout().await?;
        let refused = Pattern::regex("(?i)login incorrect|authentication fail|permission denied")
            .expect("an expression of ours");
        let mut password = self.password.as_ref();
        loop {
            let patterns = [&refused, &self.password_prompt, &self.prompt];
            let said = console.expect_any(patterns).past_kernel_lines();
            match said.no_timeout().await?.pattern {
                0 => return Err(ShellFailure::Refused),
                1 => {
                    let Some(Secret(password)) = password.take() else {
                        return Err(ShellFailure::PasswordWanted);
                    };
                    console.send(format!("{password}\n")).no_timeout().await?;
                }
                _ => return Ok(()),
            }
        }
    }
}

impl IntoFuture for OpenShell {
    type Output = Result<Shell, ShellError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let task = match &self.user {
                Some(user) => format!("log '{user}' in"),
                None => "answer".to_owned(),
            };
            let task = Task::begin(&self.console, task);
            let work = async {
                if let Some(user) = &self.user {
                    self.log_in(user).await?;
                }
                answer(&self.console, false).await
            };
            task.within(self.timeout, work).await?;
            Ok(Shell {
                resets: self.console.shared.heard.resets(),
                console: self.console,
                state: State::Ready,
            })
        })
    }
}

/// Types a line until the shell does as it says; with `interrupting`, after
/// Ctrl-C every other time.
///
/// Either may be lost. A shell that is interrupted throws away what it has read
/// by then, and so may a log-in; and bash does not heed Ctrl-C when the command
/// that it waits for ends by itself at that moment. Nothing tells, so both are
/// typed again; answers that come after the first one harm nobody.
pub(super) async fn answer(console: &Console, interrupting: bool) -> Result<(), ShellFailure> {
    let marker = Marker::new();
    let answer = console.expect(marker.then("\r?\n")).past_kernel_lines();
    let mut answer = answer.no_timeout().into_future();
    let keys = [if interrupting { "\x03" } else { "" }, ""];
    for key in keys.into_iter().cycle() {
        let typed = format!("{key}{}", line::marker_line(&marker));
        console.send(typed).no_timeout().await?;
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
