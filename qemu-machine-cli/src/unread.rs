//! Output that nobody reads.
//!
//! A reader may take any time while the machine runs: a person reads a page of
//! `less`. When the machine has ended, or somebody has asked this program to end,
//! a reader that takes nothing for some seconds is given up. So no pipe that is
//! full keeps this program from its end.

use std::io::{self, PipeReader, PipeWriter, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd;

/// From now on, a reader that takes nothing is given up.
pub(crate) fn hurry() {
    if let Some(hurry) = hurries() {
        hurry.begin();
    }
}

/// Writes all of these bytes.
pub(crate) fn write_all(to: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<()> {
    write_all_until(to, bytes, hurries(), PATIENCE)
}

/// Whether there is a hurry, and a wait for it.
struct Hurry {
    /// It has a byte as soon as the hurry has begun.
    signal: PipeReader,
    starter: PipeWriter,
}

impl Hurry {
    fn new() -> io::Result<Self> {
        let (signal, starter) = io::pipe()?;
        Ok(Self { signal, starter })
    }

    fn begin(&self) {
        // It is called a few times only, so this pipe never fills.
        let _ = (&self.starter).write(b".");
    }
}

fn write_all_until(
    to: BorrowedFd<'_>,
    mut bytes: &[u8],
    hurry: Option<&Hurry>,
    patience: Duration,
) -> io::Result<()> {
    while !bytes.is_empty() {
        if !takes_more(to, hurry, patience)? {
            let reason = format!("nobody has read it for {patience:?}, so the rest is lost");
            return Err(io::Error::new(io::ErrorKind::TimedOut, reason));
        }
        match unistd::write(to, &bytes[..bytes.len().min(PIECE_BYTES)]) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Waits until a write does not wait, or fails. `false` if the reader is given up.
fn takes_more(to: BorrowedFd<'_>, hurry: Option<&Hurry>, patience: Duration) -> io::Result<bool> {
    let mut limit = PollTimeout::NONE;
    loop {
        let mut fds = vec![PollFd::new(to, PollFlags::POLLOUT)];
        // With a limit, it is known.
        if let (Some(hurry), true) = (hurry, limit.is_none()) {
            fds.push(PollFd::new(hurry.signal.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut fds, limit) {
            Ok(0) => return Ok(false),
            Ok(_) if fds[0].any() != Some(false) => return Ok(true),
            Ok(_) => limit = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn hurries() -> Option<&'static Hurry> {
    static HURRY: OnceLock<Option<Hurry>> = OnceLock::new();
    HURRY.get_or_init(|| Hurry::new().ok()).as_ref()
}

/// How long a reader may take nothing.
const PATIENCE: Duration = Duration::from_secs(5);

/// A pipe that takes more takes this much without a wait.
const PIECE_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::thread;

    use super::*;

    const FLOOD: usize = 1 << 20;

    #[test]
    fn a_reader_that_takes_nothing_is_given_up_in_a_hurry() {
        let (_reader, writer) = io::pipe().unwrap();
        let hurry = Hurry::new().unwrap();
        hurry.begin();
        let patience = Duration::from_millis(20);
        let written = write_all_until(writer.as_fd(), &vec![0; FLOOD], Some(&hurry), patience);
        let error = written.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(error.to_string().ends_with("the rest is lost"), "{error}");
    }

    #[test]
    fn a_hurry_that_begins_ends_a_wait() {
        let (_reader, writer) = io::pipe().unwrap();
        let hurry = Hurry::new().unwrap();
        let (to, flood) = (writer.as_fd(), vec![0; FLOOD]);
        let patience = Duration::from_millis(20);
        let write = || write_all_until(to, &flood, Some(&hurry), patience);
        thread::scope(|scope| {
            let write = scope.spawn(write);
            hurry.begin();
            assert!(write.join().unwrap().is_err());
        });
    }

    #[test]
    fn a_reader_that_reads_gets_all_also_in_a_hurry() {
        let (mut reader, writer) = io::pipe().unwrap();
        let hurry = Hurry::new().unwrap();
        hurry.begin();
        let read = thread::spawn(move || {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).map(|_| bytes)
        });
        let flood: Vec<u8> = (0..FLOOD)
            .map(|at| u8::try_from(at % 251).unwrap())
            .collect();
        let patience = Duration::from_mins(1);
        write_all_until(writer.as_fd(), &flood, Some(&hurry), patience).unwrap();
        drop(writer);
        assert!(read.join().unwrap().unwrap() == flood);
    }
}
