//! The handle on a console.

use crate::channel::MachineContext;
use crate::channel::MachineFacts;
use crate::channel::Seen;
use crate::console::ConsoleLog;
use crate::console::Expect;
use crate::console::Pattern;
use crate::console::Screen;
use crate::console::ScreenShows;
use crate::console::SendBytes;
use crate::spec::ConsoleConfig;
use crate::spec::Noise;
use std::future::Future;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use qemu_qmp::Deadlines;
use qemu_qmp_engine::{self as engine, Stream, Watched};
use socket2::Socket;

use super::buffer::Answer;
use super::buffer::{Buffer, End};
use super::screen::Terminal;

use crate::channel::Channel;
use crate::life::ExitReport;
use crate::life::ObservedState;
use crate::life::PausedForGood;
use crate::output::Output;
use crate::output::tee::Feed;
use qemu_qmp::supervise::PendingNotices;

/// Where a console's bytes go beside its memory.
#[derive(Debug, Default)]
pub(crate) struct ConsoleSinks {
    pub(crate) log: Option<ConsoleLog>,
    pub(crate) tee: Option<Feed>,
}

/// A handle on a machine's console.
///
/// Cheap to clone. What the console says is read, kept and logged by a thread
/// in the background, so a console that nobody reads never blocks the guest.
/// A machine without a console has one that ended before it began.
#[derive(Debug, Clone)]
pub struct Console {
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    /// `None` for the first one.
    pub(super) name: Option<String>,
    pub(super) machine: String,
    /// What QEMU itself prints, for errors.
    pub(super) output: Output,
    pub(super) deadlines: Deadlines,
    pub(super) observed: ObservedState,
    pub(super) buffer: Mutex<Buffer>,
    /// How often more has come, or the end.
    pub(super) more: Arc<Watched<u64>>,
    pub(super) log: Mutex<Option<ConsoleLog>>,
    pub(super) log_path: Option<PathBuf>,
    pub(super) tee: Option<Feed>,
    /// What its searches look past, unless they say otherwise.
    pub(super) noise: Noise,
    /// What shows it, where that was asked for.
    pub(super) terminal: Option<Arc<Terminal>>,
    pub(super) wire: Wire,
    pub(super) context: MachineContext,
}

#[derive(Debug)]
pub(super) enum Wire {
    Absent,
    Drained(Box<Stream>),
    /// The caller's, until it was taken.
    Undrained(Mutex<Option<UnixStream>>),
}

impl Console {
    /// The console, as reports show it.
    pub(crate) fn seen(&self) -> &dyn Seen {
        &*self.shared
    }
}

impl Seen for Shared {
    fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    fn tail(&self) -> Vec<u8> {
        let buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        buffer.last(REPORTED_BYTES)
    }
}

impl Console {
    /// Waits until the console says something that matches `pattern`, beginning
    /// after the last match that was taken.
    pub fn expect(&self, pattern: impl Into<Pattern>) -> Expect {
        Expect::new(self.clone(), vec![pattern.into()])
    }

