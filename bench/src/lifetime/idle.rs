//! The cost of idle machines.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::worker::Worker;
use crate::operation::{Bar, Limit, Measured, OURS, Operation, Unit};
use crate::setting::Setting;
use crate::{Failure, sys};

pub(super) const ROWS: [&str; 2] = ["idle", "idle/memory"];

pub(super) fn measure(setting: &Setting) -> Result<[Operation; 2], Failure> {
    let machines: u32 = setting.size(300, 10);
    let seconds = setting.size(10, 1);
    let (mut used, mut grown) = (Vec::new(), Vec::new());
    for _ in 0..setting.size(3, 1) {
        let run = run(setting, machines, Duration::from_secs(seconds))?;
        used.push(run.processor_seconds);
        grown.push(run.bytes_each);
    }
    let bars = |limit| {
        vec![Bar {
            who: OURS,
            limit: Limit::AtMost(limit),
        }]
    };
    let ours = |values| vec![Measured { who: OURS, values }];
    Ok([
        Operation {
            id: ROWS[0],
            name: format!("{machines} machines idle for {seconds} s: our processor time"),
            about: "The processor time of all threads of a process in that time. Its machines are \
                    silent scripted peers with a drained console. The process itself waits."
                .into(),
            unit: Unit::Seconds,
            contenders: ours(used),
            bars: bars(0.0),
        },
        Operation {
            id: ROWS[1],
            name: format!("{machines} machines idle: our memory per machine"),
            about:
                "The growth of that process's private memory (`Private_Dirty`), per machine. The \
                    first machine does not count."
                    .into(),
            unit: Unit::Bytes,
            contenders: ours(grown),
            bars: bars(128.0 * 1024.0),
        },
    ])
}

struct Run {
    processor_seconds: f64,
    bytes_each: f64,
}

fn run(setting: &Setting, machines: u32, time: Duration) -> Result<Run, Failure> {
    let mut keeper = Keeper::start(&setting.fake_qemu)?;
    keeper.launch(machines)?;
    let bytes = keeper.grown_bytes()?;
    fall_asleep(&keeper.process)?;
    let begun = sys::processor_time(keeper.worker.id())?;
    // The measurement is the processor time while nothing happens.
    std::thread::sleep(time);
    let used = sys::processor_time(keeper.worker.id())?.saturating_sub(begun);
    Ok(Run {
        processor_seconds: used.as_secs_f64(),
        bytes_each: bytes / f64::from(machines),
    })
}

/// A process with machines. The first machine does not count.
pub(crate) struct Keeper {
    worker: Worker,
    /// The process's folder in `/proc`.
    process: PathBuf,
    before_kib: u32,
}

impl Keeper {
    pub(crate) fn start(fake_qemu: &Path) -> Result<Self, Failure> {
        let mut worker = Worker::keeper(fake_qemu)?;
        worker.ask("1")?;
        let process = PathBuf::from(format!("/proc/{}", worker.id()));
        let before_kib = private_kib(&process)?;
        Ok(Self {
            worker,
            process,
            before_kib,
        })
    }

    /// Launches this number of further machines.
    pub(crate) fn launch(&mut self, machines: u32) -> Result<(), Failure> {
        self.worker.ask(&machines.to_string()).map(drop)
    }

    /// The processor time of all threads so far.
    pub(crate) fn grown_bytes(&self) -> Result<f64, Failure> {
        let grown_kib = private_kib(&self.process)?.saturating_sub(self.before_kib);
        Ok(f64::from(grown_kib) * 1024.0)
    }
}

/// Waits until every thread of a process sleeps, including the answering one.
fn fall_asleep(process: &Path) -> Result<(), Failure> {
    loop {
        let mut awake = false;
        for thread in fs::read_dir(process.join("task"))? {
            let stat = fs::read_to_string(thread?.path().join("stat"))?;
            // The third field of proc_pid_stat(5), after the name.
            awake |= !stat
                .rsplit(')')
                .next()
                .unwrap_or_default()
                .starts_with(" S");
        }
        if !awake {
            return Ok(());
        }
        std::thread::yield_now();
    }
}

/// The memory that belongs to this process alone: `Private_Dirty` of `proc(5)`.
fn private_kib(process: &Path) -> Result<u32, Failure> {
    rollup_kib(process, "Private_Dirty:")
}

/// A size from the `smaps_rollup` of this folder in `/proc`.
pub(crate) fn rollup_kib(process: &Path, name: &str) -> Result<u32, Failure> {
    let text = std::fs::read_to_string(process.join("smaps_rollup"))?;
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(name));
    let kilobytes = value.and_then(|value| value.trim().strip_suffix(" kB"));
    Ok(kilobytes.ok_or(format!("no {name}"))?.trim().parse()?)
}
