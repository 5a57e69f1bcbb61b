//! Commands to a real QEMU: one after the other, eight at once, and one with a
//! long reply.

use qemu_machine::Wait;
use qemu_machine::qmp::Client;
use qemu_machine::qmp::command::{QuerySchema, QueryStatus};
use qemu_machine::qmp::schema::Schema;
use tokio::runtime::Runtime;

use super::bare::Bare;
use super::cost::{Cost, Costing};
use super::python::{Python, QEMU_QMP};
use super::qapi::{Blocking, OnTokio, QAPI, QAPI_TOKIO};
use super::relayed::Relayed;
use super::server::Qemu;
use super::tasked::Tasked;
use crate::Failure;
use crate::operation::{AWAIT, FLOOR, WAIT};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// `query-status`, one after the other.
    Status,
    /// The same, always eight of them in flight.
    StatusAtOnce,
    /// `query-qmp-schema`.
    Schema,
}

/// The contenders, with rounds of this number of commands.
pub(super) fn contenders<'a>(
    asked: Asked,
    qemu: &'a Qemu,
    python: Option<&std::path::Path>,
    runtime: &'a Runtime,
    times: u32,
) -> Result<Vec<Costing<'a>>, Failure> {
    let mut bare = Bare::connect(&qemu.monitor(0))?;
    let by_threads = qemu.vm.monitor();
    // QEMU reads a longer id more slowly, so each contender counts its own ids.
    let by_tasks = Client::connect_unix(qemu.monitor(4)).wait()?;
    let mut contenders = vec![
        Costing::new(FLOOR, move || {
            Cost::of(times, || floor(asked, &mut bare, times))
        }),
        Costing::new(WAIT, move || {
            Cost::of(times, || wait(asked, by_threads, times))
        }),
        Costing::new(AWAIT, move || {
            Cost::of(times, || runtime.block_on(awaited(asked, &by_tasks, times)))
        }),
    ];
    if asked == Asked::Status {
        let mut relayed = Relayed::<Status>::connect(&qemu.monitor(5))?;
        contenders.push(Costing::new(FLOOR_RELAYED, move || {
            Cost::of(times, || {
                runtime.block_on(async {
                    for _ in 0..times {
                        drop(relayed.ask("query-status").await?);
                    }
                    Ok(())
                })
            })
        }));
        let mut tasked = runtime.block_on(Tasked::connect(&qemu.monitor(6)))?;
        contenders.push(Costing::new(FLOOR_TASKED, move || {
            Cost::of(times, || {
                runtime.block_on(async {
                    for _ in 0..times {
                        drop(tasked.ask::<Status>("query-status", "").await?);
                    }
                    Ok(())
                })
            })
        }));
    }
    if asked != Asked::StatusAtOnce {
        let mut qapi = Blocking::connect(&qemu.monitor(1))?;
        contenders.push(Costing::new(QAPI, move || {
            Cost::of(times, || qapi.round(asked, times))
        }));
    }
    let qapi = runtime.block_on(OnTokio::connect(&qemu.monitor(2)))?;
    contenders.push(Costing::new(QAPI_TOKIO, move || {
        Cost::of(times, || runtime.block_on(qapi.round(asked, times)))
    }));
    if let Some(python) = python {
        let mut python = Python::start(python, asked.id(), &qemu.monitor(3))?;
        contenders.push(Costing::new(QEMU_QMP, move || python.round(times)));
    }
    Ok(contenders)
}

impl Asked {
    pub(super) fn id(self) -> &'static str {
        match self {
            Self::Status => "round-trip",
            Self::StatusAtOnce => "in-flight",
            Self::Schema => "schema",
        }
    }
}

fn floor(asked: Asked, bare: &mut Bare, times: u32) -> Result<(), Failure> {
    let at_once = match asked {
        Asked::Status | Asked::Schema => 1,
        Asked::StatusAtOnce => AT_ONCE,
    };
    let name = match asked {
        Asked::Status | Asked::StatusAtOnce => "query-status",
        Asked::Schema => "query-qmp-schema",
    };
    for sent in 0..times + at_once {
        if sent >= at_once {
            match asked {
                Asked::Status | Asked::StatusAtOnce => drop(bare.reply::<Status>()?),
                Asked::Schema => drop(bare.reply::<Schema>()?),
            }
        }
        if sent < times {
            bare.send(name, "")?;
        }
    }
    Ok(())
}

/// The part of a reply that the floor reads, as in [`QueryStatus`].
#[derive(serde::Deserialize)]
#[expect(dead_code, reason = "only the parsing is measured")]
struct Status {
    running: bool,
    status: String,
}

fn wait(asked: Asked, qmp: &Client, times: u32) -> Result<(), Failure> {
    let statuses = |times| -> Result<(), Failure> {
        for _ in 0..times {
            qmp.execute(QueryStatus).wait()?;
        }
        Ok(())
    };
    match asked {
        Asked::Status => statuses(times),
        Asked::StatusAtOnce => std::thread::scope(|scope| {
            let statuses = || statuses(times / AT_ONCE).map_err(|error| error.to_string());
            let threads = (0..AT_ONCE).map(|_| scope.spawn(statuses));
            for thread in threads.collect::<Vec<_>>() {
                thread.join().map_err(|_| "a thread panicked")??;
            }
            Ok(())
        }),
        Asked::Schema => {
            for _ in 0..times {
                qmp.execute(QuerySchema).wait()?;
            }
            Ok(())
        }
    }
}

async fn awaited(asked: Asked, qmp: &Client, times: u32) -> Result<(), Failure> {
    match asked {
        Asked::Status => {
            for _ in 0..times {
                qmp.execute(QueryStatus).await?;
            }
        }
        Asked::StatusAtOnce => {
            let tasks = (0..AT_ONCE).map(|_| {
                let qmp = qmp.clone();
                tokio::spawn(async move {
                    for _ in 0..times / AT_ONCE {
                        qmp.execute(QueryStatus).await?;
                    }
                    Ok::<_, qemu_machine::qmp::error::ExecuteError>(())
                })
            });
            for task in tasks.collect::<Vec<_>>() {
                task.await??;
            }
        }
        Asked::Schema => {
            for _ in 0..times {
                qmp.execute(QuerySchema).await?;
            }
        }
    }
    Ok(())
}

const FLOOR_RELAYED: &str = "floor, to a task";
const FLOOR_TASKED: &str = "floor, by a task";

/// QEMU accepts this number of commands before it answers one.
pub(super) const AT_ONCE: u32 = 8;
