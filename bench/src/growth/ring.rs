//! The cost of a console's ring, by its size.

use std::path::Path;
use std::time::Instant;

use qemu_machine::{Console, Machine, Wait};

use super::{level, sizes};
use crate::Failure;
use crate::console::resident_kib;
use crate::curve::{Curve, Line, Point};
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
    let mut measured: [Vec<Point>; 5] = Default::default();
    for bytes in sizes(setting) {
        let rounds = setting.size(5, 1);
        let runs = (0..rounds).map(|_| Run::of(&setting.fake_qemu, bytes));
        let runs = runs.collect::<Result<Vec<_>, _>>()?;
        let size = f64::from(u32::try_from(bytes)?);
        let figures: [fn(&Run, f64) -> f64; 5] = [
            |run, size| run.drained / size,
            |run, size| run.copied / size,
            |run, size| run.searched / size,
            |run, size| run.held_bytes / size,
            |run, _| run.exchanged,
        ];
        for (figure, points) in figures.into_iter().zip(&mut measured) {
            points.push(Point {
                size,
                values: runs.iter().map(|run| figure(run, size)).collect(),
            });
        }
    }
    let [drained, copied, searched, held, exchanged] = measured;
    Ok(vec![
        curve(
            0,
            "a full console's ring, per byte",
            "A console prints twice the size of its ring, and then one word. *Drained*: from the \
             command that starts it to the end of the machine. *Searched*: `expect` finds the last \
             word behind the full ring, and returns all text before it. *Copied*: the whole ring.",
            Unit::Seconds,
            vec![(DRAINED, drained), (SEARCHED, searched), (COPIED, copied)],
        ),
        curve(
            1,
            "the memory of a full ring, per byte of the ring",
            "The growth of this process's resident memory when the ring is full. It includes the \
             memory of a machine.",
            Unit::Bytes,
            vec![(HELD, held)],
        ),
        curve(
            2,
            "a byte to a console with a full ring, and its answer found",
            "Like [console-byte](#console-byte), with a full ring: the search reads only new bytes.",
            Unit::Seconds,
            vec![(EXCHANGED, exchanged)],
        ),
    ])
}

fn curve(
    row: usize,
    name: &str,
    about: &str,
    unit: Unit,
    lines: Vec<(&'static str, Vec<Point>)>,
) -> Curve {
    let names: Vec<_> = lines.iter().map(|(who, _)| *who).collect();
    let lines = lines.into_iter().map(|(who, points)| Line { who, points });
    Curve {
        id: ROWS[row],
        name: name.into(),
        about: about.into(),
        grows: "bytes of the ring",
        sizes: Unit::Bytes,
        unit,
        lines: lines.collect(),
        bars: level(&names),
    }
}

/// The unit is seconds, unless the name has another.
struct Run {
    drained: f64,
    copied: f64,
    searched: f64,
    held_bytes: f64,
    /// One of many.
    exchanged: f64,
}

impl Run {
    fn of(fake_qemu: &Path, bytes: usize) -> Result<Self, Failure> {
        let fill = format!(
            "greet\nnegotiate\nconsole-expect go\nconsole-fill {} x",
            2 * bytes
        );
        let launch = |script: String| {
            Machine::builder(fake_qemu)
                .args(["-fake-script", &script])
                .console(Console::serial().ring_bytes(bytes))
                .launch()
                .wait()
        };
        trim_heap();
        let before = resident_kib()?;
        let vm = launch(format!("{fill}\nconsole last\nexit 0"))?;
        let begun = Instant::now();
        vm.console().send("go").wait()?;
        vm.wait_for_exit().timeout(None).wait()?;
        let drained = seconds(begun);
        let held_bytes = grown_bytes(before)?;
        let begun = Instant::now();
        let kept = vm.console().tail();
        let copied = seconds(begun);
        let begun = Instant::now();
        let found = vm.console().expect("last").wait()?;
        let searched = seconds(begun);
        if kept.len() != bytes || found.before.len() + found.matched().len() != bytes {
            return Err("the ring was not full".into());
        }
        drop((kept, found));

        let answers = format!("repeat {EXCHANGES}\nconsole-expect a\nconsole b\nend");
        let vm = launch(format!("{fill}\nconsole last\n{answers}\nserve"))?;
        vm.console().send("go").wait()?;
        vm.console().expect("last").timeout(None).wait()?;
        let begun = Instant::now();
        for _ in 0..EXCHANGES {
            vm.console().send("a").wait()?;
            vm.console().expect("b").wait()?;
        }
        let exchanged = seconds(begun) / f64::from(EXCHANGES);
        vm.shutdown().wait()?;
        Ok(Self {
            drained,
            copied,
            searched,
            held_bytes,
            exchanged,
        })
    }
}

/// The growth of the resident memory since it had this size. A growth of less
/// than one request of the allocator does not count.
fn grown_bytes(before_kib: u32) -> Result<f64, Failure> {
    let grown_kib = resident_kib()?.saturating_sub(before_kib);
    Ok(f64::from(grown_kib.max(HEAP_STEP_KIB)) * 1024.0)
}

/// `M_TOP_PAD` of `mallopt(3)`, and a page.
const HEAP_STEP_KIB: u32 = 132;

fn seconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64()
}

const ROWS: [&str; 3] = ["rings", "rings/memory", "rings/exchange"];
const DRAINED: &str = "ours, drained";
const SEARCHED: &str = "ours, searched";
const COPIED: &str = "ours, copied";
const HELD: &str = "ours, memory";
const EXCHANGED: &str = "ours, .wait()";
const EXCHANGES: u32 = 100;
