//! A console, compared with the simplest program for the same work.

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
        let name = format!("a console drained, {} kB from a guest", bytes / 1000);
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
    // Depending on how QEMU's writes meet the reader, a guest is sometimes fifty
    // times as fast. A ratio of two of our own rounds would be chance.
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
        about: "From the command that starts the flood to the end of the machine. *Drained*: the \
                console only fills its ring of 1 MiB. *Logged*: it also writes a log. *Searched*: \
                a search runs that finds nothing. *Past noise*: the search also ignores escape \
                sequences and kernel lines. *With screen*: it also keeps a terminal's screen. The \
                floor is `cat` on the same socket, to `/dev/null` or to a file."
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
        name: "the most memory that the same flood takes".into(),
        about: "The largest growth of the process's resident memory in any round of the row \
                above. The ring takes 1 MiB of it."
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
