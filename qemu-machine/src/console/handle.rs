//! The handle to a console.

use std::future::Future;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use qemu_qmp::Deadlines;
use qemu_qmp::supervise::PendingNotices;
use qemu_qmp_engine::{self as engine, Engine, Stream, Task, Watched};
use socket2::Socket;

use super::buffer::{Answer, Buffer, End};
use super::connect::ClosesWhenDropped;
use super::screen::Terminal;
use super::shell::KnownShell;
use super::{ConsoleLog, Expect, Pattern, Screen, ScreenShows, SendBytes};
use crate::channel::{Channel, MachineContext, MachineFacts, Seen};
use crate::life::{ExitReport, ObservedState, PausedForGood};
use crate::output::Output;
use crate::output::tee::Feed;
use crate::spec::{ConsoleConfig, Noise};

/// Where a console's bytes go, beside the ring in memory.
#[derive(Debug, Default)]
pub(crate) struct ConsoleSinks {
    pub(crate) log: Option<ConsoleLog>,
    pub(crate) tee: Option<Feed>,
}

/// A handle to a machine's console.
///
/// Cheap to clone. A background thread reads, keeps and logs what the console
/// prints. So a console without a reader never blocks the guest. The handle of
/// a machine without a console behaves as a console that has ended.
#[derive(Debug, Clone)]
pub struct Console {
    pub(super) shared: Arc<Shared>,
    /// `None` if a supervisor closes the connection.
    closing: Option<Arc<ClosesWhenDropped>>,
}

#[derive(Debug)]
pub(super) struct Shared {
    /// `None` for the first one.
    pub(super) name: Option<String>,
    pub(super) machine: String,
    /// QEMU's own output, for errors.
    pub(super) output: Output,
    pub(super) deadlines: Deadlines,
    pub(super) observed: ObservedState,
    pub(super) buffer: Mutex<Buffer>,
    /// A counter that grows with each piece of output, and at the end.
    pub(super) more: Arc<Watched<u64>>,
    pub(super) log: Mutex<Option<ConsoleLog>>,
    pub(super) log_path: Option<PathBuf>,
    pub(super) tee: Option<Feed>,
    /// What searches skip by default.
    pub(super) noise: Noise,
    /// The terminal, if the console was configured with a screen.
    pub(super) terminal: Option<Arc<Terminal>>,
    pub(super) wire: Wire,
    pub(super) known_shell: KnownShell,
    pub(super) context: MachineContext,
}

#[derive(Debug)]
pub(super) enum Wire {
    Absent,
    Drained(Box<Stream>),
    /// The caller reads it; `None` once the caller has taken the socket.
    Undrained(Mutex<Option<UnixStream>>),
}

impl Console {
    /// The console as the subject of an error.
    pub(super) fn subject(&self) -> String {
        subject(&self.shared.machine, self.shared.name.as_deref())
    }

    /// The console, for reports.
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
    /// Waits until the console prints a match of `pattern`. The search begins
    /// after the last match that was taken.
    pub fn expect(&self, pattern: impl Into<Pattern>) -> Expect {
        Expect::new(self.clone(), vec![pattern.into()])
    }

    /// Waits until the console prints a match of one of `patterns`, as
    /// [`expect`](Self::expect) does for one. The match that ends first wins; at
    /// the same end, the first pattern wins.
    /// [`Match::pattern`](crate::console::Match::pattern) is the index of the
    /// pattern.
    ///
    /// # Examples
    /// ```no_run
    /// use qemu_machine::{Machine, Wait};
    ///
    /// # fn boot(vm: &Machine) -> Result<(), Box<dyn std::error::Error>> {
    /// let found = vm.console().expect_any(["login: ", "Kernel panic"]).wait()?;
    /// if found.pattern == 1 {
    ///     return Err("the kernel panicked".into());
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

    /// The text that a terminal on this console shows now; `None` unless the
    /// console was configured with a [screen](ConsoleConfig::screen).
    pub fn screen(&self) -> Option<Screen> {
        self.shared.terminal.as_deref().map(Terminal::screen)
    }

    /// Waits until the console's screen shows text that matches `pattern`. The
    /// screen's rows are the lines of the text. Use it for menus and full-screen
    /// programs: they do not print bytes in reading order.
    pub fn screen_shows(&self, pattern: impl Into<Pattern>) -> ScreenShows {
        ScreenShows::pattern(self.clone(), pattern.into())
    }

    /// Waits until `predicate` returns true for the console's screen. The
    /// predicate runs on the thread that awaits or waits.
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

    /// The last bytes that the console printed: all that its ring keeps.
    pub fn tail(&self) -> Vec<u8> {
        self.lock().tail()
    }

    /// The path of the console's [log](ConsoleConfig::log); `None` without a
    /// log. It differs from the configured path if another machine was writing
    /// that file at the launch.
    pub fn log_path(&self) -> Option<&Path> {
        self.shared.log_path.as_deref()
    }

