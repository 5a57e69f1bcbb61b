//! Operations in an event loop of asyncio, whichever implementation it has.
//!
//! ```text
//! engine's thread: wake -> list of woken operations -> one byte to a socket
//! loop's thread:   socket readable -> `dispatch` polls the woken operations
//! ```
//!
//! The loop's thread polls the operations, so nothing here needs another thread or
//! runtime. The engine's thread never waits for the interpreter's lock.

use std::collections::HashMap;
use std::fmt;
use std::io::{Read, Write};
use std::mem;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use pyo3::prelude::*;

use crate::at_exit::MakingResult;
use crate::operation::{Operation, Work};
use crate::owned::Owned;

/// The operations of one event loop.
#[pyclass(frozen, module = "qemu_machine._native")]
pub(crate) struct Bridge(Owned<Parts>);

struct Parts {
    running: Mutex<Running>,
    woken: Arc<Woken>,
    readable: UnixStream,
}

#[derive(Default)]
struct Running {
    last: u64,
    /// `None` while it is polled.
    operations: HashMap<u64, Option<Entry>>,
}

struct Entry {
    work: Work,
    waker: Waker,
    /// The future of asyncio that gets the result.
    future: Py<PyAny>,
}

/// The operations to poll.
struct Woken {
    numbers: Mutex<Vec<u64>>,
    bell: UnixStream,
}

#[pymethods]
impl Bridge {
    #[new]
    fn new() -> PyResult<Self> {
        let (readable, bell) = UnixStream::pair()?;
        readable.set_nonblocking(true)?;
        bell.set_nonblocking(true)?;
        Ok(Self(Owned::new(Parts {
            running: Mutex::default(),
            woken: Arc::new(Woken {
                numbers: Mutex::default(),
                bell,
            }),
            readable,
        })))
    }

    /// The descriptor that is readable when `dispatch` must be called.
    fn fileno(&self, py: Python<'_>) -> PyResult<i32> {
        Ok(self.0.get(py)?.readable.as_raw_fd())
    }

    /// Starts an operation, whose result `future` gets. Returns its number.
    fn start(&self, py: Python<'_>, operation: &Operation, future: Py<PyAny>) -> PyResult<u64> {
        let parts = self.0.get(py)?;
        let work = operation.take(py)?;
        let number = {
            let mut running = parts.running();
            running.last += 1;
            running.last
        };
        let waker = Waker::from(Arc::new(Ring {
            number,
            woken: Arc::clone(&parts.woken),
        }));
        let entry = Entry {
            work,
            waker,
            future,
        };
        parts.running().operations.insert(number, None);
        parts.poll(py, number, entry)?;
        Ok(number)
    }

    /// Gives up an operation.
    fn forget(&self, py: Python<'_>, number: u64) -> PyResult<()> {
        let parts = self.0.get(py)?;
        let given_up = parts.running().operations.remove(&number);
        // Not while the lock is held: a future's drop may wake others.
        drop(given_up);
        Ok(())
    }

    /// Polls the operations that were woken.
    fn dispatch(&self, py: Python<'_>) -> PyResult<()> {
        let parts = self.0.get(py)?;
        for number in parts.take_woken() {
            let entry = parts
                .running()
                .operations
                .get_mut(&number)
                .and_then(Option::take);
            if let Some(entry) = entry {
                parts.poll(py, number, entry)?;
            }
        }
        Ok(())
    }

    /// How many operations have not ended.
    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.0.get(py)?.running().operations.len())
    }
}

impl Parts {
    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Polls an operation. Its place in the table is empty, and is filled again or
    /// removed.
    fn poll(&self, py: Python<'_>, number: u64, mut entry: Entry) -> PyResult<()> {
        let polled = entry
            .work
            .as_mut()
            .poll(&mut Context::from_waker(&entry.waker));
        match polled {
            Poll::Pending => {
                let mut running = self.running();
                let given_up = match running.operations.get_mut(&number) {
                    Some(place) => place.replace(entry),
                    // It was given up in the meantime.
                    None => Some(entry),
                };
                drop(running);
                drop(given_up);
                Ok(())
            }
            Poll::Ready(reply) => {
                self.running().operations.remove(&number);
                let _making = py.detach(MakingResult::begin);
                let future = entry.future.bind(py);
                if future.call_method0("done")?.is_truthy()? {
                    // It may have a machine, whose drop waits.
                    py.detach(|| drop(reply));
                    return Ok(());
                }
                match reply(py) {
                    Ok(value) => future.call_method1("set_result", (value,))?,
                    Err(error) => future.call_method1("set_exception", (error,))?,
                };
                Ok(())
            }
        }
    }

    fn take_woken(&self) -> Vec<u64> {
        // The bell is silenced before the list is taken: a wake after that rings
        // again.
        let mut bytes = [0; 64];
        while matches!((&self.readable).read(&mut bytes), Ok(64)) {}
        mem::take(&mut *self.woken.numbers())
    }
}

impl Woken {
    fn numbers(&self) -> MutexGuard<'_, Vec<u64>> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes one operation.
struct Ring {
    number: u64,
    woken: Arc<Woken>,
}

impl Wake for Ring {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut numbers = self.woken.numbers();
        numbers.push(self.number);
        let is_first = numbers.len() == 1;
        drop(numbers);
        if is_first {
            // It fails only if the socket is full, and so readable already, or if
            // the bridge is gone.
            let _ = (&self.woken.bell).write(&[0]);
        }
    }
}

impl fmt::Debug for Bridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bridge").finish_non_exhaustive()
    }
}
