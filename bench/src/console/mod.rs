//! A console, against the plainest that could stand in its place.

mod flood;
mod latency;

use std::cell::Cell;

use flood::{Drain, Source};

use crate::Failure;
use crate::operation::{Bar, Limit, Measured, Operation, Unit};
use crate::setting::Setting;
use crate::turns::{Contender, in_turns};

pub(crate) fn measure(setting: &Setting) -> Result<Vec<Operation>, Failure> {
    let mut operations = Vec::new();
    if setting.wants("console-flood") {
        let bytes = setting.size(256 << 20, 1 << 20);
        let socket = Source::Socket {
            program: setting.fake_qemu.clone(),
            bytes,
        };
        let name = format!("a console drained, {} MiB through a socket", bytes >> 20);
        let rounds = setting.size(9, 1);
        operations.extend(flood("console-flood", name, &socket, rounds)?);
    }
    if setting.wants("guest-flood") {
        let bytes = setting.size(200_000, 10_000);
        let guest = Source::Guest {
            program: setting.qemu.clone(),
            bytes,
        };
        let name = format!("a console drained, {} kB said by a guest", bytes / 1000);
        let rounds = setting.size(9, 1);
        operations.extend(flood("guest-flood", name, &guest, rounds)?);
    }
    if setting.wants("console-byte") {
        operations.push(latency::measure(
            &setting.fake_qemu,
            setting.size(1000, 10),
        )?);
    }
    Ok(operations)
}

fn flood(
    id: &'static str,
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
    let bar = |drain: Drain, least, of: Drain| Bar {
        who: drain.name(),
        limit: Limit::RatioAtLeast(least, of.name()),
    };
    let rates = Operation {
        id,
        name,
        unit: Unit::BytesPerSecond,
        contenders: in_turns(rounds, Vec::from(contenders))?,
        bars: vec![
            bar(Drain::Plain, 0.8, Drain::Cat),
            bar(Drain::Logged, 0.8, Drain::CatToFile),
            bar(Drain::Searched, 0.5, Drain::Plain),
        ],
    };
    let memory = Operation {
        id,
        name: "the memory it takes at most, of which the ring is 1 MiB".into(),
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

const MOST_GROWTH_BYTES: f64 = 8.0 * 1024.0 * 1024.0;
