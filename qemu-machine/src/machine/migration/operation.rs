//! An operation on the engine, and the caller that waits for it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use qemu_qmp_engine::{Either, Elapsed, Watched, race};

use super::MoveError;
use crate::Machine;

/// Runs an operation on the engine to its end, and waits for it. If the caller
/// drops this, or the deadline passes, the operation is [given up](GivenUp);
/// then it returns `None`.
pub(crate) async fn run<T, E, F>(
    machine: &Machine,
    action: &'static str,
    timeout: Option<Duration>,
    operation: impl FnOnce(GivenUp) -> F,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<MoveError> + Send + 'static,
    F: Future<Output = Result<Option<T>, E>> + Send + 'static,
{
    let given_up = GivenUp::default();
    let caller = Caller(given_up.clone());
    let deadlines = machine.deadlines();
    let mut task = machine.inner.engine.spawn(operation(given_up));
    let late = match deadlines.timeout(timeout, &mut task).await {
        Ok(outcome) => return outcome.expect(ENDS).map(|it| it.expect(ENDS)),
        Err(Elapsed(limit)) => MoveError::Timeout {
            machine: machine.name().to_owned(),
            action,
            limit,
        },
    };
    drop(caller);
    match deadlines.timeout(Some(GIVING_UP), task).await {
        // It ended at the same time.
        Ok(Some(Ok(Some(done)))) => Ok(done),
        Ok(Some(Err(error))) => Err(error),
        _ => Err(late.into()),
    }
}

/// Whether no caller waits for an operation any more.
#[derive(Debug, Clone, Default)]
pub(crate) struct GivenUp(Arc<Watched<bool>>);

impl GivenUp {
    /// Waits for `future`; `None` if the operation is given up first.
    pub(crate) async fn or<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let given_up = self.0.until(|&is_so| is_so.then_some(()));
        match race(future, given_up).await {
            Either::Left(output) => Some(output),
            Either::Right(()) => None,
        }
    }
}

/// The caller of an operation. Its drop gives the operation up.
struct Caller(GivenUp);

impl Drop for Caller {
    fn drop(&mut self) {
        self.0.0.set(true);
    }
}

/// How long to wait, after the deadline, until QEMU has cancelled. So the guest
/// has resumed when the error is returned.
const GIVING_UP: Duration = Duration::from_secs(5);

/// Nothing aborts an operation, and one with a waiting caller is not given up.
const ENDS: &str = "an operation with a waiting caller ends";
