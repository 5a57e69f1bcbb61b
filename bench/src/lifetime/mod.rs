//! The life of machines, compared with the same life by bare system calls. Also
//! the cost of idle machines, and of building the library.

mod cold;
mod crowd;
mod idle;
mod life;
pub(crate) mod worker;

use std::cell::RefCell;
use std::sync::Arc;

pub(crate) use idle::{Keeper, rollup_kib};
use life::{By, Life, Recipe};
pub(crate) use life::{Met, words};
use worker::Worker;

use crate::Failure;
use crate::operation::{AWAIT, Bar, FLOOR, Limit, Operation, Unit, WAIT};
use crate::setting::Setting;
use crate::topic::Topic;
use crate::turns::{Contender, in_turns};

pub(crate) const TOPIC: Topic = Topic {
    rows: &[
        LAUNCH,
        LAUNCH_FROM_LARGE,
        SHUTDOWN,
        CROWD,
        idle::ROWS[0],
        idle::ROWS[1],
        cold::BUILD,
        cold::CRATES,
    ],
    measure,
};

fn measure(setting: &Setting) -> Result<Vec<Operation>, Failure> {
    let recipe = Arc::new(Recipe::new(&setting.qemu)?);
    let mut operations = Vec::new();
    if setting.wants(LAUNCH) {
        operations.push(launch(setting, &recipe)?);
    }
    if setting.wants(LAUNCH_FROM_LARGE) {
        operations.push(launch_from_large(setting, &recipe)?);
    }
    if setting.wants(SHUTDOWN) {
        operations.push(shutdown(setting, &recipe)?);
    }
    if setting.wants(CROWD) {
        operations.push(crowd(setting, &recipe)?);
    }
    if setting.wants(idle::ROWS[0]) {
        operations.extend(idle::measure(setting)?);
    }
    if setting.wants(cold::BUILD) {
        operations.push(cold::build(setting)?);
    }
    if setting.wants(cold::CRATES) {
        operations.push(cold::crates(setting)?);
    }
    Ok(operations)
}

fn launch(setting: &Setting, recipe: &Recipe) -> Result<Operation, Failure> {
    Ok(Operation {
        id: LAUNCH,
        name: "launch to the first possible command".into(),
        about:
            "From nothing to a QEMU after the greeting and the negotiation. It emulates a PC with \
                16 MiB and a paused guest (`-nodefaults -S`). The floor starts the same command line \
                in the same process by `vfork` and `execv`, and talks to it on a socket pair by \
                blocking calls."
                .into(),
        unit: Unit::Seconds,
        contenders: in_turns(
            setting.size(LAUNCHES, 1),
            ONE_BY_ONE
                .map(|it| it.timed(recipe, |life| life.launch))
                .into(),
        )?,
        bars: both_at_most(1.05),
    })
}

fn shutdown(setting: &Setting, recipe: &Recipe) -> Result<Operation, Failure> {
    Ok(Operation {
        id: SHUTDOWN,
        name: "`shutdown` to reaped and cleaned".into(),
        about: "The end of the same machine, by `quit`. The floor writes `quit` and waits for the \
                process by `waitpid`. Ours also reads the remaining output, removes the private log, \
                and takes the machine off the guardian's list. *And hears*: the floor also reads the \
                monitor to its end."
            .into(),
        unit: Unit::Seconds,
        contenders: in_turns(
            setting.size(LAUNCHES, 1),
            ONE_BY_ONE
                .into_iter()
                .chain([HEARS])
                .map(|it| it.timed(recipe, |life| life.end))
                .collect(),
        )?,
        bars: both_at_most(1.10),
    })
}

fn launch_from_large(setting: &Setting, recipe: &Recipe) -> Result<Operation, Failure> {
    let bytes = setting.size(1 << 30, 1 << 24);
    let worker = RefCell::new(Worker::large(bytes, &setting.qemu)?);
    let from_large = |who, by: By| {
        let worker = &worker;
        Contender::new(who, move || {
            Ok(worker.borrow_mut().ask(by.word())?.parse()?)
        })
    };
    let contenders = vec![
        ONE_BY_ONE[0].timed(recipe, |life| life.launch),
        from_large(FLOOR_FROM_LARGE, By::BareCalls),
        from_large(WAIT, By::Wait),
        from_large(AWAIT, By::Await),
        from_large(FORK, By::Fork),
    ];
    Ok(Operation {
        id: LAUNCH_FROM_LARGE,
        name: format!("launch from a process of {} MiB", bytes >> 20),
        about: "The same launch from a process with this much memory, in written pages of 4 KiB. \
                The floor runs in a small process. *In the large one*: the same calls in the large \
                process. *By fork*: a true `fork`, which the standard library uses to run code in \
                the child."
            .into(),
        unit: Unit::Seconds,
        contenders: in_turns(setting.size(LAUNCHES, 1), contenders)?,
        bars: both_at_most(1.05),
    })
}

fn crowd(setting: &Setting, recipe: &Arc<Recipe>) -> Result<Operation, Failure> {
    let machines = setting.size(100, 4);
    let at_once = setting.size(8, 2);
    let contenders = ONE_BY_ONE.map(|Contestant { who, by }| {
        Contender::new(who, move || crowd::live(by, recipe, machines, at_once))
    });
    Ok(Operation {
        id: CROWD,
        name: format!("launch and end of {machines} machines, {at_once} at once"),
        about: "The elapsed time. Each thread of the floor and of `.wait()` launches and ends one \
                machine after the other. With `.await`, these are tasks of a tokio runtime with one \
                thread."
            .into(),
        unit: Unit::Seconds,
        contenders: in_turns(setting.size(11, 1), contenders.into())?,
        bars: both_at_most(1.05),
    })
}

#[derive(Clone, Copy)]
struct Contestant {
    who: &'static str,
    by: By,
}

impl Contestant {
    fn timed(self, recipe: &Recipe, of: fn(&Life) -> f64) -> Contender<'_> {
        Contender::new(self.who, move || Ok(of(&self.by.live(recipe)?)))
    }
}

const ONE_BY_ONE: [Contestant; 3] = [
    Contestant {
        who: FLOOR,
        by: By::BareCalls,
    },
    Contestant {
        who: WAIT,
        by: By::Wait,
    },
    Contestant {
        who: AWAIT,
        by: By::Await,
    },
];

const HEARS: Contestant = Contestant {
    who: "floor, and hears",
    by: By::BareCallsHearing,
};

fn both_at_most(limit: f64) -> Vec<Bar> {
    [WAIT, AWAIT]
        .map(|who| Bar {
            who,
            limit: Limit::RatioAtMost(limit, FLOOR),
        })
        .into()
}

/// The number of rounds for single machines.
const LAUNCHES: usize = 60;

const LAUNCH: &str = "launch";
const LAUNCH_FROM_LARGE: &str = "launch-from-large";
const SHUTDOWN: &str = "shutdown";
const CROWD: &str = "crowd";

const FLOOR_FROM_LARGE: &str = "floor, in the large one";
const FORK: &str = "floor, by fork";
