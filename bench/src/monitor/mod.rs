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
    // As most tests have it: tasks take turns on the thread that waits for them.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // Many and short ones: what a host does beside this changes within seconds.
    let rounds = setting.size(105, 1);
    let python = setting.python.as_deref();
    let ask = |asked, times| -> Result<_, Failure> {
        let qemu = Qemu::launch(&setting.qemu)?;
        let contenders = commands::contenders(asked, &qemu, python, &runtime, times)?;
        costs(rounds, contenders)
    };
    let without = match python {
        Some(_) => "",
        None => " `qemu.qmp` was not there: it needs a Python with `venv`.",
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
            name: "the processor's time of a command and its reply".into(),
            about: format!(
                "What the client's process took of the processors in the row above, all threads, \
                 in the kernel and out of it; what QEMU took does not count.{without}"
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
            name: format!("an event heard, of {events}"),
            about: format!("{ABOUT_EVENTS}{without}"),
            unit: Unit::Seconds,
            contenders: hear(EVENTS, 1)?,
            bars: bars(1.5),
        });
    }
    if setting.wants(EVENTS_TEN) {
        operations.push(Operation {
            id: EVENTS_TEN,
            name: format!("an event heard by ten, of {events}"),
            about: format!("{ABOUT_EVENTS_TEN}{without}"),
            unit: Unit::Seconds,
            contenders: hear(EVENTS_TEN, 10)?,
            bars: bars(3.0),
        });
    }
    Ok(operations)
}

/// For both faces.
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

const ABOUT_STATUS: &str = "From the call to the answer as a value with its two members; the mean \
    of each round's commands. The QEMU is stopped and has no devices, and serves each contender \
    on a monitor of its own. The floor is a blocking unix socket: a write, reads to the line's \
    end, and `serde_json` into a structure of the same two members. *To a task*: the same, where a \
    thread reads, and hands each reply to a task of the runtime that `.await` has: what any \
    executor can run. *By a task*: the task itself reads, which needs a tokio with its I/O on.";

const ABOUT_PEERS: &str = " Tasks run on tokio's current-thread runtime. `qapi`'s blocking client \
    leaves out-of-band execution off, the others have it on.";

const ABOUT_IN_FLIGHT: &str = "The time of a round divided by its commands, of which eight are \
    always in flight: of eight tasks on tokio's current-thread runtime, of eight threads that \
    `.wait()`, and for the floor of one thread that sends the next when it has read a reply. More \
    than eight QEMU does not take.";

const ABOUT_SCHEMA: &str = "From the call to the answer as a value that can be asked what this \
    QEMU can do; the reply is some 200 KB. The floor reads the line and gives it to the same \
    reader of that value, without a thread, a routing by id or a copy between them: what it lacks \
    is what the library adds. The peers read it as values of their own.";

const ABOUT_EVENTS: &str = "From the command that lets the scripted peer send all of them, as \
    fast as the socket takes them, until the last is heard and the reply has come; divided by \
    their number. Each is taken by `next()`. The floor reads line by line, and has of each its \
    name, its data as received, and its time. The peers hear a tenth of the number; `qapi`'s \
    blocking client has all at once, with the reply.";

const ABOUT_EVENTS_TEN: &str = "As the row above, with ten listeners, each with a thread or a \
    task of its own, so that each event is heard ten times. The floor is the same: each line is \
    read once.";
