//! The end of a machine: what is read, closed and removed after its process has
//! ended, and the report of it.
//!
//! The order is in the header of [`supervise`](super).

use std::io;
use std::mem;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use qemu_qmp::Disconnected;
use qemu_qmp::supervise::{PendingNotices, Reader};
use tokio::sync::mpsc;

use super::monitor::Monitor;
use super::{Request, Resources, Status, Supervisor};
use crate::channel;
use crate::console::Console;
use crate::life::{self, Evidence, ExitReport, ExitStatus, Ladder, RungReport, Survivor};
use crate::output::tee;
use crate::process::space;

/// What only the end shows.
struct EndFacts {
    ended: Instant,
    status: ExitStatus,
    rungs: Vec<RungReport>,
    survivors: Vec<Survivor>,
    warnings: Vec<String>,
    /// Whether the monitor sent its greeting.
    greeted: bool,
    /// Whether the monitor was read to its end.
    monitor_was_read: bool,
}

impl Supervisor {
    /// Does all that follows the end of the process, and reports it.
    pub(super) async fn finish(mut self, requests: mpsc::UnboundedReceiver<Request>) {
        let ended = Instant::now();
        if let Some(killed) = self.resources.process.killed_unsupervised() {
            self.life.end(killed, Ladder::kill());
        }
        self.life.exited(self.now());
        let (status, survivors) = self.resources.process.end().await;
        let reader = self.read_rest().await;
        // The file is removed below.
        let memory = (self.resources.memory.as_deref())
            .filter(|_| status.signal() == Some(libc::SIGBUS))
            .and_then(space::why_memory_failed);
        let mut warnings = self.close_files().await;
        warnings.extend(survivors.warning().into_iter().chain(memory));
        let greeting = |it: &Monitor| it.client.greeting().is_some();
        let facts = EndFacts {
            ended,
            status,
            rungs: self.life.into_reports(),
            survivors: survivors.all,
            warnings,
            greeted: self.monitor.as_ref().is_some_and(greeting),
            monitor_was_read: reader.is_some(),
        };
        let report = Arc::new(report(&self.resources, facts));

        // A client that learns of the end may remove the template.
        self.resources.template_lock = None;
        if let Some(mut publication) = self.resources.publication.take() {
            publication.end(&report).await;
        }

        // Everything is closed before anyone is notified: a caller who learns of
        // the end finds none of our descriptors open.
        let Resources {
            process,
            output,
            channels,
            consoles,
            ..
        } = self.resources;
        drop((process, output, self.monitor, requests));
        let notices = channels.into_iter();
        let mut notices: Vec<PendingNotices> =
            notices.map(|it| it.machine_ended(&report)).collect();
        drop(consoles);
        let cause = Disconnected::ServerEnded(Arc::clone(&report) as _);
        notices.extend(reader.map(|reader| reader.end(&cause)));
        self.status.set(Status::Ended(report));
        notices.into_iter().for_each(PendingNotices::notify);
    }

    /// Reads what is left in the monitor, the channels and QEMU's output, and
    /// ends every task. Returns the monitor's reader if its waiters must still
    /// be notified.
    async fn read_rest(&mut self) -> Option<Arc<Reader>> {
        let reader = match &mut self.monitor {
            Some(monitor) => monitor.read_rest().await,
            None => None,
        };
        let pumps = mem::take(&mut self.pumps);
        for (channel, pump) in self.resources.channels.iter().zip(pumps) {
            channel.hang_up();
            pump.await;
        }
        let pending = mem::take(&mut self.pending);
        for task in pending.iter().chain([&self.output]) {
            task.abort();
        }
        for task in pending {
            task.await;
        }
        // A task drops what it owns before its end is reported.
        (&mut self.output).await;
        self.resources.output.drain();
        self.resources.canvas.close().await;
        reader
    }

    /// Closes every log and tee, and removes what is private. Returns what
    /// failed.
    async fn close_files(&mut self) -> Vec<String> {
        let Resources {
            output,
            tees,
            transcript_file,
            channels,
            directory,
            private_log,
            publication,
            ..
        } = &mut self.resources;
        let mut warnings = tee::finish(mem::take(tees)).await;
        let logs = channels.iter().map(|channel| channel.close());
        let logs = std::iter::once(output.output().close()).chain(logs);
        let transcript = transcript_file.take().and_then(|file| file.write_error());
        warnings.extend(logs.flatten().chain(transcript));
        let mut removed = |path: PathBuf, removed: io::Result<()>| {
            if let Err(error) = removed {
                warnings.push(format!("cannot remove {}: {error}", path.display()));
            }
        };
        if let Some(log) = private_log.take() {
            removed(log.path().to_owned(), log.remove());
        }
        if let Some(publication) = publication {
            let (folder, outcome) = publication.remove();
            removed(folder, outcome);
        }
        if let Some(directory) = directory.take() {
            removed(directory.path().to_owned(), directory.remove());
        }
        warnings
    }
}

/// Reports the end of a machine.
fn report(resources: &Resources, facts: EndFacts) -> ExitReport {
    let EndFacts {
        ended,
        status,
        rungs,
        survivors,
        warnings,
        greeted,
        monitor_was_read,
    } = facts;
    let observed = &resources.observed;
    let (shutdown, guest_panicked) = (observed.shutdown(), observed.has_panicked());
    let output_tail = resources.output.output().tail();
    let (console_tail, named_console_tails) =
        channel::tails(resources.consoles.iter().map(Console::seen));
    let evidence = Evidence {
        shutdown: shutdown.as_ref(),
        rungs: &rungs,
        greeted,
        monitor_was_read,
        guest_panicked,
        output: &output_tail,
    };
    let guest_exit = resources.exit_devices.exit(status, &evidence);
    ExitReport {
        name: resources.name.clone(),
        pid: resources.process.pid(),
        status,
        cause: life::cause(status, &rungs, shutdown.as_ref(), guest_exit),
        guest_exit,
        rungs,
        shutdown_reason: shutdown.map(|shutdown| shutdown.reason),
        guest_panicked,
        uptime: ended.saturating_duration_since(resources.started),
        output_tail,
        console_tail,
        named_console_tails,
        log: resources.log.clone(),
        survivors,
        warnings,
    }
}
