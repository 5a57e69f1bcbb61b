//! Commands, and how many have no answer yet.

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
    // The numbers have turns in each round, so that a slow time of the host is
    // one for all. The first round is not counted.
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
        about: "So many commands are sent on one monitor before the first is answered; then all \
                are, the last one first. The time from the first command to the last reply, per \
                command. One alone costs most: it waits for its way there and back by itself."
            .into(),
        grows: "commands in flight",
        sizes: Unit::Count,
        unit: Unit::Seconds,
        lines: vec![Line { who: OURS, points }],
        bars: level(&[OURS]),
    }])
}

/// As often as makes at least so many commands.
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
                // The last one may be answered already.
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
