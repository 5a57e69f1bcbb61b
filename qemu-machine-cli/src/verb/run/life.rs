//! Launches the machine, does the steps, and ends it.

use std::fmt;
use std::io::{self, IsTerminal};
use std::mem;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use qemu_machine::console::InteractEnd;
use qemu_machine::error::{AgentError, ErrorKind, EventError, LaunchFailure, ShutdownError};
use qemu_machine::template::Identity;
use qemu_machine::{ExitReport, Machine, MachineBuilder, Shell, Wait};

use super::Run;
use super::ending::{Ending, Progress};
use super::machine::{HostOptions, Plan};
use super::monitor;
use super::owner::Owner;
use super::sockets::ServedSockets;
use super::steps::{Login, Step};
use super::stopped::{Stopped, interrupted};
use crate::attention::Attention;
use crate::exit::Outcome;
use crate::guest_command::{self, CommandEnd, Unfinished};
use crate::{output, progress, unread};

/// The result of a run.
pub(super) struct Lived {
    pub(super) ending: Ending,
    pub(super) progress: Progress,
    /// Why it did not do what was asked, for people.
    pub(super) message: Option<String>,
    /// How QEMU ended; `None` if it was not launched, or was not reaped.
    pub(super) report: Option<Arc<ExitReport>>,
    /// How the last command of the guest's ended.
    pub(super) command: Option<CommandEnd>,
    /// The template that was made of the guest after the failure.
    pub(super) frozen: Option<PathBuf>,
}

impl Lived {
    pub(super) fn outcome(&self) -> Outcome {
        self.ending.outcome(self.progress)
    }
}

/// Runs the machine to its end, in the background if there is an owner.
pub(super) fn live(run: &Run, plan: Plan, attention: &Attention, owner: Option<&Owner>) -> Lived {
    let clock = Clock::start(run);
    let _sockets = ServedSockets::before_launch(&run.sockets.qmp);
    let Plan {
        builder,
        interacts,
        wakes,
    } = plan;
    // It is dropped here: the machine alone uses its template then.
    let machine = match launch(builder, attention, &clock) {
        Ok(machine) => machine,
        Err(Stopped { ending, message }) => {
            let (command, report, frozen) = (None, None, None);
            let progress = progress(&run.steps.0);
            return Lived {
                ending,
                progress,
                message,
                report,
                command,
                frozen,
            };
        }
    };
    hurry_at_the_end_of(&machine);
    let mut guest = Guest::new(&machine, run, wakes, attention, clock);
    let offer = run.freeze.offer(&machine);
    let stopped = guest.walk(run, interacts, owner);
    let (command, progress) = (guest.command, progress(guest.left));
    drop((guest, offer));
    let is_failure = stopped.ending.outcome(progress) != Outcome::Succeeded;
    let mut lived = Lived {
        ending: stopped.ending,
        progress,
        message: stopped.message,
        report: None,
        command,
        frozen: None,
    };
    let mut was_called = matches!(
        lived.ending,
        Ending::Interrupted(_) | Ending::OutputFailed { .. }
    );
    if is_failure && !was_called {
        lived.frozen = run.freeze.after_failure(&machine, attention);
    }
    if run.ends.keep_on_failure && is_failure && !was_called {
        was_called = keep(&machine, run, &mut lived, attention);
    }
    // The first call asks for a soft end, also if it came while nobody waited.
    if !was_called && let Some(stopped) = attention.take().map(interrupted) {
        lived.ending = stopped.ending;
    }
    let (report, interrupted) = end(&machine, attention);
    lived.report = report;
    if let Some(stopped) = interrupted {
        lived.ending = stopped.ending;
    }
    let has_failed_output = matches!(lived.ending, Ending::OutputFailed { .. });
    if let (Some(report), false) = (lived.report.clone(), has_failed_output) {
        let lost = lost(&report.warnings, &run.host);
        let lost = lost.filter(|_| lived.outcome() == Outcome::Succeeded);
        let notes = report.warnings.iter().filter(|it| Some(*it) != lost);
        notes.for_each(output::note);
        if let Some(warning) = lost {
            lived.ending = Ending::OutputFailed { is_closed: false };
            lived.message = Some(warning.clone());
        }
    }
    lived
}

