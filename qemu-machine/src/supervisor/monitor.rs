//! The machine's first monitor, as its supervisor has it: the client, and the
//! task that reads it.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use qemu_qmp::engine::{self, Engine, Task, Watched, first};
use qemu_qmp::{Client, Disconnected, Driver, Ender};

use crate::channel::Channel;
use crate::heard::Heard;

pub(super) struct Monitor {
    pub(super) client: Client,
    /// Whether something was heard.
    news: Arc<Watched<bool>>,
    reader: Reader,
}

enum Reader {
    Running {
        task: Task<(Driver, Disconnected)>,
        ender: Ender,
    },
    /// It has ended; who waits on the monitor is not told yet.
    Ended(Driver),
    Finished,
}

/// What comes of a monitor next.
pub(super) enum Next {
    /// Something was heard of the guest or of the end.
    News,
    /// The reader has ended, and told nobody yet.
    Ended(Driver, Disconnected),
}

impl Monitor {
    /// Begins to read. Each event is shown to the channels and to `heard`
    /// before anybody else.
    pub(super) fn attach(
        engine: &'static Engine,
        client: Client,
        mut driver: Driver,
        heard: Heard,
        channels: Vec<Arc<dyn Channel>>,
    ) -> Self {
        let news = Arc::new(Watched::new(false));
        let told = Arc::clone(&news);
        driver.on_event(move |event| {
            for channel in &channels {
                channel.heard(event);
            }
            if heard.take(event) {
                told.set(true);
            }
        });
        let ender = driver.ender();
        let task = engine.spawn(async move {
            let cause = driver.run().await;
            (driver, cause)
        });
        Self {
            client,
            news,
            reader: Reader::Running { task, ender },
        }
    }

    /// What ends the reading; `None` where it has ended.
    pub(super) fn ender(&self) -> Option<Ender> {
        match &self.reader {
            Reader::Running { ender, .. } => Some(ender.clone()),
            Reader::Ended(_) | Reader::Finished => None,
        }
    }

    pub(super) async fn next(&mut self) -> Next {
        let Reader::Running { task, .. } = &mut self.reader else {
            return std::future::pending().await;
        };
        let news = async {
            self.news.until(|heard| heard.then_some(())).await;
            self.news.set(false);
            Next::News
        };
        let ended = async {
            match task.await {
                Some((driver, cause)) => Next::Ended(driver, cause),
                // Nobody aborts it.
                None => std::future::pending().await,
            }
        };
        first(pin!(news), pin!(ended)).await
    }

    /// Keeps the reader that has ended, until the machine has.
    pub(super) fn keep(&mut self, driver: Driver) {
        self.reader = Reader::Ended(driver);
    }

    /// Tells everyone who waits that the monitor has ended, and lives on without.
    pub(super) fn finish(&mut self, driver: Driver, cause: &Disconnected) {
        driver.finish(cause);
        self.reader = Reader::Finished;
    }

    /// Reads what QEMU has said last, and gives the reader; `None` where its end
    /// was told before.
    pub(super) async fn last_words(&mut self) -> Option<Driver> {
        match std::mem::replace(&mut self.reader, Reader::Finished) {
            Reader::Running { mut task, ender } => {
                ender.end();
                let in_time = engine::timeout(Some(IN_FLIGHT), &mut task).await;
                let read = if let Ok(read) = in_time {
                    read
                } else {
                    ender.cut();
                    task.await
                };
                read.map(|(driver, _)| driver)
            }
            Reader::Ended(driver) => Some(driver),
            Reader::Finished => None,
        }
    }
}

/// How long the last words of a process may be on their way over TCP: longer
/// than even a host takes that stalls. Their end comes by itself, and sooner,
/// unless somebody else holds the socket.
const IN_FLIGHT: Duration = Duration::from_secs(10);
