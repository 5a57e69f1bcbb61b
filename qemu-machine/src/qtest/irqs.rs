//! Hearing of interrupts.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use qemu_qmp::Witness;
use qemu_qmp::engine::Elapsed;

use super::{Irq, IrqError, Shared};

/// A listener: hears every change of an intercepted interrupt line from when
/// it was made, in order; made by [`Qtest::irqs`](super::Qtest::irqs).
///
/// One that is not read holds the last 4,096 changes, and is told how many it
/// missed. Drop it to stop listening.
pub struct Irqs {
    shared: Arc<Shared>,
    /// How many changes came before the next that it hears.
    position: u64,
    /// How many were dropped that nobody was told of yet.
    missed: u64,
}

impl Irqs {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            position: shared.changes().look(|changes| changes.came),
            shared,
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
            let next = self.shared.changes().look(|it| it.next(self.position))?;
            if let Some(irq) = self.take(next) {
                return Some(irq);
            }
            if let Next::Over = next {
                return None;
            }
        }
    }

    /// Goes past what comes next.
    fn take(&mut self, next: Next) -> Option<Irq> {
        match next {
            Next::Irq(irq) => {
                self.position += 1;
                Some(irq)
            }
            Next::Missed(missed) => {
                self.position += missed;
                self.missed += missed;
                None
            }
            Next::Over => None,
        }
    }

    async fn received(&mut self) -> Result<Irq, IrqError> {
        if self.missed == 0 {
            let sought = |changes: &Changes| changes.next(self.position);
            let next = self.shared.changes().until(sought).await;
            if let Some(irq) = self.take(next) {
                return Ok(irq);
            }
        }
        let server = self.shared.witness.name();
        match std::mem::take(&mut self.missed) {
            0 => Err(IrqError::Ended {
                server,
                cause: self.shared.cause(),
            }),
            missed => Err(IrqError::Lagged { server, missed }),
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

/// The last changes of intercepted lines, which every listener reads from a
/// position of its own.
#[derive(Debug, Default)]
pub(super) struct Changes {
    last: VecDeque<Irq>,
    /// How many there were, those that were dropped among them.
    came: u64,
    is_over: bool,
}

/// What a listener finds at its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Irq(Irq),
    /// So many were dropped.
    Missed(u64),
    /// There will be no more.
    Over,
}

impl Changes {
    pub(super) fn push(&mut self, irq: Irq) {
        if self.last.len() == LIMIT {
            self.last.pop_front();
        }
        self.last.push_back(irq);
        self.came += 1;
    }

    /// No more will come.
    pub(super) fn end(&mut self) {
        self.is_over = true;
    }

    /// `None` where it is not there yet.
    fn next(&self, position: u64) -> Option<Next> {
        let dropped = self.came - self.last.len() as u64;
        let Some(index) = position.checked_sub(dropped) else {
            return Some(Next::Missed(dropped - position));
        };
        let index = usize::try_from(index).ok()?;
        match self.last.get(index) {
            Some(&irq) => Some(Next::Irq(irq)),
            None => self.is_over.then_some(Next::Over),
        }
    }
}

/// How many changes are kept for who listens.
const LIMIT: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_hears_what_is_kept_then_the_end_and_how_many_it_missed() {
        let irq = |line| Irq { line, raised: true };
        let mut changes = Changes::default();
        assert_eq!(changes.next(0), None);
        for line in 0..=4096 {
            changes.push(irq(line));
        }
        assert_eq!(changes.next(0), Some(Next::Missed(1)));
        assert_eq!(changes.next(1), Some(Next::Irq(irq(1))));
        assert_eq!(changes.next(4096), Some(Next::Irq(irq(4096))));
        assert_eq!(changes.next(4097), None);
        changes.end();
        assert_eq!(changes.next(4096), Some(Next::Irq(irq(4096))));
        assert_eq!(changes.next(4097), Some(Next::Over));
    }
}