    /// Takes the console's socket, if the console was configured for the caller
    /// to read. Returns `None` otherwise, and after the first call.
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
        console.end(&End::Absent(
            "the machine was launched without a console; add one by `builder.console()`",
        ));
        console
    }

    /// This library's end of a machine's console.
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
        console.end(&End::Absent(
            "the caller reads this console by its own socket",
        ));
        Ok(console)
    }

    /// The facts about the machine that errors show.
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
            known_shell: KnownShell::default(),
            context,
        });
        shared.context.add(&(Arc::clone(&shared) as _));
        Self {
            shared,
            closing: None,
        }
    }

    /// A handle whose last clone closes the connection.
    pub(super) fn closing_when_dropped(
        mut self,
        engine: &'static Engine,
        following: Option<Task<()>>,
    ) -> Self {
        let closes = ClosesWhenDropped::new(self.clone(), engine, following);
        self.closing = Some(Arc::new(closes));
        self
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
            let answers = self.push(bytes, stream);
            if let Some(terminal) = &self.shared.terminal {
                terminal.show(bytes);
            }
            self.notify(answers);
            Ok::<(), io::Error>(())
        });
        if let Err(error) = read.await {
            engine::log(log::Level::Warn, module_path!(), || {
                let Shared { machine, name, .. } = &*self.shared;
                let subject = subject(machine, name.as_deref());
                format!("{subject} cannot be read any more: {error}")
            });
            // Without a reader, the console would block QEMU.
            stream.shutdown();
        }
    }

    /// At most `count` bytes from this position in the stream on, and where they
    /// begin: later, if the ring has dropped the first ones.
    pub(crate) fn since(&self, position: u64, count: usize) -> (Vec<u8>, u64) {
        self.lock().since(position, count)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.lock().has_ended()
    }

    /// Waits until the kernel has accepted everything that was sent.
    pub(crate) async fn flushed(&self) {
        if let Wire::Drained(stream) = &self.shared.wire {
            stream.flushed().await;
        }
    }

    /// Adds what was read. If a reader is far behind, the reading is on hold until
    /// it has caught up.
    fn push(&self, bytes: &[u8], stream: &Stream) -> Vec<Answer> {
        let mut buffer = self.lock();
        let answers = buffer.push(bytes);
        if buffer.must_hold() {
            stream.hold(true);
        }
        answers
    }

    /// Changes what is known of the readers, and continues the reading if none is
    /// far behind.
    pub(super) fn change_readers<T>(&self, change: impl FnOnce(&mut Buffer) -> T) -> T {
        let mut buffer = self.lock();
        let changed = change(&mut buffer);
        let must_hold = buffer.must_hold();
        drop(buffer);
        if let (Wire::Drained(stream), false) = (&self.shared.wire, must_hold) {
            stream.hold(false);
        }
        changed
    }

    /// Waits until the console ends; returns the reason.
    pub(super) async fn ended(&self) -> End {
        loop {
            let more = self.more();
            // In its own statement, so that the lock is not kept while waiting.
            let ended = self.lock().ended();
            if let Some(end) = ended {
                return end;
            }
            more.await;
        }
    }

    /// Waits for output after this call, or for the end.
    pub(crate) fn more(&self) -> impl Future<Output = ()> {
        let seen = self.shared.more.look(|times| *times);
        let new = move |times: &u64| (*times != seen).then_some(());
        self.shared.more.until(new)
    }

    pub(super) fn end(&self, end: &End) {
        let answers = self.lock().end(end);
        self.notify(answers);
    }

    /// Wakes every waiter: for an answer, for more output, or for the screen.
    pub(super) fn notify(&self, answers: Vec<Answer>) {
        self.notices(answers).notify();
    }

    /// The notices that wake the waiters. They keep neither the console nor its
    /// socket alive.
    pub(super) fn notices(&self, answers: Vec<Answer>) -> PendingNotices {
        let (more, terminal) = (Arc::clone(&self.shared.more), self.shared.terminal.clone());
        PendingNotices::new(move || {
            answers.into_iter().for_each(Answer::send);
            more.change(|times| *times += 1);
            if let Some(terminal) = terminal {
                terminal.notify();
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
            self.change_readers(Buffer::no_more_holds);
            stream.shutdown();
        }
    }

    fn closed(&self) {
        self.end(&End::Closed);
    }

    /// While QEMU keeps the guest paused for good, no waiter waits for output.
    fn guest_paused(&self, paused: Option<&PausedForGood>) {
        let answers = self.lock().set_hold(paused);
        self.notify(answers);
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

/// The name of a console as the subject of an error: whose console did
/// something, or did not.
pub(crate) fn subject(machine: &str, name: Option<&str>) -> String {
    match name {
        Some(name) => format!("machine '{machine}': console '{name}'"),
        None => format!("machine '{machine}': console"),
    }
}

/// The name of a console within a sentence.
pub(crate) fn what(machine: &str, name: Option<&str>) -> String {
    match name {
        Some(name) => format!("the console '{name}' of machine '{machine}'"),
        None => format!("the console of machine '{machine}'"),
    }
}

/// The size of the send queue to a guest that does not read its console.
const OUTBOX_LIMIT_BYTES: usize = 1 << 20;

/// How much the terminal processes before other machines have their turn: at
/// worst, a terminal processes some 600 KB/s.
const SCREEN_TURN_BYTES: usize = 4 << 10;

/// How much output errors and reports show.
pub(super) const REPORTED_BYTES: usize = 4 << 10;