    /// Waits until the console says something that matches one of `patterns`,
    /// as [`expect`](Self::expect) does for one. The match that ends first is
    /// taken, and of those that end together that of the first pattern;
    /// [`Match::pattern`](crate::console::Match::pattern) tells which it was.
    ///
    /// # Examples
    /// ```no_run
    /// use qemu_machine::{Machine, Wait};
    ///
    /// # fn boot(vm: &Machine) -> Result<(), Box<dyn std::error::Error>> {
    /// let found = vm.console().expect_any(["login: ", "Kernel panic"]).wait()?;
    /// if found.pattern == 1 {
    ///     return Err("it panicked".into());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn expect_any<P: Into<Pattern>>(&self, patterns: impl IntoIterator<Item = P>) -> Expect {
        let patterns = patterns.into_iter().map(Into::into).collect();
        Expect::new(self.clone(), patterns)
    }

    /// Types bytes on the console.
    pub fn send(&self, bytes: impl AsRef<[u8]>) -> SendBytes {
        SendBytes::new(self.clone(), bytes.as_ref().to_vec())
    }

    /// What the console shows now, as a terminal; `None` unless it was configured
    /// with a [screen](ConsoleConfig::screen).
    pub fn screen(&self) -> Option<Screen> {
        self.shared.terminal.as_deref().map(Terminal::screen)
    }

    /// Waits until the console's screen shows text that matches `pattern`; its
    /// rows are the text's lines. For menus and full-screen programs, whose
    /// bytes do not come in the order in which they are read.
    pub fn screen_shows(&self, pattern: impl Into<Pattern>) -> ScreenShows {
        ScreenShows::pattern(self.clone(), pattern.into())
    }

    /// Waits until `predicate` holds of the console's screen. It is asked where
    /// the operation is awaited or waited for.
    ///
    /// # Examples
    /// ```no_run
    /// use qemu_machine::{Machine, Wait};
    ///
    /// # fn choose(vm: &Machine) -> Result<(), Box<dyn std::error::Error>> {
    /// vm.console()
    ///     .screen_matches(|screen| screen.highlighted().iter().any(|it| it.contains("Rescue")))
    ///     .wait()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn screen_matches(
        &self,
        predicate: impl FnMut(&Screen) -> bool + Send + 'static,
    ) -> ScreenShows {
        ScreenShows::predicate(self.clone(), predicate)
    }

    /// The last of what the console said, as much as is kept in memory.
    pub fn tail(&self) -> Vec<u8> {
        self.lock().tail()
    }

    /// The console's [log](ConsoleConfig::log); `None` where it has none. It is
    /// another one than was given where a machine was writing that at the launch.
    pub fn log_path(&self) -> Option<&Path> {
        self.shared.log_path.as_deref()
    }

    /// The console's socket, where its reading was left to the caller; `None`
    /// otherwise, or if it was taken before.
    pub fn take_stream(&self) -> Option<UnixStream> {
        match &self.shared.wire {
            Wire::Undrained(stream) => stream.lock().unwrap_or_else(PoisonError::into_inner).take(),
            Wire::Absent | Wire::Drained(_) => None,
        }
    }

    /// The console of a machine that has none.
    pub(crate) fn absent(machine: &MachineFacts) -> Self {
        let console = Self::new(
            machine,
            None,
            Wire::Absent,
            0,
            Noise::default(),
            None,
            ConsoleSinks::default(),
        );
        console.end(&End::Absent("the machine was launched without a console"));
        console
    }

    /// Our end of a machine's console.
    pub(crate) fn connected(
        machine: &MachineFacts,
        name: Option<String>,
        socket: Socket,
        config: &ConsoleConfig,
        sinks: ConsoleSinks,
    ) -> io::Result<Self> {
        if config.drained {
            let mut stream = Stream::new(socket, OUTBOX_LIMIT_BYTES)?;
            if config.screen.is_some() {
                stream = stream.with_turn_bytes(SCREEN_TURN_BYTES);
            }
            let wire = Wire::Drained(Box::new(stream));
            let terminal = config.screen.map(Terminal::new).map(Arc::new);
            let ConsoleConfig {
                ring_bytes, noise, ..
            } = *config;
            return Ok(Self::new(
                machine, name, wire, ring_bytes, noise, terminal, sinks,
            ));
        }
        let stream = Mutex::new(Some(UnixStream::from(std::os::fd::OwnedFd::from(socket))));
        let wire = Wire::Undrained(stream);
        let console = Self::new(
            machine,
            name,
            wire,
            0,
            Noise::default(),
            None,
            ConsoleSinks::default(),
        );
        console.end(&End::Absent("the console's reading was left to its caller"));
        Ok(console)
    }

    /// What errors tell of the machine.
    pub(crate) fn context(&self) -> MachineContext {
        self.shared.context.clone()
    }

    pub(super) fn new(
        machine: &MachineFacts,
        name: Option<String>,
        wire: Wire,
        ring_bytes: usize,
        noise: Noise,
        terminal: Option<Arc<Terminal>>,
        sinks: ConsoleSinks,
    ) -> Self {
        let log = sinks.log;
        let MachineFacts {
            deadlines,
            observed,
            context,
        } = machine.clone();
        let shared = Arc::new(Shared {
            name,
            machine: context.machine.clone(),
            output: context.output.clone(),
            deadlines,
            observed,
            buffer: Mutex::new(Buffer::new(ring_bytes)),
            more: Arc::default(),
            tee: sinks.tee,
            log_path: log.as_ref().map(|log| log.path().to_owned()),
            log: Mutex::new(log),
            noise,
            terminal,
            wire,
            context,
        });
        shared.context.add(&(Arc::clone(&shared) as _));
        Self { shared }
    }

    pub(super) async fn read(&self) {
        let Wire::Drained(stream) = &self.shared.wire else {
            return;
        };
        let read = stream.drive(|bytes| {
            if let Some(log) = &mut *self.log() {
                log.write(bytes);
            }
            if let Some(tee) = &self.shared.tee {
                tee.push(bytes);
            }
            let answers = self.lock().push(bytes);
            if let Some(terminal) = &self.shared.terminal {
                terminal.show(bytes);
            }
            self.tell(answers);
            Ok::<(), io::Error>(())
        });
        if let Err(error) = read.await {
            engine::log(log::Level::Warn, module_path!(), || {
                format!("{} is lost: {error}", self.what())
            });
            // A console that nobody drains would block QEMU.
            stream.shutdown();
        }
    }

    /// Waits until it says no more; gives the reason.
    pub(super) async fn ended(&self) -> End {
        loop {
            let more = self.more();
            // Let go of at once, and not held while this waits.
            let ended = self.lock().ended();
            if let Some(end) = ended {
                return end;
            }
            more.await;
        }
    }

    /// Ends when more has come than at this call, or the end.
    pub(super) fn more(&self) -> impl Future<Output = ()> {
        let seen = self.shared.more.look(|times| *times);
        let new = move |times: &u64| (*times != seen).then_some(());
        self.shared.more.until(new)
    }

    /// What messages call it.
    pub(super) fn what(&self) -> String {
        what(&self.shared.machine, self.shared.name.as_deref())
    }

    pub(super) fn end(&self, end: &End) {
        let answers = self.lock().end(end);
        self.tell(answers);
    }

    /// Wakes who waits: each for an answer, for more, or for a look at the
    /// screen.
    pub(super) fn tell(&self, answers: Vec<Answer>) {
        self.notices(answers).notify();
    }

    /// What wakes them. It keeps neither the console nor its socket.
    pub(super) fn notices(&self, answers: Vec<Answer>) -> PendingNotices {
        let (more, terminal) = (Arc::clone(&self.shared.more), self.shared.terminal.clone());
        PendingNotices::new(move || {
            answers.into_iter().for_each(Answer::tell);
            more.change(|times| *times += 1);
            if let Some(terminal) = terminal {
                terminal.tell();
            }
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Buffer> {
        self.shared
            .buffer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn log(&self) -> MutexGuard<'_, Option<ConsoleLog>> {
        self.shared
            .log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Channel for Console {
    fn pump(self: Arc<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move { self.read().await })
    }

    fn hang_up(&self) {
        if let Wire::Drained(stream) = &self.shared.wire {
            stream.shutdown();
        }
    }

    fn closed(&self) {
        self.end(&End::Closed);
    }

    /// While it is held, nobody waits for what it will not say.
    fn guest_paused(&self, hold: Option<&PausedForGood>) {
        let answers = self.lock().guest_is_held(hold);
        self.tell(answers);
    }

    fn drained(self: Arc<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            if let Wire::Drained(stream) = &self.shared.wire {
                stream.drained().await;
            }
        })
    }

    fn close(&self) -> Option<String> {
        self.log().take()?.write_error()
    }

    fn machine_ended(&self, report: &Arc<ExitReport>) -> PendingNotices {
        let answers = self.lock().end(&End::MachineEnded(Arc::clone(report)));
        self.notices(answers)
    }
}

/// What messages call a console of this machine, and of this name.
pub(crate) fn what(machine: &str, name: Option<&str>) -> String {
    match name {
        Some(name) => format!("the console '{name}' of machine '{machine}'"),
        None => format!("the console of machine '{machine}'"),
    }
}

/// What may wait for a guest that does not read its console.
const OUTBOX_LIMIT_BYTES: usize = 1 << 20;

/// What is shown before other machines have their turn: of the worst that a guest
/// can print, a terminal does some 600 KB/s.
const SCREEN_TURN_BYTES: usize = 4 << 10;

pub(super) const REPORTED_BYTES: usize = 4 << 10;