/// From the machine's end on, output that nobody reads is given up. Otherwise a
/// full pipe would hold this process, and `stop` waits for it.
fn hurry_at_the_end_of(machine: &Machine) {
    let mut events = machine.monitor().events();
    thread::spawn(move || {
        while !matches!(
            events.next().timeout(None).wait(),
            Err(EventError::Ended { .. })
        ) {}
        unread::hurry();
    });
}

/// The warning about a log or a transcript that was asked for, if one is not whole.
fn lost<'a>(warnings: &'a [String], asked: &HostOptions) -> Option<&'a String> {
    let logs = asked.log_dir.as_ref().map(|it| it.to_string_lossy());
    warnings.iter().find(|it| {
        let is_transcript = it.starts_with("the transcript ") && asked.transcript.is_some();
        let is_log = logs.as_ref().is_some_and(|logs| it.contains(&**logs));
        (is_transcript || is_log) && it.contains(" is incomplete: ")
    })
}

/// Launches the machine.
fn launch(
    builder: MachineBuilder,
    attention: &Attention,
    clock: &Clock,
) -> Result<Machine, Stopped> {
    let _phase = progress::phase("launching the machine");
    let launch = builder.launch();
    drop(builder);
    let launch = match clock.left() {
        None => launch,
        Some(time) => launch.timeout(time),
    };
    // An interrupted launch fails once nothing is left, or returns its machine.
    let launched = launch.cancel_on(attention.called()).wait();
    launched.map_err(|error| match *error.failure {
        LaunchFailure::Cancelled => attention.take().map_or_else(|| error.into(), interrupted),
        _ => error.into(),
    })
}

/// The guest, while the steps are done.
struct Guest<'a> {
    machine: &'a Machine,
    attention: &'a Attention,
    clock: Clock,
    shell: Option<Shell>,
    has_agent: bool,
    /// It is a clone that has still the identity of its template.
    wakes: bool,
    /// The next command has our standard input.
    has_input: bool,
    /// The steps that are not done.
    left: &'a [Step],
    command: Option<CommandEnd>,
}

impl<'a> Guest<'a> {
    fn new(
        machine: &'a Machine,
        run: &'a Run,
        wakes: bool,
        attention: &'a Attention,
        clock: Clock,
    ) -> Self {
        Self {
            machine,
            attention,
            clock,
            wakes,
            shell: None,
            has_agent: run.machine.agent,
            has_input: run.ends.exec_stdin,
            left: &run.steps.0,
            command: None,
        }
    }

    /// Does everything before the end. The result is why the end begins.
    fn walk(&mut self, run: &Run, interacts: bool, owner: Option<&Owner>) -> Stopped {
        match self.steps() {
            Err(stopped) => return stopped,
            Ok(Some(command)) if !command.is_success() => {
                return Stopped::quietly(Ending::Command(command));
            }
            Ok(_) => {}
        }
        let done = if let Some(owner) = owner {
            let announced = owner.announce(self.machine, run.host.log_dir.as_deref());
            announced.and_then(|()| self.live_on())
        } else if run.console.qmp_shell {
            let name = run.host.name.as_deref();
            let ended = monitor::converse(self.machine, name, self.attention);
            ended.and_then(|stopped| stopped.map_or_else(|| self.stay(), Ok))
        } else if interacts {
            self.interact()
        } else if run.ends.stay || run.steps.is_empty() {
            self.stay()
        } else {
            Ok(match self.command {
                Some(command) => Stopped::quietly(Ending::Command(command)),
                None => Stopped::quietly(Ending::Done),
            })
        };
        done.unwrap_or_else(|stopped| stopped)
    }

