//! Templates and clones of a Linux guest, compared with its boot, and with a
//! QEMU that has no guest. On the newest QEMU and on the oldest.

mod guest;
mod many;
mod suite;

use std::time::Instant;

use qemu_machine::{MachineBuilder, Wait};

use crate::Failure;
use crate::operation::{self, Bar, Limit, Measured, Operation, Unit};
use crate::setting::Setting;
use crate::topic::Topic;
use crate::turns::{Contender, in_turns};
use guest::{Guest, Life, answer, own_bytes, pool, without_guest};

pub(crate) const TOPIC: Topic = Topic {
    rows: &[
        FREEZE,
        CLONE,
        ANSWER,
        POOL,
        MEMORY,
        suite::ROWS[0],
        suite::ROWS[1],
        many::ROWS[0],
        many::ROWS[1],
        many::ROWS[2],
    ],
    measure,
};

fn measure(setting: &Setting) -> Result<Vec<Operation>, Failure> {
    let of_guests = [FREEZE, CLONE, ANSWER, POOL, MEMORY];
    let mut operations = Vec::new();
    if of_guests.iter().any(|id| setting.wants(id)) {
        let guests = Guest::of_each_qemu(setting)?;
        let rows: [(_, Row); 5] = [
            (FREEZE, |_, guests| Ok(freeze(guests))),
            (CLONE, clone),
            (ANSWER, |_, guests| Ok(first_answer(guests))),
            (POOL, pooled),
            (MEMORY, memory),
        ];
        for (id, row) in rows {
            if setting.wants(id) {
                operations.push(row(setting, &guests)?);
            }
        }
    }
    if setting.wants(suite::ROWS[0]) {
        operations.extend(suite::measure(setting)?);
    }
    if setting.wants(many::ROWS[0]) {
        operations.extend(many::one_by_one(setting)?);
    }
    if setting.wants(many::ROWS[2]) {
        operations.push(many::alive(setting)?);
    }
    Ok(operations)
}

type Row = fn(&Setting, &[Guest]) -> Result<Operation, Failure>;

fn freeze(guests: &[Guest]) -> Operation {
    Operation {
        id: FREEZE,
        name: "`freeze` of a Linux guest".into(),
        about: "From a guest of 256 MiB at its shell prompt to its template: it is paused, its \
                devices are saved, and its QEMU ends. It has no disk. *Oldest*: the same with the \
                oldest QEMU, here and in the rows below."
            .into(),
        unit: Unit::Seconds,
        contenders: of_lives(guests, OURS, |life| life.freeze).collect(),
        bars: at_most(0.050, guests),
    }
}

fn clone(setting: &Setting, guests: &[Guest]) -> Result<Operation, Failure> {
    let floors = both(guests, FLOORS, |it| launched(|| without_guest(&it.qemu)));
    let ours = both(guests, OURS, |it| launched(|| it.template.machine()));
    let compressed = both(guests, COMPRESSED, |it| {
        launched(|| it.compressed.machine())
    });
    Ok(Operation {
        id: CLONE,
        name: "a clone, from nothing to running".into(),
        about:
            "The launch of a clone of that guest, until the guest runs. The floor is the launch \
                by the library of a machine with the same memory, whose guest does not run (`-S`). \
                *Compressed*: the kernel is a `vmlinuz` of 14 MB. Each launch of QEMU reads it into \
                memory, for a later reset. The kernel of the others is the same, as a `vmlinux`, \
                which QEMU maps."
                .into(),
        unit: Unit::Seconds,
        contenders: in_turns(
            setting.size(60, 1),
            floors.chain(ours).chain(compressed).collect(),
        )?,
        bars: [
            beside_floors(OURS, 1.3, guests),
            beside_floors(COMPRESSED, 1.5, guests),
        ]
        .concat(),
    })
}

/// The time of the launch of this machine, which then ends.
fn launched(describe: impl FnOnce() -> MachineBuilder) -> Result<f64, Failure> {
    let begun = Instant::now();
    let vm = describe().launch().wait()?;
    let time = begun.elapsed().as_secs_f64();
    vm.kill().wait()?;
    Ok(time)
}

fn first_answer(guests: &[Guest]) -> Operation {
    let boots = of_lives(guests, FLOORS, |life| life.boot);
    let clones = of_lives(guests, OURS, |life| life.clone);
    Operation {
        id: ANSWER,
        name: "a clone, from nothing to its first answer".into(),
        about:
            "From the launch of a clone to the end of its first command in the console's shell. \
                The floor boots the same guest instead, up to the end of the same command."
                .into(),
        unit: Unit::Seconds,
        contenders: boots.chain(clones).collect(),
        bars: beside_floors(OURS, 0.10, guests),
    }
}

