//! The state that the handles of a qtest channel share with its reader.

use crate::channel::MachineContext;
use std::future::Future;
use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;

use qemu_qmp::Deadlines;
use qemu_qmp_engine::queue::{Queue, Queued};
use qemu_qmp_engine::{self as engine, NotSent, Stream, oneshot};
use socket2::Socket;

use super::wire::{Connection, Irq, Output, Reply};
use super::{Irqs, Qtest, QtestEnd, QtestFailure};
use crate::channel::Channel;
use crate::life::ExitReport;
use qemu_qmp::supervise::PendingNotices;

pub(super) struct Shared {
    pub(super) deadlines: Deadlines,
    pub(super) context: MachineContext,
    /// `None` for a machine without a qtest channel.
    stream: Option<Stream>,
    state: Mutex<State>,
    controls_clock: OnceLock<bool>,
}

struct State {
    connection: Connection<Waiter>,
    /// Why the reader has ended. The waiters are not notified yet.
    read: Option<QtestEnd>,
    ended: Option<QtestEnd>,
    listeners: Vec<Arc<IrqQueue>>,
}

type IrqQueue = Queue<Irq, QtestEnd>;

impl Queued for Irq {
    fn size_bytes(&self) -> usize {
        size_of::<Self>()
    }
}

type Waiter = oneshot::Sender<Result<Reply, QtestEnd>>;

/// This process's end of a machine's qtest channel: the handle and the reader.
pub(crate) fn connect(
    socket: Socket,
    deadlines: &Deadlines,
    context: MachineContext,
) -> io::Result<(Qtest, Arc<dyn Channel>)> {
    let shared = Arc::new(Shared {
        deadlines: deadlines.clone(),
        context,
        stream: Some(Stream::new(socket, OUTBOX_LIMIT_BYTES)?),
        state: Mutex::new(State {
            connection: Connection::new(LINE_LIMIT_BYTES),
            read: None,
            ended: None,
            listeners: Vec::new(),
        }),
        controls_clock: OnceLock::new(),
    });
    let qtest = Qtest {
        shared: Arc::clone(&shared),
    };
    Ok((qtest, shared))
}

/// The handle of a machine without a qtest channel.
pub(crate) fn absent(deadlines: &Deadlines, context: MachineContext) -> Qtest {
    let shared = Shared {
        deadlines: deadlines.clone(),
        context,
        stream: None,
        state: Mutex::new(State {
            connection: Connection::new(0),
            read: None,
            ended: Some(QtestEnd::NotAdded),
            listeners: Vec::new(),
        }),
        controls_clock: OnceLock::new(),
    };
    Qtest {
        shared: Arc::new(shared),
    }
}

impl Shared {
    /// Sends a line and waits for its reply.
    pub(super) async fn exchange(&self, line: String) -> Result<Reply, QtestFailure> {
        let (waiter, reply) = oneshot::channel();
        self.submit(line, waiter)?;
        let reply = reply.await.unwrap_or_else(|_| Err(self.cause()));
        reply.map_err(QtestFailure::Ended)
    }

    /// Adds a listener for every later change of an intercepted line.
    pub(super) fn listen(&self) -> Irqs {
        let queue = Arc::new(IrqQueue::with_limit(IRQ_LIMIT));
        let mut state = self.lock();
        if let Some(cause) = &state.ended {
            queue.end(cause.clone());
        } else {
            state.listeners.retain(|listener| !listener.is_abandoned());
            state.listeners.push(Arc::clone(&queue));
        }
        drop(state);
        let context = Arc::new(self.context.clone());
        Irqs::new("interrupt", queue, self.deadlines.clone(), context)
    }

    pub(super) fn is_raised(&self, line: u16) -> bool {
        self.lock().connection.is_raised(line)
    }

    pub(super) fn controls_clock(&self) -> bool {
        self.controls_clock.get().is_some_and(|&it| it)
    }

    pub(super) fn set_clock(&self, is_ours: bool) {
        let _ = self.controls_clock.set(is_ours);
    }

    /// Why the channel has ended.
    pub(super) fn cause(&self) -> QtestEnd {
        self.lock().ended.clone().unwrap_or(QtestEnd::Closed)
    }

    /// Locked from the queue to the socket, so that the waiters stand in the
    /// order of the replies.
    fn submit(&self, mut line: String, waiter: Waiter) -> Result<(), QtestFailure> {
        line.push('\n');
        let mut state = self.lock();
        if let Some(cause) = &state.ended {
            return Err(QtestFailure::Ended(cause.clone()));
        }
        if let Some(stream) = &self.stream
            && let Err(NotSent::Full) = stream.send(line.as_bytes())
        {
            return Err(QtestFailure::Congested);
        }
        // If the channel has ended, the reader notifies the waiter.
        state.connection.submit(waiter);
        Ok(())
    }

    fn receive(&self, bytes: &[u8]) -> Result<(), QtestEnd> {
        let received = self.lock().connection.receive(bytes);
        // Everything before a breach of the protocol counts.
        loop {
            let mut state = self.lock();
            let Some(output) = state.connection.poll_output() else {
                return received.map_err(QtestEnd::from);
            };
            // Unlocked, because a waker may run code of an executor.
            match output {
                Output::Reply { waiter, reply } => {
                    drop(state);
                    // The waiter may have given up.
                    let _ = waiter.send(Ok(reply));
                }
                Output::Irq(irq) => {
                    let listeners = state.listeners.iter();
                    let wakers: Vec<Waker> = listeners.filter_map(|it| it.put(irq)).collect();
                    drop(state);
                    engine::wake_all(wakers);
                }
            }
        }
    }

    /// Ends the channel. Only the first cause counts.
    fn end(&self, cause: &QtestEnd) -> PendingNotices {
        let mut state = self.lock();
        if state.ended.is_some() {
            return PendingNotices::default();
        }
        state.ended = Some(cause.clone());
        let waiters = state.connection.take_waiters();
        let (cause, listeners) = (cause.clone(), mem::take(&mut state.listeners));
        PendingNotices::new(move || {
            for waiter in waiters {
                let _ = waiter.send(Err(cause.clone()));
            }
            for listener in listeners {
                listener.end(cause.clone());
            }
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Channel for Shared {
    fn pump(self: Arc<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let Some(stream) = &self.stream else { return };
            let read = stream.drive(|bytes| self.receive(bytes)).await;
            // QEMU must not block on a reader that has ended.
            stream.shutdown();
            self.lock().read = Some(read.err().unwrap_or(QtestEnd::Closed));
        })
    }

    fn hang_up(&self) {
        if let Some(stream) = &self.stream {
            stream.shutdown();
        }
    }

    fn closed(&self) {
        let cause = self.lock().read.take().unwrap_or(QtestEnd::Closed);
        self.end(&cause).notify();
    }

    fn machine_ended(&self, report: &Arc<ExitReport>) -> PendingNotices {
        self.end(&QtestEnd::MachineEnded(Arc::clone(report)))
    }
}

/// How many changes are queued for a listener.
const IRQ_LIMIT: usize = 4096;

/// The send queue's limit, for a QEMU that does not read.
const OUTBOX_LIMIT_BYTES: usize = 16 << 20;

/// Enough for the reply to a raw read of almost 32 MiB.
const LINE_LIMIT_BYTES: usize = 64 << 20;
