//! The cost of a machine, by the number of machines.

use std::time::{Duration, Instant};

use qemu_machine::{Machine, MachineBuilder, Wait};

use super::{beside, counts, level};
use crate::Failure;
use crate::curve::{Curve, Line, Point, SlopeBar};
use crate::lifetime::{Keeper, Met, words};
use crate::monitor::cpu_seconds;
use crate::operation::Unit;
use crate::setting::Setting;
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
    let (mut crowds, mut bare_crowds) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        bare_crowds.push(bare_crowd(setting)?);
        crowds.push(crowd(setting)?);
    }
    let line_of = |crowds: &[Vec<Figures>], who, figure: fn(&Figures) -> f64| {
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
    let line = |who, figure| line_of(&crowds, who, figure);
    let bare_line = |who, figure| line_of(&bare_crowds, who, figure);
    Ok(vec![
        curve(
            0,
            "launch and end of one machine among many",
            "Scripted peers are launched one after the other until this number is alive, and later \
             ended again. The time of each launch and each end since the size before. The floor does \
             the same by bare system calls, with a process and a socket each.",
            Unit::Seconds,
            vec![
                bare_line(FLOOR_LAUNCH, |figures| figures.launch),
                line(LAUNCH, |figures| figures.launch),
                bare_line(FLOOR_SHUTDOWN, |figures| figures.shutdown),
                line(SHUTDOWN, |figures| figures.shutdown),
            ],
            vec![
                beside(LAUNCH, FLOOR_LAUNCH),
                beside(SHUTDOWN, FLOOR_SHUTDOWN),
            ],
        ),
        curve(
            1,
            "a command and its reply among many machines",
            "On one machine, while all of the others are alive.",
            Unit::Seconds,
            vec![line(ROUND_TRIP, |figures| figures.round_trip)],
            level(&[ROUND_TRIP]),
        ),
        curve(
            2,
            "memory of a machine among many",
            "A process launches this number of machines, each with a console. The growth of its \
             private memory (`Private_Dirty`), per machine. The first machine does not count.",
            Unit::Bytes,
            vec![Line {
                who: MEMORY,
                points: memory(setting)?,
            }],
            level(&[MEMORY]),
        ),
        curve(
            3,
            "processor time of many idle machines",
            "The processor time of all threads of this process in one idle second, for all machines \
             together. It includes the reading of the clock.",
            Unit::Seconds,
            vec![line(IDLE, |figures| figures.idle)],
            level(&[IDLE]),
        ),
    ])
}

fn curve(
    row: usize,
    name: &str,
    about: &str,
    unit: Unit,
    lines: Vec<Line>,
    bars: Vec<SlopeBar>,
) -> Curve {
    Curve {
        id: ROWS[row],
        name: name.into(),
        about: about.into(),
        grows: "machines",
        sizes: Unit::Count,
        unit,
        lines,
        bars,
    }
}

/// In bytes, for each machine.
fn memory(setting: &Setting) -> Result<Vec<Point>, Failure> {
    let mut keeper = Keeper::start(&setting.fake_qemu)?;
    let mut kept = 0;
    let point = |&count: &u32| {
        keeper.launch(count - kept)?;
        kept = count;
        Ok(Point {
            size: f64::from(count),
            values: vec![keeper.grown_bytes()? / f64::from(count)],
        })
    };
    counts(setting).iter().map(point).collect()
}

/// Results with this number of machines alive. The unit is seconds, unless the
/// name has another.
#[derive(Default)]
struct Figures {
    launch: f64,
    shutdown: f64,
    round_trip: f64,
    idle: f64,
}

fn builder(setting: &Setting) -> MachineBuilder {
    // The caller keeps the guest paused, so a launch sends no more than the floor.
    Machine::builder(&setting.fake_qemu)
        .arg("-preconfig")
        .args(["-fake-script", "greet\nnegotiate\nserve"])
}

/// The same as [`crowd`], without the library.
fn bare_crowd(setting: &Setting) -> Result<Vec<Figures>, Failure> {
    let words = words(&builder(setting))?;
    let (mut machines, mut all) = (Vec::new(), Vec::new());
    for &count in counts(setting) {
        let begun = Instant::now();
        let added = f64::from(count) - f64::from(u32::try_from(machines.len())?);
        while machines.len() < count as usize {
            machines.push(Met::vforked(&words)?);
        }
        all.push(Figures {
            launch: begun.elapsed().as_secs_f64() / added,
            ..Figures::default()
        });
    }
    shrink(setting, &mut all, machines, Met::quit)?;
    Ok(all)
}

/// Ends the machines that each size has added, and measures the time.
fn shrink<M>(
    setting: &Setting,
    all: &mut [Figures],
    mut machines: Vec<M>,
    end: impl Fn(M) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let smaller = [&[0], counts(setting)].concat();
    for (figures, &down_to) in all.iter_mut().zip(&smaller).rev() {
        let begun = Instant::now();
        let ended = machines.split_off(down_to as usize);
        let count = f64::from(u32::try_from(ended.len())?);
        for machine in ended {
            end(machine)?;
        }
        figures.shutdown = begun.elapsed().as_secs_f64() / count;
    }
    Ok(())
}

/// Goes up through all sizes, and down again.
fn crowd(setting: &Setting) -> Result<Vec<Figures>, Failure> {
    let builder = builder(setting);
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
            machines[0]
                .monitor()
                .execute_json("query-status", ())
                .wait()?;
        }
        let round_trip = begun.elapsed().as_secs_f64() / f64::from(trips);
        let idle_for = setting.size(Duration::from_secs(1), Duration::from_millis(20));
        let cpu_begun = cpu_seconds();
        // The measurement is what happens in this time, so it only passes.
        std::thread::sleep(idle_for);
        let idle = (cpu_seconds() - cpu_begun) / idle_for.as_secs_f64();
        all.push(Figures {
            launch,
            shutdown: 0.0,
            round_trip,
            idle: idle.max(CLOCK),
        });
    }
    shrink(setting, &mut all, machines, |machine| {
        machine.shutdown().wait()?;
        Ok(())
    })?;
    Ok(all)
}

const ROWS: [&str; 4] = [
    "machines",
    "machines/round-trip",
    "machines/memory",
    "machines/idle",
];
const FLOOR_LAUNCH: &str = "floor, launch";
const FLOOR_SHUTDOWN: &str = "floor, shutdown";
const LAUNCH: &str = "ours, launch";
const SHUTDOWN: &str = "ours, shutdown";
const ROUND_TRIP: &str = "ours, .wait()";
const MEMORY: &str = "ours, memory";
const IDLE: &str = "ours, idle";
/// A smaller value is less than the cost of the measurement.
const CLOCK: f64 = 100e-6;
