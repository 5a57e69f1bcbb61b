//! Hostile peers. Whatever a peer sends, it costs at most the documented memory. It
//! ends with an error that reports what was expected, and leaves nothing behind.
//!
//! Optimised (`cargo test --release`), the floods are ten times as long.
#![allow(missing_docs)]

mod agent;
mod floods;
mod lines;
mod messages;
mod slow;
mod sockets;
#[path = "../support/mod.rs"]
mod support;

use std::fmt::Display;
use std::process::ExitCode;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use qemu_qmp::{Client, Wait};
use support::{Server, serve};
use testbed::CountingAllocator;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

fn main() -> ExitCode {
    log::set_logger(&Logger).unwrap();
    log::set_max_level(log::LevelFilter::Warn);
    warm_up();
    let groups = [
        lines::trials(),
        messages::trials(),
        floods::trials(),
        slow::trials(),
        sockets::trials(),
        agent::trials(),
    ];
    testbed::run_alone(groups.concat())
}

/// Starts what lives as long as the process: the engine, and what speaks with
/// the logger.
fn warm_up() {
    let (socket, server) = serve(|server| {
        server.ready();
        server.send(r#"{"return": {}, "id": "nobody's"}"#);
        server.echo();
    });
    let qmp = Client::over(socket).wait().unwrap();
    qmp.execute_json("x", ()).wait().unwrap();
    drop(qmp);
    server.end();
    // A thread has its name, and more, once it runs.
    drop(HAS_SPOKEN.wait_while(has_spoken(), |spoken| !*spoken));
}

/// Does `work` within so much memory besides [`SMALL`].
fn costs(limit_bytes: usize, work: impl FnOnce()) {
    testbed::costs(&ALLOCATOR, limit_bytes + SMALL, work);
}

/// Checks an error's words.
fn told(error: &impl Display, words: &str) {
    let text = error.to_string();
    assert!(text.contains(words), "{text}");
    let is_plain = |it: char| it == '\n' || !it.is_control();
    assert!(text.chars().all(is_plain), "{text:?}");
    assert!(text.len() < 2000, "{} bytes", text.len());
}

/// Sends a piece `times` times, or until the client closes the connection.
fn flood(server: &mut Server, times: usize, piece: &[u8]) {
    for _ in 0..times {
        if !server.try_send_bytes(piece) {
            return;
        }
    }
}

/// A piece of one byte alone.
fn block(byte: u8) -> Vec<u8> {
    vec![byte; BLOCK]
}

const BLOCK: usize = 64 << 10;

/// So often this, and so much more often in a test that is optimised.
const fn often(times: usize) -> usize {
    if cfg!(debug_assertions) {
        times
    } else {
        10 * times
    }
}

/// A logger of the user's that takes nothing while this is held.
fn hold_logger() -> MutexGuard<'static, ()> {
    GATE.lock().unwrap_or_else(PoisonError::into_inner)
}

static GATE: Mutex<()> = Mutex::new(());

/// Whether the logger has received a record.
fn has_spoken() -> MutexGuard<'static, bool> {
    SPOKEN.lock().unwrap_or_else(PoisonError::into_inner)
}

static SPOKEN: Mutex<bool> = Mutex::new(false);

static HAS_SPOKEN: Condvar = Condvar::new();

struct Logger;

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, _: &log::Record<'_>) {
        drop(hold_logger());
        *has_spoken() = true;
        HAS_SPOKEN.notify_all();
    }

    fn flush(&self) {}
}

const MIB: usize = 1 << 20;

/// What a connection, the peer's thread and a piece that is read take by
/// themselves.
const SMALL: usize = MIB;

/// The memory of a line that is assembled from pieces. A reallocation needs the old
/// buffer and the new one, which has up to twice the size.
const fn assembled(line_bytes: usize) -> usize {
    3 * line_bytes
}
