//! A flood of events from the scripted peer, which is faster than a QEMU, and its
//! listeners.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use qemu_machine::Wait;
use qemu_machine::qmp::{Client, Events};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::runtime::Runtime;

use super::bare::Bare;
use super::cost::{Cost, Costing};
use super::python::{Python, QEMU_QMP};
use super::qapi::{Blocking, Hearing, QAPI, QAPI_TOKIO};
use super::server::Scripted;
use crate::Failure;
use crate::operation::{AWAIT, FLOOR, WAIT};
use crate::setting::Setting;

/// The scripted peers that send the events.
pub(super) struct Sources<'a> {
    setting: &'a Setting,
    started: Vec<Scripted>,
}

impl<'a> Sources<'a> {
    pub(super) fn new(setting: &'a Setting) -> Self {
        Self {
            setting,
            started: Vec::new(),
        }
    }

    /// Starts a peer that sends this number of events before each reply. Returns its
    /// socket.
    fn start(&mut self, events: u32) -> Result<PathBuf, Failure> {
        let script = format!(
            r#"greet
               negotiate
               repeat forever
                 expect query-name
                 event-fill {events} RTC_CHANGE {{"offset": 0, "qom-path": "/machine/rtc"}}
                 reply {{}}
               end"#
        );
        let source = Scripted::start(&self.setting.fake_qemu, &script)?;
        let socket = source.socket();
        self.started.push(source);
        Ok(socket)
    }
}

/// The contenders, with rounds of this number of events and listeners.
pub(super) fn contenders<'a>(
    id: &str,
    sources: &mut Sources<'_>,
    runtime: &'a Runtime,
    events: u32,
    listeners: usize,
) -> Result<Vec<Costing<'a>>, Failure> {
    let mut bare = Bare::connect(&sources.start(events)?)?;
    let by_threads = Client::connect_unix(sources.start(events)?).wait()?;
    let by_tasks = Client::connect_unix(sources.start(events)?).wait()?;
    let mut contenders = vec![
        Costing::new(FLOOR, move || Cost::of(events, || floor(&mut bare, events))),
        Costing::new(WAIT, move || {
            Cost::of(events, || wait(&by_threads, events, listeners))
        }),
        Costing::new(AWAIT, move || {
            Cost::of(events, || {
                runtime.block_on(awaited(&by_tasks, events, listeners))
            })
        }),
    ];
    // Peers need longer for an event, so they get fewer.
    let events = events.div_ceil(10);
    if listeners == 1 {
        let mut qapi = Blocking::connect(&sources.start(events)?)?;
        contenders.push(Costing::new(QAPI, move || {
            Cost::of(events, || qapi.hear(events))
        }));
        let mut qapi = runtime.block_on(Hearing::connect(&sources.start(events)?))?;
        contenders.push(Costing::new(QAPI_TOKIO, move || {
            Cost::of(events, || runtime.block_on(qapi.hear(events)))
        }));
    }
    if let Some(python) = &sources.setting.python {
        let mut python = Python::start(python, id, &sources.start(events)?)?;
        contenders.push(Costing::new(QEMU_QMP, move || python.round(events)));
    }
    Ok(contenders)
}

/// Parses each line into the same parts as the library: the event's name, its
/// data as it was received, and its time.
fn floor(bare: &mut Bare, events: u32) -> Result<(), Failure> {
    bare.send("query-name", "")?;
    for _ in 0..events {
        let line: Line = serde_json::from_slice(bare.line()?)?;
        let since = Duration::new(line.timestamp.seconds, line.timestamp.microseconds * 1000);
        std::hint::black_box((line.event, line.data, SystemTime::UNIX_EPOCH + since));
    }
    bare.reply::<serde_json::Value>()?;
    Ok(())
}

#[derive(Deserialize)]
struct Line {
    event: String,
    data: Box<RawValue>,
    timestamp: Timestamp,
}

#[derive(Deserialize)]
struct Timestamp {
    seconds: u64,
    microseconds: u32,
}

fn wait(qmp: &Client, events: u32, listeners: usize) -> Result<(), Failure> {
    let listeners: Vec<Events> = (0..listeners).map(|_| qmp.events()).collect();
    std::thread::scope(|scope| {
        let hear = |mut listener: Events| -> Result<(), String> {
            for _ in 0..events {
                listener.next().wait().map_err(|error| error.to_string())?;
            }
            Ok(())
        };
        let threads: Vec<_> = listeners
            .into_iter()
            .map(|listener| scope.spawn(move || hear(listener)))
            .collect();
        qmp.execute_json("query-name", json!({})).wait()?;
        for thread in threads {
            thread.join().map_err(|_| "a thread panicked")??;
        }
        Ok(())
    })
}

async fn awaited(qmp: &Client, events: u32, listeners: usize) -> Result<(), Failure> {
    let tasks = (0..listeners).map(|_| {
        let mut listener = qmp.events();
        tokio::spawn(async move {
            for _ in 0..events {
                listener.next().await?;
            }
            Ok::<_, qemu_machine::qmp::error::EventError>(())
        })
    });
    let tasks: Vec<_> = tasks.collect();
    qmp.execute_json("query-name", json!({})).await?;
    for task in tasks {
        task.await??;
    }
    Ok(())
}
