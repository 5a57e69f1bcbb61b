//! Machines, and how many are alive.

use std::time::{Duration, Instant};

use qemu_machine::{Machine, Wait};

use super::{counts, grown_bytes, level};
use crate::Failure;
use crate::console::resident_kib;
use crate::curve::{Curve, Line, Point};
use crate::monitor::cpu_seconds;
use crate::operation::Unit;
use crate::setting::Setting;
use crate::sys::trim_heap;
use crate::topic::Topic;

pub(super) const TOPIC: Topic<Curve> = Topic {
    rows: &ROWS,
    measure,
};

fn measure(setting: &Setting) -> Result<Vec<Curve>, Failure> {
    if !setting.wants(ROWS[0]) {
        return Ok(Vec::new());
    }
    let rounds = setting.size(3, 1);
    let crowds = (0..rounds).map(|_| crowd(setting));
    let crowds = crowds.collect::<Result<Vec<_>, _>>()?;
    let line = |who, figure: fn(&Figures) -> f64| {
        let sizes = counts(setting).iter().enumerate();
        let points = sizes.map(|(index, &count)| Point {
            size: f64::from(count),
            values: crowds.iter().map(|crowd| figure(&crowd[index])).collect(),
        });
        Line {
            who,
            points: points.collect(),
        }
    };
    let mut memory = line(MEMORY, |figures| figures.memory_bytes);
    for point in &mut memory.points {
        // Later crowds live in what the first one has let go.
        point.values.truncate(1);
    }
    Ok(vec![
        curve(
            0,
            "a machine more, and one less, among many",
            "Scripted peers are launched one after the other until so many are alive, and later \
             ended again. The time of each that was added, and that was ended, since the size \
             before.",
            Unit::Seconds,
            vec![
                line(LAUNCH, |figures| figures.launch),
                line(SHUTDOWN, |figures| figures.shutdown),
            ],
        ),
        curve(
            1,
            "a command and its reply among many machines",
            "On one of them, while all others are alive.",
            Unit::Seconds,
            vec![line(ROUND_TRIP, |figures| figures.round_trip)],
        ),
        curve(
            2,
            "memory for a machine among many",
            "The resident memory of this process beyond what it was without any, per machine.",
            Unit::Bytes,
            vec![memory],
        ),
        curve(
            3,
            "processor time of many idle machines",
            "What all threads of this process took in a second in which nobody did anything, for \
             all machines together; the reading of the clock is in it.",
            Unit::Seconds,
            vec![line(IDLE, |figures| figures.idle)],
        ),
    ])
}

fn curve(row: usize, name: &str, about: &str, unit: Unit, lines: Vec<Line>) -> Curve {
    let names: Vec<_> = lines.iter().map(|line| line.who).collect();
    Curve {
        id: ROWS[row],
        name: name.into(),
        about: about.into(),
        grows: "machines",
        sizes: Unit::Count,
        unit,
        lines,
        bars: level(&names),
    }
}

/// With so many machines alive. Seconds, if nothing else is said.
#[derive(Default)]
struct Figures {
    launch: f64,
    shutdown: f64,
    round_trip: f64,
    memory_bytes: f64,
    idle: f64,
}

/// Grows through all sizes, and shrinks again.
fn crowd(setting: &Setting) -> Result<Vec<Figures>, Failure> {
    let script = ["-fake-script", "greet\nnegotiate\nserve"];
    let builder = Machine::builder(&setting.fake_qemu).args(script);
    trim_heap();
    let before = resident_kib()?;
    let (mut machines, mut all) = (Vec::new(), Vec::new());
    for &count in counts(setting) {
        let begun = Instant::now();
        let added = f64::from(count) - f64::from(u32::try_from(machines.len())?);
        while machines.len() < count as usize {
            machines.push(builder.launch().wait()?);
        }
        let launch = begun.elapsed().as_secs_f64() / added;
        let trips = setting.size(300, 3);
        let begun = Instant::now();
        for _ in 0..trips {
            machines[0].qmp().execute_json("query-status", ()).wait()?;
        }
        let round_trip = begun.elapsed().as_secs_f64() / f64::from(trips);
        let grown = grown_bytes(before)?;
        let idle_for = setting.size(Duration::from_secs(1), Duration::from_millis(20));
        let cpu_begun = cpu_seconds();
        // Nothing is waited for: the time itself is what is measured.
        std::thread::sleep(idle_for);
        let idle = (cpu_seconds() - cpu_begun) / idle_for.as_secs_f64();
        all.push(Figures {
            launch,
            shutdown: 0.0,
            round_trip,
            memory_bytes: grown / f64::from(count),
            idle: idle.max(CLOCK),
        });
    }
    let smaller = [&[0], counts(setting)].concat();
    for (figures, &down_to) in all.iter_mut().zip(&smaller).rev() {
        let begun = Instant::now();
        let ended = machines.split_off(down_to as usize);
        for machine in &ended {
            machine.shutdown().wait()?;
        }
        let count = f64::from(u32::try_from(ended.len())?);
        figures.shutdown = begun.elapsed().as_secs_f64() / count;
    }
    Ok(all)
}

const ROWS: [&str; 4] = [
    "machines",
    "machines/round-trip",
    "machines/memory",
    "machines/idle",
];
const LAUNCH: &str = "ours, launch";
const SHUTDOWN: &str = "ours, shutdown";
const ROUND_TRIP: &str = "ours, .wait()";
const MEMORY: &str = "ours, memory";
const IDLE: &str = "ours, idle";
/// Less than the measurement itself takes says nothing.
const CLOCK: f64 = 100e-6;
