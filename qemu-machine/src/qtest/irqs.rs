//! Hearing of interrupts.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use qemu_qmp::Witness;
use qemu_qmp::engine::Elapsed;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use super::{Irq, IrqError, Shared};

/// A listener: hears every change of an intercepted interrupt line from when
/// it was made, in order; made by [`Qtest::irqs`](super::Qtest::irqs).
///
/// One that is not read holds the last 4,096 changes, and is told how many it
/// missed. Drop it to stop listening.
pub struct Irqs {
    shared: Arc<Shared>,
    changes: Receiver<Irq>,
    /// How many were dropped that nobody was told of yet.
    missed: u64,
}

impl Irqs {
    pub(super) fn new(shared: Arc<Shared>, changes: Receiver<Irq>) -> Self {
        Self {
            shared,
            changes,
            missed: 0,
        }
    }

    /// The next change, waiting for it if none is there.
    ///
    /// # Errors
    /// [`IrqError::Timeout`] after 30 s, or the [`timeout`](NextIrq::timeout)
    /// set; [`IrqError::Lagged`], [`IrqError::Ended`].
    ///
    /// # Cancel safety
    /// No change is lost if the future is dropped.
    #[expect(
        clippy::should_implement_trait,
        reason = "what is next is a future, as in a stream"
    )]
    pub fn next(&mut self) -> NextIrq<'_> {
        let timeout = self.shared.deadlines.limit();
        NextIrq {
            irqs: self,
            timeout,
        }
    }

    /// The next change, if one is there now.
    pub fn try_next(&mut self) -> Option<Irq> {
        loop {
            match self.changes.try_recv() {
                Ok(irq) => return Some(irq),
                Err(TryRecvError::Lagged(missed)) => self.missed += missed,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return None,
            }
        }
    }

    async fn received(&mut self) -> Result<Irq, IrqError> {
        let server = || self.shared.witness.name();
        let lagged = |missed| IrqError::Lagged {
            server: server(),
            missed,
        };
        let missed = std::mem::take(&mut self.missed);
        if missed > 0 {
            return Err(lagged(missed));
        }
        match self.changes.recv().await {
            Ok(irq) => Ok(irq),
            Err(RecvError::Lagged(missed)) => Err(lagged(missed)),
            Err(RecvError::Closed) => Err(IrqError::Ended {
                server: server(),
                cause: self.shared.cause(),
            }),
        }
    }
}

impl fmt::Debug for Irqs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Irqs")
            .field("of", &self.shared.witness.name())
            .finish_non_exhaustive()
    }
}

/// Waits for a change of an interrupt line; made by [`Irqs::next`].
#[derive(Debug)]
#[must_use = "does nothing until awaited or waited for"]
pub struct NextIrq<'a> {
    irqs: &'a mut Irqs,
    timeout: Option<Duration>,
}

impl NextIrq<'_> {
    /// Waits no longer than this instead of 30 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Waits as long as the channel lives.
    pub fn no_timeout(mut self) -> Self {
        self.timeout = None;
        self
    }
}

impl<'a> IntoFuture for NextIrq<'a> {
    type Output = Result<Irq, IrqError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { irqs, timeout } = self;
            let shared = Arc::clone(&irqs.shared);
            let received = shared.deadlines.timeout(timeout, irqs.received()).await;
            received.unwrap_or_else(|Elapsed(limit)| {
                Err(IrqError::Timeout {
                    server: shared.witness.name(),
                    limit,
                    seen: shared.witness.seen(),
                })
            })
        })
    }
}
