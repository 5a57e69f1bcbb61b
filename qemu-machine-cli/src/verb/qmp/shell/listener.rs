//! Shows events as they come, and notices the end of the connection at once.

use std::io;
use std::thread;

use qemu_machine::Wait;
use qemu_machine::error::EventError;
use qemu_machine::qmp::Events;

/// Listens in a thread of its own. `show` gets the text of each event, a line;
/// `ended` runs after the last.
pub(super) fn listen(
    mut events: Events,
    mut show: impl FnMut(String) + Send + 'static,
    ended: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    let thread = thread::Builder::new().name("events".to_owned());
    let listen = move || {
        loop {
            match events.next().timeout(None).wait() {
                Ok(event) => show(format!("event {event}\n")),
                Err(error @ EventError::Lagged { .. }) => show(format!("{error}\n")),
                Err(_) => break,
            }
        }
        ended();
    };
    thread.spawn(listen).map(drop)
}
