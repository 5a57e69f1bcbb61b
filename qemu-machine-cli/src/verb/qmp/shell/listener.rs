//! Shows events as they come, and notices the end of the connection at once.

use std::io;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use qemu_machine::Wait;
use qemu_machine::error::EventError;
use qemu_machine::qmp::Events;

/// The thread that shows the events.
pub(super) struct Listener(Receiver<()>);

/// Listens in a new thread. `show` gets the text of each event, a line; `ended`
/// runs after the last.
pub(super) fn listen(
    mut events: Events,
    mut show: impl FnMut(String) + Send + 'static,
    ended: impl FnOnce() + Send + 'static,
) -> io::Result<Listener> {
    let (is_done, done) = mpsc::channel();
    let thread = thread::Builder::new().name("events".to_owned());
    let listen = move || {
        loop {
            match events.next().timeout(None).wait() {
                Ok(event) => show(format!("event {event}\n")),
                Err(error @ EventError::Lagged { .. }) => show(format!("{error}\n")),
                Err(_) => break,
            }
        }
        drop(is_done);
        ended();
    };
    thread.spawn(listen)?;
    Ok(Listener(done))
}

impl Listener {
    /// Waits until the last event of a connection that has ended is shown. The
    /// limit is for a terminal that nobody reads.
    pub(super) fn finish(&self) {
        let _ = self.0.recv_timeout(PATIENCE);
    }
}

const PATIENCE: Duration = Duration::from_secs(2);
