//! The first monitor of a machine: the client, and the task that reads it.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use qemu_qmp::supervise::{self, Reader};
use qemu_qmp::{Client, Disconnected};
use qemu_qmp_engine::{self as engine, Engine, Task, Watched, first};

use crate::channel::Channel;
use crate::life::ObservedState;

pub(super) struct Monitor {
    pub(super) client: Client,
    /// Whether something was observed.
    news: Arc<Watched<bool>>,
    reader: Arc<Reader>,
    /// Runs the reader; `None` after its end was reported.
    task: Option<Task<Option<Disconnected>>>,
}

/// What a monitor reports next.
pub(super) enum Next {
    /// Something was observed of the guest or of the end.
    News,
    /// The reader has ended, and its waiters are not notified yet.
    Ended(Disconnected),
}

impl Monitor {
    /// Begins to read. The channels and `observed` see each event first.
    pub(super) fn attach(
        engine: &'static Engine,
        client: Client,
        reader: Reader,
        observed: ObservedState,
        channels: Vec<Arc<dyn Channel>>,
    ) -> Self {
        let news = Arc::new(Watched::new(false));
        let has_news = Arc::clone(&news);
        supervise::on_event(&client, move |event| {
            for channel in &channels {
                channel.observe(event);
            }
            if observed.take(event) {
                has_news.set(true);
            }
        });
        let reader = Arc::new(reader);
        let runs = Arc::clone(&reader);
        let task = engine.spawn(async move { runs.run().await });
        Self {
            client,
            news,
            reader,
            task: Some(task),
        }
    }

    /// The reader, until its end was reported.
    pub(super) fn reading(&self) -> Option<Arc<Reader>> {
        self.task.as_ref().map(|_| Arc::clone(&self.reader))
    }

    pub(super) async fn next(&mut self) -> Next {
        let Some(task) = &mut self.task else {
            return std::future::pending().await;
        };
        let news = async {
            self.news.until(|news| news.then_some(())).await;
            self.news.set(false);
            Next::News
        };
        let ended = async {
            match task.await.flatten() {
                Some(cause) => Next::Ended(cause),
                // A panic ended the task: nothing reads the monitor any more.
                None => Next::Ended(Disconnected::ByClient),
            }
        };
        let next = first(pin!(news), pin!(ended)).await;
        if let Next::Ended(_) = next {
            self.task = None;
        }
        next
    }

    /// Notifies the waiters that the monitor has ended; the machine continues
    /// without it.
    pub(super) fn finish(&self) {
        self.reader.finish();
    }

    /// Reads the rest of what QEMU sent. Returns the reader if its waiters must
    /// still be notified.
    pub(super) async fn read_rest(&mut self) -> Option<Arc<Reader>> {
        if let Some(mut task) = self.task.take() {
            self.reader.end_after_rest();
            let in_time = engine::timeout(Some(IN_FLIGHT), &mut task).await;
            if in_time.is_err() {
                self.reader.cut();
                task.await;
            }
        }
        let unfinished = self.reader.is_unfinished();
        unfinished.then(|| Arc::clone(&self.reader))
    }
}

/// How long the last bytes of a process may take over TCP. It is longer than a
/// stalled host needs. Their end usually comes sooner, unless another process
/// has the socket.
const IN_FLIGHT: Duration = Duration::from_secs(10);
