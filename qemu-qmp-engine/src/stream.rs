//! A stream socket. The engine reads it, or a thread that waits for its data. Any
//! thread writes it.
//!
//! A writer passes its bytes to the kernel itself. Bytes that the kernel does not
//! accept now are queued, and the engine sends them when the peer reads.
//!
//! Never mixes the bytes of two writers, and never makes a writer wait.

use std::cell::Cell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::{self, IoSlice, Read};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use socket2::{MsgHdr, Socket};
use tokio::io::Interest;

use crate::reading::Reading;
use crate::timers::until_a_shortage_may_be_over;
use crate::watch::watch;
use crate::{Either, Watched, race};

/// A connected stream socket.
#[derive(Debug)]
pub struct Stream {
    socket: Arc<Socket>,
    reading: Reading,
    outbox: Mutex<Outbox>,
    /// How often bytes were queued.
    queued: Watched<u64>,
    progress: Watched<Progress>,
    /// Whether reading is on hold.
    is_held: Watched<bool>,
    limit_bytes: usize,
    turn_bytes: usize,
}

#[derive(Debug, Default)]
struct Outbox {
    bytes: VecDeque<u8>,
    /// How many bytes [`Stream::send`] has accepted in all.
    accepted_bytes: u64,
}

#[derive(Debug, Clone, Copy)]
enum Progress {
    /// The kernel has accepted this number of bytes.
    Sent(u64),
    /// The connection has ended, and will not send the rest.
    Over,
}

/// Why bytes were not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotSent {
    /// The peer does not read, and the outbox is full.
    Full,
    /// The connection has ended.
    Over,
}

/// Bytes that the kernel has not accepted yet. The number counts all bytes up to
/// their end.
#[derive(Debug, Clone, Copy)]
pub struct Unsent(u64);

/// The connection ended before all bytes were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Over;