    /// Wakes a clone, and does the steps; a command that fails is the last.
    fn steps(&mut self) -> Result<Option<CommandEnd>, Stopped> {
        // Without an agent, a shell wakes it, which a log-in may have to open.
        let logs_in = self.left.iter().any(|it| matches!(it, Step::Login(_)));
        if self.has_agent || !logs_in {
            self.wake_once()?;
        }
        while let Some((step, rest)) = self.left.split_first() {
            match step {
                Step::Expect(pattern) => {
                    let _phase = progress::phase(format_args!("waiting for '{pattern}'"));
                    let expect = self.machine.console().expect(pattern.clone());
                    let timeout = self.clock.step();
                    self.wait(expect.timeout(timeout))?.map_err(Stopped::from)?;
                }
                Step::Send(bytes) => {
                    let send = self.machine.console().send(bytes);
                    let timeout = self.clock.step();
                    self.wait(send.timeout(timeout))?.map_err(Stopped::from)?;
                }
                Step::Login(login) => {
                    self.log_in(login)?;
                    self.wake_once()?;
                }
                Step::Exec(command) => {
                    let _phase = progress::phase(format_args!("running '{command}'"));
                    let ended = if self.has_agent {
                        self.exec_by_agent(command)?
                    } else {
                        self.exec_by_shell(command)?
                    };
                    self.command = Some(ended);
                    if !ended.is_success() {
                        return Ok(Some(ended));
                    }
                }
            }
            self.left = rest;
        }
        Ok(self.command)
    }

    /// Gives the guest its own identity, once.
    fn wake_once(&mut self) -> Result<(), Stopped> {
        if mem::take(&mut self.wakes) {
            self.wake()?;
        }
        Ok(())
    }

    fn wake(&mut self) -> Result<(), Stopped> {
        let _phase = progress::phase("waking the guest");
        let limit = self.clock.step();
        let Some(shell) = &mut self.shell else {
            let woken = self.attention.wait(self.machine.wake().timeout(limit));
            let woken = woken.map_err(interrupted)?;
            return woken
                .map(drop)
                .map_err(|error| not_woken(&error, error.kind()));
        };
        let identity = Identity::random().map_err(|error| not_woken(&error, ErrorKind::System))?;
        let ran = shell.run(identity.script()).timeout(limit);
        let ran = self.attention.wait(ran).map_err(interrupted)?;
        let ran = ran.map_err(|error| not_woken(&error, error.kind()))?;
        match ran.status {
            0 => Ok(()),
            _ => Err(not_woken(&ran.text().trim(), ErrorKind::Refused)),
        }
    }

    fn log_in(&mut self, login: &Login) -> Result<(), Stopped> {
        let _phase = progress::phase(format_args!("logging in as '{}'", login.user));
        let mut shell = self.machine.console().shell().user(&login.user);
        if let Some(password) = &login.password {
            shell = shell.password(password);
        }
        let opened = self.wait(shell.timeout(self.clock.step()))?;
        self.shell = Some(opened.map_err(Stopped::from)?);
        Ok(())
    }

    fn exec_by_shell(&mut self, command: &str) -> Result<CommandEnd, Stopped> {
        if self.shell.is_none() {
            let shell = self.machine.console().shell();
            let opened = self.wait(shell.timeout(self.clock.step()))?;
            self.shell = Some(opened.map_err(Stopped::from)?);
        }
        let input = self.input()?;
        let shell = self.shell.as_mut().expect("it was opened above");
        let left = || self.clock.left();
        let ended = guest_command::by_shell(shell, command, &input, self.attention, left);
        ended.map_err(|unfinished| self.unfinished(unfinished))
    }

    fn exec_by_agent(&mut self, command: &str) -> Result<CommandEnd, Stopped> {
        let agent = self.machine.guest_agent();
        let ready = self.wait(agent.wait_until_ready().timeout(self.clock.step()))?;
        ready.map_err(|error| self.agent_failed(&error))?;
        let input = self.input()?;
        let exec = || {
            agent
                .exec("/bin/sh")
                .args(["-c", command])
                .input(input.clone())
        };
        let ended = guest_command::by_agent(exec, self.attention, || self.clock.left());
        ended.map_err(|unfinished| self.unfinished(unfinished))
    }

