//! A scripted QMP server, and scenarios that run with both `.wait()` and
//! `.await`.
#![allow(dead_code, unused_imports, unused_macros, unreachable_pub)]

pub mod agent;

use std::fmt::Display;
use std::future::{Future, IntoFuture};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, Once, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};
use socket2::Socket;

/// The greeting of QEMU 10.0.2.
pub const GREETING: &str = r#"{"QMP": {"version": {"qemu": {"micro": 2, "minor": 0, "major": 10}, "package": ""}, "capabilities": ["oob"]}}"#;

/// The same from a server without out-of-band execution.
pub const GREETING_WITHOUT_OOB: &str = r#"{"QMP": {"version": {"qemu": {"micro": 2, "minor": 0, "major": 10}, "package": ""}, "capabilities": []}}"#;

/// QEMU's answer to a line that its JSON parser refuses.
pub const UNREADABLE: &str =
    r#"{"error": {"class": "GenericError", "desc": "JSON parse error, stray '\\'"}}"#;

/// The server's end of a connection. Any step that takes longer than
/// [`PATIENCE`] fails the test.
pub struct Server(BufReader<Socket>);

impl Server {
    pub fn new(socket: impl Into<Socket>) -> Self {
        let socket = socket.into();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(socket))
    }

    /// Greets, and answers the negotiation.
    pub fn ready(&mut self) {
        self.send(GREETING);
        self.negotiate();
    }

    pub fn negotiate(&mut self) {
        let capabilities = self.expect("qmp_capabilities");
        assert_eq!(capabilities.arguments(), &json!({"enable": ["oob"]}));
        self.answer(&capabilities, "{}");
    }

    /// Sends one line, with QEMU's line end.
    pub fn send(&mut self, line: impl Display) {
        self.send_bytes(format!("{line}\r\n").as_bytes());
    }

    pub fn socket(&self) -> &Socket {
        self.0.get_ref()
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).unwrap();
    }

    /// Whether the client read everything and is still connected.
    pub fn try_send_bytes(&mut self, bytes: &[u8]) -> bool {
        self.0.get_mut().write_all(bytes).is_ok()
    }

    pub fn answer(&mut self, command: &Received, value: impl Display) {
        self.send(format_args!(
            r#"{{"return": {value}, "id": {}}}"#,
            command.id()
        ));
    }

    pub fn refuse(&mut self, command: &Received, class: &str, desc: &str) {
        self.send(format_args!(
            r#"{{"id": {}, "error": {{"class": "{class}", "desc": "{desc}"}}}}"#,
            command.id()
        ));
    }

    pub fn event(&mut self, name: &str, data: impl Display) {
        self.send(format_args!(
            r#"{{"timestamp": {{"seconds": 1700000000, "microseconds": 5}}, "event": "{name}", "data": {data}}}"#
        ));
    }

    /// The next command.
    pub fn command(&mut self) -> Received {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the client has closed the connection");
        Received(serde_json::from_str(&line).unwrap())
    }

    /// The next command, which must have this name.
    pub fn expect(&mut self, name: &str) -> Received {
        let command = self.command();
        assert_eq!(command.name(), name);
        command
    }

    /// Answers every command with its arguments until the client leaves. Returns the
    /// names.
    pub fn echo(&mut self) -> Vec<String> {
        let mut names = Vec::new();
        while !self.0.fill_buf().unwrap().is_empty() {
            let command = self.command();
            names.push(command.name().to_owned());
            self.answer(&command, command.arguments());
        }
        names
    }

    /// Answers every command with this value until the client leaves.
    pub fn answer_all(&mut self, value: &str) {
        while self.0.fill_buf().is_ok_and(|bytes| !bytes.is_empty()) {
            let id = self.command().id();
            let line = format!(r#"{{"return": {value}, "id": {id}}}"#);
            if !self.try_send_bytes(format!("{line}\r\n").as_bytes()) {
                return;
            }
        }
    }

    /// Waits until the client closes. Nothing else may come.
    pub fn ends(&mut self) {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).unwrap();
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }
}

/// A command as the server received it.
#[derive(Debug, Clone)]
pub struct Received(pub Value);

impl Received {
    /// The command's name, in band or out of band.
    pub fn name(&self) -> &str {
        let name = self.0.get("execute").or(self.0.get("exec-oob"));
        name.and_then(Value::as_str).expect("a command")
    }