impl Stream {
    /// Uses a connected socket. If more than `limit_bytes` are queued,
    /// [`send`](Self::send) refuses more.
    ///
    /// # Errors
    /// The socket cannot be made non-blocking.
    pub fn new(socket: Socket, limit_bytes: usize) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: Arc::new(socket),
            reading: Reading::default(),
            outbox: Mutex::default(),
            queued: Watched::default(),
            progress: Watched::new(Progress::Sent(0)),
            is_held: Watched::default(),
            limit_bytes,
            turn_bytes: TURN_BYTES,
        })
    }

    /// In a flood, reads this number of bytes before other tasks run, instead of
    /// 64 KiB: for data whose processing may take long.
    pub fn with_turn_bytes(mut self, bytes: usize) -> Self {
        self.turn_bytes = bytes.clamp(1, TURN_BYTES);
        self
    }

    /// Sends `bytes`, after all earlier bytes. The engine sends the bytes that the
    /// kernel does not accept now. To wait for those, pass the result to
    /// [`sent`](Self::sent).
    ///
    /// # Errors
    /// More than the limit is queued, or the connection has ended. The reader
    /// returns the cause.
    pub fn send(&self, bytes: &[u8]) -> Result<Option<Unsent>, NotSent> {
        let mut outbox = self.lock();
        if outbox.bytes.len() > self.limit_bytes {
            return Err(NotSent::Full);
        }
        let taken = if outbox.bytes.is_empty() {
            self.offer(bytes)?
        } else {
            0
        };
        outbox.accepted_bytes += bytes.len() as u64;
        if taken == bytes.len() {
            return Ok(None);
        }
        outbox.bytes.extend(&bytes[taken..]);
        let unsent = Unsent(outbox.accepted_bytes);
        drop(outbox);
        self.queued.change(|times| *times += 1);
        Ok(Some(unsent))
    }

    /// Whether it can pass descriptors: only a unix socket can.
    pub fn passes_descriptors(&self) -> bool {
        self.socket
            .local_addr()
            .is_ok_and(|address| address.is_unix())
    }

    /// Sends `bytes`, and passes these descriptors with the first of them. The
    /// kernel copies the descriptors for the peer. Use it for few bytes: queued
    /// bytes cannot carry descriptors.
    ///
    /// # Errors
    /// As for [`send`](Self::send); also if bytes are queued already.
    pub fn send_with(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), NotSent> {
        let mut outbox = self.lock();
        if !outbox.bytes.is_empty() {
            return Err(NotSent::Full);
        }
        let control = control_message(descriptors);
        let pieces = [IoSlice::new(bytes)];
        let message = MsgHdr::new().with_buffers(&pieces).with_control(&control);
        let taken = loop {
            match self.socket.sendmsg(&message, libc::MSG_NOSIGNAL) {
                Ok(taken) => break taken,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(NotSent::Full);
                }
                Err(_) => {
                    self.shutdown();
                    return Err(NotSent::Over);
                }
            }
        };
        outbox.accepted_bytes += bytes.len() as u64;
        if taken < bytes.len() {
            outbox.bytes.extend(&bytes[taken..]);
            drop(outbox);
            self.queued.change(|times| *times += 1);
        }
        Ok(())
    }

    /// Whether bytes are queued that the kernel has not accepted yet.
    pub fn has_queued(&self) -> bool {
        !self.lock().bytes.is_empty()
    }

    /// Waits until all data that was received by now is read and passed on, or until
    /// the reader has ended. Runs on the engine.
    pub async fn drained(&self) {
        // The reader runs between two rounds. For a peer that keeps sending, the
        // number of rounds is limited to what a socket can buffer.
        for _ in 0..TURNS_OF_A_SOCKET {
            if !self.is_driven() {
                return;
            }
            self.reading.recall().await;
            match self.reading.while_none_reads(|| self.has_received()) {
                Some(false) => return,
                Some(true) => tokio::task::yield_now().await,
                // A thread has taken it over again.
                None => {}
            }
        }
    }

    fn is_driven(&self) -> bool {
        self.progress.look(|it| matches!(it, Progress::Sent(_)))
    }

    fn has_received(&self) -> bool {
        let received = self.socket.peek(&mut [MaybeUninit::uninit()]);
        received.is_ok_and(|bytes| bytes > 0)
    }

    /// Waits until the kernel has accepted these bytes.
    ///
    /// # Errors
    /// The connection ended first.
    pub async fn sent(&self, unsent: Unsent) -> Result<(), Over> {
        let done = |progress: &Progress| match *progress {
            Progress::Sent(bytes) => (bytes >= unsent.0).then_some(Ok(())),
            Progress::Over => Some(Err(Over)),
        };
        self.progress.until(done).await
    }

    /// Waits until the kernel has accepted all queued bytes, or the connection has
    /// ended.
    pub async fn flushed(&self) {
        let done = |progress: &Progress| match progress {
            Progress::Sent(_) => (!self.has_queued()).then_some(()),
            Progress::Over => Some(()),
        };
        self.progress.until(done).await;
    }

    /// Reads until the end of the stream, and passes each piece to `each`. It also
    /// sends the queued bytes. Runs on the engine.
    ///
    /// # Errors
    /// The connection broke, or `each` failed.
    pub async fn drive<E: From<io::Error>>(
        &self,
        each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let _over = OverWhenDropped(&self.progress);
        match race(self.read_in_turns(each), self.flush()).await {
            Either::Left(end) => end,
            Either::Right(never) => match never {},
        }
    }

    async fn read_in_turns<E: From<io::Error>>(
        &self,
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let reads = self.reading.begin(&self.socket)?;
        let mut turn = Turn::new(self.turn_bytes);
        loop {
            self.is_held.until(|it| (!it).then_some(())).await;
            let read = || {
                let read = read_once(&*self.socket, self.turn_bytes, &mut each);
                let may_be_more = !matches!(read, Ok(Drained::ForNow));
                (read, may_be_more)
            };
            let drained = reads.turn(read).await??;
            if let Drained::End = drained {
                return Ok(());
            }
            turn.count(&drained).await;
        }
    }

    /// Puts the reading on hold, or continues it. At most one more piece of 64 KiB
    /// is read after this. Meant for data that must not be dropped: the peer waits
    /// when its buffers are full.
    pub fn hold(&self, is_held: bool) {
        if self.is_held.look(|it| *it != is_held) {
            self.is_held.set(is_held);
        }
    }

    /// Makes the calling thread the reader ([`read_now`](Self::read_now)), if the
    /// engine is it. The thread must [give it back](Self::give_back) when the
    /// waker is woken, or earlier.
    pub fn take_over(&self, waker: &Waker) -> bool {
        self.reading.take_over(waker)
    }

    /// Makes the engine the reader again.
    pub fn give_back(&self) {
        let _within = crate::engine::enter();
        self.reading.give_back(&self.socket);
    }

    /// Reads the data that is there, for a thread that is the reader. Returns
    /// whether more can come.
    ///
    /// # Errors
    /// Reading failed, or `each` did.
    pub fn read_now<E: From<io::Error>>(
        &self,
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<bool, E> {
        if !self.reading.is_by_thread() {
            return Ok(false);
        }
        let drained = read_once(&*self.socket, self.turn_bytes, &mut each)?;
        Ok(!matches!(drained, Drained::End))
    }

    /// Ends the connection in both directions. The peer reads the end, and this side
    /// reads it after the data that was received already.
    pub fn shutdown(&self) {
        // It fails only if the connection has ended already.
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    /// Ends the connection to a peer that has ended, after all data of the peer. A
    /// unix socket has received that data; over TCP it may still be on its way.
    pub fn end(&self) {
        let how = if self.passes_descriptors() {
            Shutdown::Both
        } else {
            Shutdown::Write
        };
        // As in `shutdown`.
        let _ = self.socket.shutdown(how);
    }

    /// Offers bytes to the kernel, and returns how many it accepts. If the peer has
    /// stopped reading, this ends the connection in both directions, so that the
    /// reader notifies the waiters.
    fn offer(&self, bytes: &[u8]) -> Result<usize, NotSent> {
        let mut taken = 0;
        while taken < bytes.len() {
            match self
                .socket
                .send_with_flags(&bytes[taken..], libc::MSG_NOSIGNAL)
            {
                Ok(count) => taken += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.shutdown();
                    return Err(NotSent::Over);
                }
            }
        }
        Ok(taken)
    }

    async fn flush(&self) -> Infallible {
        loop {
            let before = self.queued.look(|times| *times);
            // An earlier call may have left bytes without a notice.
            while self.has_queued() && self.empty_outbox().await.is_err() {
                until_a_shortage_may_be_over().await;
            }
            let more = |times: &u64| (*times != before).then_some(());
            self.queued.until(more).await;
        }
    }

    /// Waits on a duplicate of the socket. If the socket itself were watched for
    /// writing, it would wake the engine whenever the peer reads a command.
    async fn empty_outbox(&self) -> io::Result<()> {
        let duplicate = self.socket.try_clone()?;
        let watched = watch(duplicate.as_fd(), Interest::WRITABLE)?;
        loop {
            let mut writable = watched.writable().await?;
            let mut outbox = self.lock();
            let Ok(taken) = self.offer(outbox.bytes.as_slices().0) else {
                // The reader returns the end and its cause.
                outbox.bytes = VecDeque::new();
                return Ok(());
            };
            outbox.bytes.drain(..taken);
            let waiting = outbox.bytes.len();
            if waiting == 0 {
                outbox.bytes = VecDeque::new();
            }
            let sent = outbox.accepted_bytes - waiting as u64;
            drop(outbox);
            // Not locked: waking a sender may run its executor's code.
            self.progress.set(Progress::Sent(sent));
            if waiting == 0 {
                return Ok(());
            }
            if taken == 0 {
                writable.clear_ready();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A control message that passes descriptors (`unix(7)`, `cmsg(3)`): the length
/// with the header, the level, the type, and the descriptors' numbers.
fn control_message(descriptors: &[BorrowedFd<'_>]) -> Vec<u8> {
    let header = size_of::<usize>() + 2 * size_of::<i32>();
    let length = header + size_of_val(descriptors);
    let mut message = Vec::with_capacity(length + size_of::<usize>());
    message.extend(length.to_ne_bytes());
    message.extend(libc::SOL_SOCKET.to_ne_bytes());
    message.extend(libc::SCM_RIGHTS.to_ne_bytes());
    for descriptor in descriptors {
        message.extend(descriptor.as_raw_fd().to_ne_bytes());
    }
    message.resize(length.next_multiple_of(size_of::<usize>()), 0);
    message
}

/// Reads `source`, a non-blocking socket or pipe, until its end, and passes each
/// piece to `each`. Runs on the engine.
///
/// # Errors
/// Reading failed, or `each` did.
pub async fn read<R, E>(source: &R, mut each: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E>
where
    R: AsFd,
    for<'a> &'a R: Read,
    E: From<io::Error>,
{
    let ready = watch(source.as_fd(), Interest::READABLE)?;
    let mut turn = Turn::new(TURN_BYTES);
    loop {
        let mut readable = ready.readable().await?;
        let drained = read_once(source, TURN_BYTES, &mut each)?;
        match drained {
            Drained::End => return Ok(()),
            Drained::ForNow => readable.clear_ready(),
            Drained::Perhaps(_) => {}
        }
        turn.count(&drained).await;
    }
}

/// How much was read since other tasks ran.
struct Turn {
    bytes: usize,
    limit_bytes: usize,
}

impl Turn {
    fn new(limit_bytes: usize) -> Self {
        Self {
            bytes: 0,
            limit_bytes,
        }
    }

    /// Lets other tasks run, if enough was read.
    async fn count(&mut self, drained: &Drained) {
        match *drained {
            Drained::Perhaps(bytes) => self.bytes += bytes,
            Drained::ForNow | Drained::End => self.bytes = 0,
        }
        if self.bytes >= self.limit_bytes {
            self.bytes = 0;
            tokio::task::yield_now().await;
        }
    }
}

/// More turns than it takes to read all data that a socket can buffer.
const TURNS_OF_A_SOCKET: usize = 256;

struct OverWhenDropped<'a>(&'a Watched<Progress>);

impl Drop for OverWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.set(Progress::Over);
    }
}

enum Drained {
    /// This number of bytes was read, and there may be more. A short read does not
    /// mean the end: it also stops at a message that carries descriptors.
    Perhaps(usize),
    ForNow,
    End,
}

/// How many bytes are read in a flood before other tasks run.
const TURN_BYTES: usize = 64 << 10;

fn read_once<R, E>(
    source: &R,
    limit_bytes: usize,
    each: &mut impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<Drained, E>
where
    for<'a> &'a R: Read,
    E: From<io::Error>,
{
    // A reader may itself wait and read on the same thread, so the buffer is taken
    // out. A thread that ends has none.
    let kept = SCRATCH.try_with(Cell::take).unwrap_or_default();
    let mut scratch =
        kept.unwrap_or_else(|| vec![0; TURN_BYTES + CACHE_LINE_BYTES].into_boxed_slice());
    let unaligned = scratch.as_ptr().align_offset(CACHE_LINE_BYTES);
    let buffer = &mut scratch[unaligned..][..limit_bytes];
    let read = { source }.read(buffer);
    let drained = pass_on(read.map(|count| &buffer[..count]), each);
    let _ = SCRATCH.try_with(|it| it.set(Some(scratch)));
    drained
}

fn pass_on<E: From<io::Error>>(
    read: io::Result<&[u8]>,
    each: &mut impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<Drained, E> {
    match read {
        Ok([]) => Ok(Drained::End),
        Ok(bytes) => {
            each(bytes)?;
            Ok(Drained::Perhaps(bytes.len()))
        }
        Err(error) => match error.kind() {
            io::ErrorKind::WouldBlock => Ok(Drained::ForNow),
            io::ErrorKind::Interrupted => Ok(Drained::Perhaps(0)),
            _ => Err(error.into()),
        },
    }
}

/// The alignment of a piece. Some processors need twice the time to copy unaligned
/// data, for example into a log file.
const CACHE_LINE_BYTES: usize = 64;

thread_local! {
    /// The thread's read buffer, which all its readers share.
    static SCRATCH: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}
