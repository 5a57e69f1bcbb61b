//! A subscription to the events of a monitor.

use std::future::poll_fn;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_core::Stream;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use qemu_machine::error::EventError;
use qemu_machine::qmp::{self, Event};

use crate::json;
use crate::limit::{Limit, limited};
use crate::operation::{Operation, Reply};
use crate::owned::Owned;
use crate::raise::Raise;

/// Receives events from the moment it was made. One thread or task at a time may
/// wait for it: with several, it would be unclear which of them gets an event.
#[pyclass(frozen, module = "qemu_machine._native")]
#[derive(Debug)]
pub(crate) struct Events(Owned<Arc<Mutex<Place>>>);

/// Where the subscription is.
#[derive(Debug)]
enum Place {
    Here(Box<qmp::Events>),
    /// With the operation that waits.
    Waited,
    Closed,
}

impl Events {
    pub(crate) fn new(events: qmp::Events) -> Self {
        let place = Place::Here(Box::new(events));
        Self(Owned::new(Arc::new(Mutex::new(place))))
    }
}

#[pymethods]
impl Events {
    /// The next event, or the next one of these names. Others stay for later.
    #[pyo3(signature = (names, timeout))]
    fn wait(&self, py: Python<'_>, names: Vec<String>, timeout: Limit) -> PyResult<Operation> {
        let place = Arc::clone(self.0.get(py)?);
        Ok(Operation::of(Box::pin(async move {
            let mut turn = match Turn::take(place) {
                Ok(turn) => turn,
                Err(refused) => return refused,
            };
            let events = turn.events();
            let result = if names.is_empty() {
                limited!(events.next(), timeout).await
            } else {
                limited!(events.next_matching(names), timeout).await
            };
            reply(result)
        })))
    }

    /// The next event, without a limit. `None` after the end.
    fn next(&self, py: Python<'_>) -> PyResult<Operation> {
        let place = Arc::clone(self.0.get(py)?);
        Ok(Operation::of(Box::pin(async move {
            let mut turn = match Turn::take(place) {
                Ok(turn) => turn,
                Err(refused) => return refused,
            };
            let events = turn.events();
            match poll_fn(|context| Pin::new(&mut *events).poll_next(context)).await {
                None | Some(Err(EventError::Ended { .. })) => ended(),
                Some(result) => reply(result),
            }
        })))
    }

    /// All events that are there now.
    fn take_all(&self, py: Python<'_>) -> PyResult<Vec<Py<PyAny>>> {
        let taken = match &mut *lock(self.0.get(py)?) {
            Place::Here(events) => events.take_all(),
            // The waiting operation gets the next one.
            Place::Waited | Place::Closed => Vec::new(),
        };
        taken.iter().map(|event| to_python(py, event)).collect()
    }

    /// Stops listening. A wait in another thread goes on until its end.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let closed = mem::replace(&mut *lock(self.0.get(py)?), Place::Closed);
        drop(closed);
        Ok(())
    }
}

/// The subscription, for the operation that waits. It goes back on drop, so a wait
/// that is interrupted or cancelled loses no event.
struct Turn {
    place: Arc<Mutex<Place>>,
    /// `None` only while it is dropped.
    events: Option<Box<qmp::Events>>,
}

impl Turn {
    fn take(place: Arc<Mutex<Place>>) -> Result<Self, Reply> {
        let mut guard = lock(&place);
        let events = match mem::replace(&mut *guard, Place::Waited) {
            Place::Here(events) => events,
            Place::Waited => {
                return Err(refused(
                    "another thread or task waits for this subscription; make one for each of them",
                ));
            }
            Place::Closed => {
                *guard = Place::Closed;
                return Err(closed());
            }
        };
        drop(guard);
        Ok(Self {
            place,
            events: Some(events),
        })
    }

    fn events(&mut self) -> &mut qmp::Events {
        self.events.as_mut().expect("it is here until the drop")
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut place = lock(&self.place);
        // It may have been closed in the meantime.
        if let (Place::Waited, Some(events)) = (&*place, self.events.take()) {
            *place = Place::Here(events);
        }
    }
}

fn lock(place: &Mutex<Place>) -> MutexGuard<'_, Place> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

fn reply(result: Result<Event, EventError>) -> Reply {
    match result {
        Ok(event) => Box::new(move |py: Python<'_>| to_python(py, &event)),
        Err(error) => Box::new(move |py: Python<'_>| Err(error.raise(py))),
    }
}

fn ended() -> Reply {
    Box::new(|py: Python<'_>| Ok(py.None()))
}

fn closed() -> Reply {
    Box::new(|_: Python<'_>| Err(PyValueError::new_err("this subscription is closed")))
}

fn refused(why: &'static str) -> Reply {
    Box::new(move |_: Python<'_>| Err(PyRuntimeError::new_err(why)))
}

/// A `qemu_machine.Event`.
fn to_python(py: Python<'_>, event: &Event) -> PyResult<Py<PyAny>> {
    let class = EVENT.import(py, "qemu_machine._monitor", "Event")?;
    let data = match event.raw_data() {
        Some(data) => json::object(py, data.get())?,
        None => pyo3::types::PyDict::new(py).into_any().unbind(),
    };
    let since = |time: std::time::SystemTime| time.duration_since(std::time::UNIX_EPOCH).ok();
    let timestamp = event.timestamp().and_then(since);
    let timestamp = timestamp.map(|it| it.as_secs_f64());
    Ok(class.call1((event.name(), data, timestamp))?.unbind())
}

static EVENT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