    /// Our standard input, for the first command that it was asked for.
    fn input(&mut self) -> Result<Vec<u8>, Stopped> {
        if !std::mem::take(&mut self.has_input) {
            return Ok(Vec::new());
        }
        guest_command::standard_input().map_err(|failure| Stopped {
            ending: Ending::StepFailed,
            message: failure.message,
        })
    }

    fn unfinished(&self, unfinished: Unfinished) -> Stopped {
        match unfinished {
            Unfinished::Called(call) => interrupted(call),
            Unfinished::Agent(error) => self.agent_failed(&error),
            Unfinished::Shell(error) => (*error).into(),
            Unfinished::Output(failure) => failure.into(),
        }
    }

    /// Hands the console to the person. If their input ends, what the console
    /// says is still shown.
    fn interact(&self) -> Result<Stopped, Stopped> {
        progress::stop();
        output::check()?;
        let console = self.machine.console();
        let mut session = console.interact().timeout(self.clock.left());
        if io::stdout().is_terminal() {
            session = session.hint("Ctrl-] leaves the console and ends the machine");
        }
        let left = self.wait(session)?;
        let mut left = left.map_err(Stopped::from)?;
        if matches!(left, InteractEnd::InputEnded) {
            let (silent, _kept) = io::pipe().map_err(|error| Stopped {
                ending: Ending::StepFailed,
                message: Some(format!("cannot make a pipe: {error}")),
            })?;
            let watch = console.interact().input(silent).escape(None);
            let watched = self.wait(watch.timeout(self.clock.left()))?;
            left = watched.map_err(Stopped::from)?;
        }
        match left {
            InteractEnd::Escape => Ok(Stopped::quietly(Ending::Done)),
            _ => self.stay(),
        }
    }

    /// Waits until QEMU ends. A guest that has panicked, and that QEMU holds,
    /// stays for somebody to look at.
    fn live_on(&self) -> Result<Stopped, Stopped> {
        let mut events = self.machine.monitor().events();
        loop {
            match self.wait(events.next().timeout(self.clock.left()))? {
                Err(EventError::Ended { .. }) => return self.stay(),
                Err(EventError::Timeout { .. }) => return Ok(Stopped::quietly(Ending::TimedOut)),
                _ => {}
            }
        }
    }

    /// Waits for the machine's own end.
    fn stay(&self) -> Result<Stopped, Stopped> {
        let _phase = progress::phase("the machine runs");
        let exit = self.machine.wait_for_exit();
        let report = self.wait(exit.timeout(self.clock.left()))?;
        let report = report.map_err(Stopped::from)?;
        Ok(Stopped::by_end(&report))
    }

    fn wait<O: IntoFuture>(&self, operation: O) -> Result<O::Output, Stopped> {
        self.attention.wait(operation).map_err(interrupted)
    }

    fn agent_failed(&self, error: &AgentError) -> Stopped {
        Stopped::of_agent(error, self.machine.report().as_deref())
    }
}

/// Does the steps that make a guest ready to be frozen.
pub(super) fn set_up(run: &Run, machine: &Machine, attention: &Attention) -> Result<(), Stopped> {
    match Guest::new(machine, run, false, attention, Clock::start(run)).steps()? {
        Some(end) if !end.is_success() => Err(Stopped {
            ending: Ending::Command(end),
            message: Some("a command of the set-up failed, so there is no template".to_owned()),
        }),
        _ => Ok(()),
    }
}

/// Wakes a clone of a pool, and does the steps that make it warm.
pub(super) fn warm_up(
    run: &Run,
    wakes: bool,
    machine: &Machine,
    attention: &Attention,
) -> Result<(), Stopped> {
    let mut guest = Guest::new(machine, run, wakes, attention, Clock::start(run));
    match guest.steps()? {
        Some(end) if !end.is_success() => {
            let failed = match guest.left.first() {
                Some(Step::Exec(command)) => format!("the command '{command}' {end}"),
                _ => format!("a command {end}"),
            };
            Err(Stopped {
                ending: Ending::Command(end),
                message: Some(failed),
            })
        }
        _ => Ok(()),
    }
}

