//! Machines, and how many are alive.

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
            "a machine more, and one less, among many",
            "Scripted peers are launched one after the other until so many are alive, and later \
             ended again. The time of each that was added, and that was ended, since the size \
             before. The floor is the same by bare calls, which keep a process and a socket each.",
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
            "On one of them, while all others are alive.",
            Unit::Seconds,
            vec![line(ROUND_TRIP, |figures| figures.round_trip)],
            level(&[ROUND_TRIP]),
        ),
        curve(
            2,
            "memory for a machine among many",
            "Of a process that launches so many, with a console each: by how much the memory grew \
             that is its own (`Private_Dirty`), after one machine that does not count.",
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
            "What all threads of this process took in a second in which nobody did anything, for \
             all machines together; the reading of the clock is in it.",
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

/// With so many machines alive. Seconds, if nothing else is said.
#[derive(Default)]
struct Figures {
    launch: f64,
    shutdown: f64,
    round_trip: f64,
    idle: f64,
}

fn builder(setting: &Setting) -> MachineBuilder {
    // Its caller holds the guest, so a launch sends no more than the floor does.
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

/// Ends those that each size has added, and times that.
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

/// Grows through all sizes, and shrinks again.
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
        // Nothing is waited for: the time itself is what is measured.
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
/// Less than the measurement itself takes says nothing.
const CLOCK: f64 = 100e-6;
