//! A client of a published machine that knows only the protocol.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use qemu_machine::registry::PublishedMachine;
use serde_json::Value;

/// A name for a machine that no other test has.
pub fn unique_name() -> String {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    format!("t{}-{number}", std::process::id())
}

pub struct RawClient(pub BufReader<UnixStream>);

impl RawClient {
    pub fn connect(socket: &Path) -> Self {
        Self(BufReader::new(UnixStream::connect(socket).unwrap()))
    }

    /// Connects to the machine's monitor, and reads the greeting.
    pub fn greeted(machine: &PublishedMachine) -> Self {
        let mut raw = Self::connect(&machine.folder().join("qmp"));
        let greeting = raw.line().unwrap();
        assert!(greeting["QMP"]["capabilities"].is_array(), "{greeting}");
        raw
    }

    /// The same, and negotiates.
    pub fn ready(machine: &PublishedMachine) -> Self {
        let mut raw = Self::greeted(machine);
        raw.ask("{\"execute\":\"qmp_capabilities\"}");
        raw
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// `None` at the end of the stream.
    pub fn line(&mut self) -> Option<Value> {
        let mut line = Vec::new();
        self.0.read_until(b'\n', &mut line).unwrap();
        let line = line.strip_prefix(&[0xff]).unwrap_or(&line);
        (!line.is_empty()).then(|| serde_json::from_slice(line).unwrap())
    }

    /// Sends it, and returns the next line that is no event.
    pub fn ask(&mut self, text: &str) -> Value {
        self.send(text);
        loop {
            let line = self.line().unwrap();
            if line.get("event").is_none() {
                return line;
            }
        }
    }
}