    pub fn id(&self) -> u64 {
        self.0["id"].as_u64().expect("an id")
    }

    pub fn arguments(&self) -> &Value {
        &self.0["arguments"]
    }

    pub fn is_out_of_band(&self) -> bool {
        self.0.get("exec-oob").is_some()
    }
}

/// A server that plays its script in its own thread.
#[must_use = "what fails in it fails the test only where it is ended"]
pub struct Play<T = ()>(JoinHandle<T>);

impl<T: Send + 'static> Play<T> {
    /// Waits for a connection in a new thread, and plays `script` on it.
    pub fn accepted(
        accept: impl FnOnce() -> Socket + Send + 'static,
        script: impl FnOnce(&mut Server) -> T + Send + 'static,
    ) -> Self {
        Self(thread::spawn(move || script(&mut Server::new(accept()))))
    }

    /// Waits for the end of the script, and fails if it failed.
    pub fn end(self) -> T {
        self.0
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// Plays `script` on a new connection. Returns the client's end. The server
/// closes its end when the script ends.
pub fn serve<T: Send + 'static>(
    script: impl FnOnce(&mut Server) -> T + Send + 'static,
) -> (UnixStream, Play<T>) {
    let (client, server) = UnixStream::pair().unwrap();
    (client, serve_on(server, script))
}

/// Plays `script` on an existing connection.
pub fn serve_on<T: Send + 'static>(
    socket: impl Into<Socket>,
    script: impl FnOnce(&mut Server) -> T + Send + 'static,
) -> Play<T> {
    let mut server = Server::new(socket);
    Play(thread::spawn(move || script(&mut server)))
}

/// Polls a future once, so that it does everything that comes before its first
/// wait. Returns its result, if it has ended.
pub fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// A running operation.
pub type Begun<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Starts an operation up to its first wait. A command is then sent.
pub fn begin<'a, T: Send + 'a>(
    operation: impl IntoFuture<Output = T, IntoFuture = Begun<'a, T>>,
) -> Begun<'a, T> {
    let mut future = operation.into_future();
    match poll_once(&mut future) {
        Poll::Ready(output) => Box::pin(std::future::ready(output)),
        Poll::Pending => future,
    }
}

/// Waits for a warning of the library with this text. Another thread writes it to
/// the logger.
pub fn warned(words: &str) -> bool {
    let is_missing = |noted: &mut Vec<String>| !noted.iter().any(|it| it.contains(words));
    let waited = NOTED.wait_timeout_while(warnings(), PATIENCE, is_missing);
    !waited.unwrap().1.timed_out()
}

/// Starts to record the warnings of the library.
pub fn note_warnings() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Notes).unwrap();
        log::set_max_level(log::LevelFilter::Warn);
    });
}

/// A folder for one test. A drop removes it.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("qmp-{}-{number}", std::process::id());
        let path = testbed::folder_for_sockets().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// The path of a socket.
    pub fn socket(&self) -> PathBuf {
        self.file("s")
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The longest wait of the scripted server for its client. Then the test fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

struct Notes;

static WARNINGS: Mutex<Vec<String>> = Mutex::new(Vec::new());
static NOTED: Condvar = Condvar::new();

fn warnings() -> std::sync::MutexGuard<'static, Vec<String>> {
    WARNINGS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl log::Log for Notes {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target().starts_with("qemu_qmp")
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            warnings().push(record.args().to_string());
            NOTED.notify_all();
        }
    }

    fn flush(&self) {}
}

macro_rules! by_wait {
    ($operation:expr) => {
        ::qemu_qmp::Wait::wait($operation)
    };
}
pub(crate) use by_wait;

macro_rules! by_await {
    ($operation:expr) => {
        ::std::future::IntoFuture::into_future($operation).await
    };
}
pub(crate) use by_await;

/// Makes two tests of one scenario. `run!(operation)` in its body is
/// `operation.wait()` in the test `NAME::wait`, and `operation.await` under smol
/// in `NAME::r#await`.
macro_rules! scenario {
    ($(#[$attribute:meta])* fn $name:ident() $body:block) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            $(#[$attribute])*
            #[test]
            fn wait() {
                #[allow(unused_imports)]
                use crate::support::by_wait as run;
                $body
            }

            $(#[$attribute])*
            #[test]
            fn r#await() {
                #[allow(unused_imports)]
                use crate::support::by_await as run;
                ::smol::block_on(async { $body });
            }
        }
    };
}
pub(crate) use scenario;
