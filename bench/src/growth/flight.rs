//! The cost of a command, by the number of commands in flight.

use std::future::IntoFuture;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use qemu_machine::Wait;
use qemu_machine::qmp::Client;

use super::peer::{Answers, Session};
use super::{counts, level};
use crate::Failure;
use crate::curve::{Curve, Line, Point};
use crate::operation::{OURS, Unit};
use crate::setting::Setting;
use crate::topic::Topic;

pub(super) const TOPIC: Topic<Curve> = Topic {
    rows: &[ID],
    measure,
};

fn measure(setting: &Setting) -> Result<Vec<Curve>, Failure> {
    if !setting.wants(ID) {
        return Ok(Vec::new());
    }
    let commands = setting.size(10_000, 8);
    let counts = counts(setting);
    let open = |&count: &u32| {
        Session::open(Answers {
            at_once: count as usize,
            return_value: b"{}".into(),
            before: Vec::new(),
        })
    };
    let sessions: Vec<Session> = counts.iter().map(open).collect::<Result<_, _>>()?;
    let point = |&count: &u32| Point {
        size: f64::from(count),
        values: Vec::new(),
    };
    let mut points: Vec<Point> = counts.iter().map(point).collect();
    // All sizes take turns in each round, so that a slow moment of the host
    // affects all of them. The first round does not count.
    for round in 0..=setting.size(15, 1) {
        for ((&count, session), point) in counts.iter().zip(&sessions).zip(&mut points) {
            let seconds = flights(&session.client, count, commands)?;
            if round > 0 {
                point.values.push(seconds);
            }
        }
    }
    for session in sessions {
        session.close()?;
    }
    Ok(vec![Curve {
        id: ID,
        name: "a command among many that wait for their replies".into(),
        about: "All commands are sent on one monitor before the first is answered. Then all are \
                answered, the last one first. The time from the first command to the last reply, \
                per command. A single command costs most, because it pays for the whole round trip."
            .into(),
        grows: "commands in flight",
        sizes: Unit::Count,
        unit: Unit::Seconds,
        lines: vec![Line { who: OURS, points }],
        bars: level(&[OURS]),
    }])
}

/// The number of repeats is chosen so that at least this many commands run.
fn flights(client: &Client, count: u32, commands: u32) -> Result<f64, Failure> {
    let times = commands.div_ceil(count);
    let begun = Instant::now();
    for _ in 0..times {
        let mut flying = Vec::new();
        for _ in 0..count {
            let mut command = client.execute_json("answer-late", ()).into_future();
            // The first poll sends.
            let sent = command
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()));
            match sent {
                Poll::Pending => flying.push(command),
                // The last one may already be answered.
                Poll::Ready(answer) => drop(answer?),
            }
        }
        for command in flying {
            command.wait()?;
        }
    }
    Ok(begun.elapsed().as_secs_f64() / f64::from(times) / f64::from(count))
}

const ID: &str = "flights";
