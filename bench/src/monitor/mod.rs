//! The monitor: commands and their replies, and events.

mod bare;
mod commands;
mod cost;
mod events;
mod python;
mod qapi;
mod relayed;
mod server;
mod tasked;

use commands::Asked;
pub(crate) use cost::cpu_seconds;
use cost::{Costing, costs};
use events::Sources;
use server::Qemu;

use crate::Failure;
use crate::operation::{AWAIT, Bar, FLOOR, Limit, Measured, Operation, Unit, WAIT};
use crate::setting::Setting;
use crate::topic::Topic;

pub(crate) const TOPIC: Topic = Topic {
    rows: &[
        ROUND_TRIP,
        ROUND_TRIP_CPU,
        IN_FLIGHT,
        SCHEMA,
        EVENTS,
        EVENTS_TEN,
    ],
    measure,
};

fn measure(setting: &Setting) -> Result<Vec<Operation>, Failure> {
    let mut operations = Vec::new();
    // As in most tests: tasks take turns on the thread that waits for them.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // Many short rounds, because the load of a host changes within seconds.
    let rounds = setting.size(105, 1);
    let python = setting.python.as_deref();
    let ask = |asked, times| -> Result<_, Failure> {
        let qemu = Qemu::launch(&setting.qemu)?;
        let contenders = commands::contenders(asked, &qemu, python, &runtime, times)?;
        costs(rounds, contenders)
    };
    let without = match python {
        Some(_) => "",
        None => " `qemu.qmp` was not measured: it needs a Python with `venv`.",
    };
    if setting.wants(ROUND_TRIP) {
        let [seconds, cpu] = ask(Asked::Status, setting.size(400, 20))?;
        operations.push(Operation {
            id: ROUND_TRIP,
            name: "a command and its reply, `query-status`".into(),
            about: format!("{ABOUT_STATUS}{ABOUT_PEERS}{without}"),
            unit: Unit::Seconds,
            contenders: seconds,
            bars: bars(1.05),
        });
        operations.push(Operation {
            id: ROUND_TRIP_CPU,
            name: "the processor time of a command and its reply".into(),
            about: format!(
                "The processor time of the client's process in the row above: all threads, in the \
                 kernel and in user space. QEMU's time does not count.{without}"
            ),
            unit: Unit::Seconds,
            contenders: cpu,
            bars: bars(3.0),
        });
    }
    if setting.wants(IN_FLIGHT) {
        let [seconds, _] = ask(Asked::StatusAtOnce, setting.size(400, 16))?;
        operations.push(Operation {
            id: IN_FLIGHT,
            name: "a command of eight tasks on one monitor, `query-status`".into(),
            about: format!("{ABOUT_IN_FLIGHT}{without}"),
            unit: Unit::Seconds,
            contenders: seconds,
            bars: bars(1.05),
        });
    }
    if setting.wants(SCHEMA) {
        let [seconds, _] = ask(Asked::Schema, setting.size(4, 1))?;
        operations.push(Operation {
            id: SCHEMA,
            name: "a long reply, `query-qmp-schema`".into(),
            about: format!("{ABOUT_SCHEMA}{without}"),
            unit: Unit::Seconds,
            contenders: seconds,
            bars: bars(1.3),
        });
    }
    let events = setting.size(100_000, 100);
    let hear = |id, listeners| -> Result<Vec<Measured>, Failure> {
        let mut sources = Sources::new(setting);
        let contenders: Vec<Costing> =
            events::contenders(id, &mut sources, &runtime, events, listeners)?;
        let [seconds, _] = costs(setting.size(27, 1), contenders)?;
        Ok(seconds)
    };
    if setting.wants(EVENTS) {
        operations.push(Operation {
            id: EVENTS,
            name: format!("an event received, of {events}"),
            about: format!("{ABOUT_EVENTS}{without}"),
            unit: Unit::Seconds,
            contenders: hear(EVENTS, 1)?,
            bars: bars(1.5),
        });
    }
    if setting.wants(EVENTS_TEN) {
        operations.push(Operation {
            id: EVENTS_TEN,
            name: format!("an event received by ten, of {events}"),
            about: format!("{ABOUT_EVENTS_TEN}{without}"),
            unit: Unit::Seconds,
            contenders: hear(EVENTS_TEN, 10)?,
            bars: bars(3.0),
        });
    }
    Ok(operations)
}

/// The same bar for `.wait()` and `.await`.
fn bars(most: f64) -> Vec<Bar> {
    let bar = |who| Bar {
        who,
        limit: Limit::RatioAtMost(most, FLOOR),
    };
    vec![bar(WAIT), bar(AWAIT)]
}

const ROUND_TRIP: &str = "round-trip";
const ROUND_TRIP_CPU: &str = "round-trip/cpu";
const IN_FLIGHT: &str = "in-flight";
const SCHEMA: &str = "schema";
const EVENTS: &str = "events";
const EVENTS_TEN: &str = "events-ten";

const ABOUT_STATUS: &str = "From the call to the answer as a value with two members; the mean of a \
    round's commands. The QEMU has a paused guest, no devices, and a separate monitor for each \
    contender. The floor is a blocking unix socket: one write, reads to the end of the line, and \
    `serde_json` into a structure of the same two members. *To a task*: a thread reads and hands each \
    reply to a task of the runtime of `.await`; this works with any executor. *By a task*: the task \
    itself reads; this needs tokio with its I/O driver.";

const ABOUT_PEERS: &str = " Tasks run on tokio's current-thread runtime. `qapi`'s blocking client \
    does not enable out-of-band execution; the others do.";

const ABOUT_IN_FLIGHT: &str = "The time of a round divided by its commands. Eight are always in \
    flight, because QEMU accepts no more. With `.await` they come from eight tasks on tokio's \
    current-thread runtime, with `.wait()` from eight threads. The floor is one thread, which sends \
    the next command when it has read a reply.";

const ABOUT_SCHEMA: &str = "From the call to the answer as a parsed schema of this QEMU. The reply \
    has about 200 KB. The floor reads the line and passes it to the same parser. It has no thread, no \
    routing by id and no copy between them: the difference is what the library adds. The peers parse \
    it into their own types.";

const ABOUT_EVENTS: &str = "The scripted peer sends all events as fast as the socket accepts them. \
    The time from the command that starts this until the last event and the reply have arrived, \
    divided by the number of events. Each event is taken by `next()`. The floor reads the lines, and \
    parses the name, the unparsed data and the time of each. The peers receive a tenth of the events. \
    `qapi`'s blocking client returns all of them together with the reply.";

const ABOUT_EVENTS_TEN: &str = "Like the row above, with ten listeners. Each has its own thread or \
    task, so each event is received ten times. The floor is the same: it reads each line once.";
