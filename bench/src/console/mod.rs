//! A console, against the plainest that could stand in its place.

mod flood;
mod latency;

use std::cell::Cell;

pub(crate) use flood::resident_kib;
use flood::{Drain, Source};

use crate::Failure;
use crate::operation::{Bar, Limit, Measured, Operation, Unit};
use crate::setting::Setting;
use crate::topic::Topic;
use crate::turns::{Contender, in_turns};

pub(crate) const TOPIC: Topic = Topic {
    rows: &[
        SOCKET_FLOOD[0],
        SOCKET_FLOOD[1],
        GUEST_FLOOD[0],
        GUEST_FLOOD[1],
        latency::ID,
    ],
    measure,
};

fn measure(setting: &Setting) -> Result<Vec<Operation>, Failure> {
    let mut operations = Vec::new();
    if setting.wants(SOCKET_FLOOD[0]) {
        let bytes = setting.size(256 << 20, 1 << 20);
        let socket = Source::Socket {
            program: setting.fake_qemu.clone(),
            bytes,
        };
        let name = format!("a console drained, {} MiB through a socket", bytes >> 20);
        let rounds = setting.size(9, 1);
        operations.extend(flood(SOCKET_FLOOD, name, &socket, rounds)?);
    }
    if setting.wants(GUEST_FLOOD[0]) {
        let bytes = setting.size(200_000, 10_000);
        let guest = Source::Guest {
            program: setting.qemu.clone(),
            bytes,
        };
        let name = format!("a console drained, {} kB said by a guest", bytes / 1000);
        let rounds = setting.size(9, 1);
        operations.extend(flood(GUEST_FLOOD, name, &guest, rounds)?);
    }
    if setting.wants(latency::ID) {
        operations.push(latency::measure(
            &setting.fake_qemu,
            setting.size(1000, 10),
        )?);
    }
    Ok(operations)
}

fn flood(
    [id, memory_id]: [&'static str; 2],
    name: String,
    source: &Source,
    rounds: usize,
) -> Result<[Operation; 2], Failure> {
    let grown = Cell::new(0.0_f64);
    let contenders = Drain::ALL.map(|drain| {
        let grown = &grown;
        Contender::new(drain.name(), move || {
            let run = source.run(drain)?;
            grown.set(grown.get().max(run.grown_bytes));
            Ok(run.bytes_per_second)
        })
    });
    // By how a QEMU's words meet who reads, a guest is at times fifty times as
    // fast as it is at others: what one round of ours says of another is chance.
    let searched_beside = match source {
        Source::Socket { .. } => Drain::Plain,
        Source::Guest { .. } => Drain::Cat,
    };
    let bar = |drain: Drain, least, of: Drain| Bar {
        who: drain.name(),
        limit: Limit::RatioAtLeast(least, of.name()),
    };
    let rates = Operation {
        id,
        name,
        about: "From the word that begins the flood to the end of the machine, with the console \
                only drained into its ring of 1 MiB, with a log, with a search that finds \
                nothing, with one that also looks past escape sequences and a kernel's lines, \
                and with a terminal's screen kept. The floor is `cat` on the same socket, to \
                nowhere or into a file."
            .into(),
        unit: Unit::BytesPerSecond,
        contenders: in_turns(rounds, Vec::from(contenders))?,
        bars: vec![
            bar(Drain::Plain, 0.8, Drain::Cat),
            bar(Drain::Logged, 0.8, Drain::CatToFile),
            bar(Drain::Searched, 0.5, searched_beside),
        ],
    };
    let memory = Operation {
        id: memory_id,
        name: "the memory that the same flood takes at most".into(),
        about: "By how much the resident memory of the whole process grew, at most, in any round \
                of the row above; 1 MiB of it is the ring."
            .into(),
        unit: Unit::Bytes,
        contenders: vec![Measured {
            who: crate::operation::OURS,
            values: vec![grown.get()],
        }],
        bars: vec![Bar {
            who: crate::operation::OURS,
            limit: Limit::AtMost(MOST_GROWTH_BYTES),
        }],
    };
    Ok([rates, memory])
}

const SOCKET_FLOOD: [&str; 2] = ["console-flood", "console-flood/memory"];
const GUEST_FLOOD: [&str; 2] = ["guest-flood", "guest-flood/memory"];
const MOST_GROWTH_BYTES: f64 = 8.0 * 1024.0 * 1024.0;