/// The guest of a clone did not get its own identity.
fn not_woken(error: &impl fmt::Display, kind: ErrorKind) -> Stopped {
    Stopped {
        ending: match kind {
            ErrorKind::Timeout => Ending::TimedOut,
            _ => Ending::StepFailed,
        },
        message: Some(format!(
            "{error}; with --no-wake, the guest stays as it was frozen"
        )),
    }
}

/// Leaves a machine running whose run has failed, for a person to look at. The
/// result says whether a call asked for the end.
fn keep(machine: &Machine, run: &Run, lived: &mut Lived, attention: &Attention) -> bool {
    let Some(pid) = machine.pid() else {
        return false;
    };
    if let Some(message) = lived.message.take() {
        output::error(message);
    }
    let served = match run.sockets.qmp.first() {
        Some(socket) => format!("its QMP is at {}", socket.display()),
        None => "--qmp SOCKET would serve its QMP".to_owned(),
    };
    output::note(format_args!(
        "the machine is kept: process {pid}, {served}; Ctrl-C ends it"
    ));
    // A wait for the exit ends at once if QEMU holds a guest that panicked. The
    // events end with QEMU.
    let mut events = machine.monitor().events();
    loop {
        match attention.wait(events.next().timeout(None)) {
            Err(_) => return true,
            Ok(Err(EventError::Ended { .. })) => return false,
            Ok(_) => {}
        }
    }
}

/// Ends the machine: softly, or at once if a call comes during that.
fn end(machine: &Machine, attention: &Attention) -> (Option<Arc<ExitReport>>, Option<Stopped>) {
    let _phase = progress::phase("ending the machine");
    // An end that was reported already is no news.
    let had_ended = machine.report().is_some();
    let (ended, stopped) = match attention.wait(machine.shutdown()) {
        Ok(ended) => (ended, None),
        Err(call) => (machine.kill().wait(), Some(interrupted(call))),
    };
    match ended {
        Ok(report) => (Some(report), stopped),
        Err(error) => {
            let killed = stopped.is_some() && !matches!(error, ShutdownError::Unkillable { .. });
            if !had_ended && !killed {
                output::note(&error);
            }
            (error.report().cloned(), stopped)
        }
    }
}

/// How far a run is that has these steps left.
fn progress(left: &[Step]) -> Progress {
    if left.is_empty() {
        Progress::AllDone
    } else if left.iter().any(|step| matches!(step, Step::Exec(_))) {
        Progress::CommandsLeft
    } else {
        Progress::StepsLeft
    }
}

/// The time of a run, and of its steps.
struct Clock {
    ends_at: Option<Instant>,
    step: Option<Duration>,
}

impl Clock {
    fn start(run: &Run) -> Self {
        Self {
            ends_at: run.ends.timeout.map(|time| Instant::now() + time),
            step: run.ends.step_timeout,
        }
    }

    /// What the whole run has left; `None` is no limit.
    fn left(&self) -> Option<Duration> {
        let left = self.ends_at?.saturating_duration_since(Instant::now());
        // Messages show it, and there microseconds mean nothing.
        let millis = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        Some(Duration::from_millis(millis))
    }

    /// The time of the next step.
    fn step(&self) -> Duration {
        match (self.step, self.left()) {
            (Some(step), Some(left)) => step.min(left),
            (Some(time), None) | (None, Some(time)) => time,
            (None, None) => STEP,
        }
    }
}

/// A step's time if nothing else is said.
const STEP: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_that_was_asked_for_makes_a_run_fail() {
        let mut asked = HostOptions::default();
        let log = "the log logs/web.log is incomplete: full".to_owned();
        let transcript = "the transcript is incomplete: full".to_owned();
        let warnings = [
            log.clone(),
            transcript.clone(),
            "cannot remove logs/x".to_owned(),
        ];
        assert_eq!(lost(&warnings, &asked), None);
        asked.transcript = Some("t".into());
        assert_eq!(lost(&warnings, &asked), Some(&transcript));
        assert_eq!(lost(&warnings[2..], &asked), None);
        asked.log_dir = Some("logs".into());
        assert_eq!(lost(&warnings, &asked), Some(&log));
        assert_eq!(lost(&warnings[2..], &asked), None);
    }
}