fn pooled(setting: &Setting, guests: &[Guest]) -> Result<Operation, Failure> {
    let pools = guests.iter().map(pool).collect::<Result<Vec<_>, _>>()?;
    let contenders = both(&pools, OURS, |pool| {
        if pool.wait_until_filled().wait() == 0 {
            return Err("the pool has no clone that is ready".into());
        }
        let begun = Instant::now();
        let vm = pool.take().wait()?;
        answer(&vm)?;
        let time = begun.elapsed().as_secs_f64();
        vm.kill().wait()?;
        pool.wait_until_filled().wait();
        Ok(time)
    });
    Ok(Operation {
        id: POOL,
        name: "a clone of a pool, from `take` to its first answer".into(),
        about: "A pool has clones that have run a command in the console's shell. From `take` to \
                the end of the same command. The pool is full then; from the `take` on it makes \
                another clone beside that."
            .into(),
        unit: Unit::Seconds,
        contenders: in_turns(setting.size(30, 1), contenders.collect())?,
        bars: at_most(0.020, guests),
    })
}

fn memory(setting: &Setting, guests: &[Guest]) -> Result<Operation, Failure> {
    let floors = both(guests, FLOORS, |guest| {
        let vm = without_guest(&guest.qemu).launch().wait()?;
        own_bytes(&vm)
    });
    let ours = both(guests, OURS, |guest| {
        let vm = guest.template.machine().launch().wait()?;
        answer(&vm)?;
        own_bytes(&vm)
    });
    Ok(Operation {
        id: MEMORY,
        name: "the memory of a clone after one command".into(),
        about: "The memory of the QEMU of a clone of 256 MiB after its first command, without the \
                pages of the template (`Anonymous` of proc(5)). The floor is the same of a machine whose guest does not run: QEMU's \
                part of it."
            .into(),
        unit: Unit::Bytes,
        contenders: in_turns(setting.size(7, 1), floors.chain(ours).collect())?,
        bars: at_most(48.0 * 1024.0 * 1024.0, guests),
    })
}

/// A contender for each guest or pool: the newest QEMU first.
fn both<'a, T>(
    of: &'a [T],
    names: [&'static str; 2],
    round: fn(&T) -> Result<f64, Failure>,
) -> impl Iterator<Item = Contender<'a>> {
    let pairs = names.into_iter().zip(of);
    pairs.map(move |(who, of)| Contender::new(who, move || round(of)))
}

/// The times of the boots, freezes and first clones.
fn of_lives(
    guests: &[Guest],
    names: [&'static str; 2],
    time: fn(&Life) -> f64,
) -> impl Iterator<Item = Measured> {
    let pairs = names.into_iter().zip(guests);
    pairs.map(move |(who, guest)| Measured {
        who,
        values: guest.lives.iter().map(time).collect(),
    })
}

fn at_most(limit: f64, guests: &[Guest]) -> Vec<Bar> {
    let limit = Limit::AtMost(limit);
    let bars = OURS.into_iter().zip(guests);
    bars.map(|(who, _)| Bar { who, limit }).collect()
}

/// A bar for each of these.
fn each_at_most(measured: &[Measured], limit: f64) -> Vec<Bar> {
    let limit = Limit::AtMost(limit);
    let bars = measured.iter().map(|it| Bar { who: it.who, limit });
    bars.collect()
}

/// Each beside the floor of the same QEMU.
fn beside_floors(names: [&'static str; 2], limit: f64, guests: &[Guest]) -> Vec<Bar> {
    let pairs = names.into_iter().zip(FLOORS).zip(guests);
    let bar = |((who, floor), _)| Bar {
        who,
        limit: Limit::RatioAtMost(limit, floor),
    };
    pairs.map(bar).collect()
}

/// The newest QEMU, and the oldest.
const OURS: [&str; 2] = [operation::OURS, "ours, oldest"];
const FLOORS: [&str; 2] = [operation::FLOOR, "floor, oldest"];

const COMPRESSED: [&str; 2] = ["ours, compressed", "ours, compressed, oldest"];

const FREEZE: &str = "template-freeze";
const CLONE: &str = "template-clone";
const ANSWER: &str = "template-answer";
const POOL: &str = "template-pool";
const MEMORY: &str = "template-memory";
