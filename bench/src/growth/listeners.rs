//! The cost of an event, by the number of listeners.

use std::collections::VecDeque;
use std::io::{BufRead, Write};
use std::sync::Arc;
use std::time::Instant;

use qemu_machine::Wait;

use super::peer::{self, Answers, Session};
use super::{beside, counts};
use crate::Failure;
use crate::curve::{Curve, Line, Point};
use crate::operation::{FLOOR, OURS, Unit};
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
    let deliveries = setting.size(20_000, 40);
    let (mut floors, mut ours) = (Vec::new(), Vec::new());
    for &count in counts(setting) {
        let events = deliveries / count;
        let (mut floor, mut our) = (Vec::new(), Vec::new());
        for _ in 0..setting.size(9, 1) {
            floor.push(bare_round(events, count)?);
            our.push(round(events, count)?);
        }
        let size = f64::from(count);
        let point = |values| Point { size, values };
        floors.push(point(floor));
        ours.push(point(our));
    }
    Ok(vec![Curve {
        id: ID,
        name: "an event through many listeners, per listener".into(),
        about: format!(
            "A monitor sends events at once; all listeners together take {deliveries}. Each listener \
             takes every event from its own queue. The time from the command that causes them to the \
             last event of the last listener, per event taken. The floor is one thread. It reads the \
             lines, puts a handle of each event into every queue, and then takes all from each queue."
        ),
        grows: "listeners",
        sizes: Unit::Count,
        unit: Unit::Seconds,
        lines: vec![
            Line {
                who: FLOOR,
                points: floors,
            },
            Line {
                who: OURS,
                points: ours,
            },
        ],
        bars: vec![beside(OURS, FLOOR)],
    }])
}

fn answers(events: u32) -> Answers {
    Answers {
        at_once: 1,
        return_value: b"{}".into(),
        before: EVENT.repeat(events as usize),
    }
}

fn bare_round(events: u32, listeners: u32) -> Result<f64, Failure> {
    let mut replies = peer::meet(answers(events), 64 << 10)?;
    let mut line = Vec::new();
    let mut queues = vec![VecDeque::new(); listeners as usize];
    let begun = Instant::now();
    let cause = b"{\"execute\":\"cause\",\"id\":2}\n";
    replies.get_mut().write_all(cause)?;
    for _ in 0..events {
        line.clear();
        replies.read_until(b'\n', &mut line)?;
        let event: Arc<[u8]> = line.as_slice().into();
        for queue in &mut queues {
            queue.push_back(Arc::clone(&event));
        }
    }
    replies.read_until(b'\n', &mut line)?;
    for queue in &mut queues {
        std::hint::black_box(std::mem::take(queue));
    }
    Ok(begun.elapsed().as_secs_f64() / f64::from(events) / f64::from(listeners))
}

fn round(events: u32, listeners: u32) -> Result<f64, Failure> {
    let session = Session::open(answers(events))?;
    let mut listening: Vec<_> = (0..listeners).map(|_| session.client.events()).collect();
    let begun = Instant::now();
    session.client.execute_json("cause", ()).wait()?;
    for listener in &mut listening {
        // The events came before the reply.
        let taken = listener.take_all().len();
        if taken != events as usize {
            return Err(format!("only {taken} of {events} events arrived").into());
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    drop(listening);
    session.close()?;
    Ok(seconds / f64::from(events) / f64::from(listeners))
}

const ID: &str = "listeners";
const EVENT: &[u8] = b"{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, \"event\": \
                       \"JOB_STATUS_CHANGE\", \"data\": {\"id\": \"job0\", \"status\": \
                       \"running\"}}\r\n";
