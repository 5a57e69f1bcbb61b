//! Events, and how many listen.

use std::time::Instant;

use qemu_machine::Wait;

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
    let deliveries = setting.size(20_000, 40);
    let point = |&count: &u32| {
        let values = (0..setting.size(9, 1)).map(|_| round(deliveries / count, count));
        Ok(Point {
            size: f64::from(count),
            values: values.collect::<Result<_, _>>()?,
        })
    };
    let points: Result<_, Failure> = counts(setting).iter().map(point).collect();
    Ok(vec![Curve {
        id: ID,
        name: "an event through many listeners, per listener".into(),
        about: format!(
            "A monitor sends events, as many as makes {deliveries} with so many listeners, at \
             once; each listener takes all of them from its own queue. The time from the command \
             that causes them to the last listener's last event, divided by all that were taken."
        ),
        grows: "listeners",
        sizes: Unit::Count,
        unit: Unit::Seconds,
        lines: vec![Line {
            who: OURS,
            points: points?,
        }],
        bars: level(&[OURS]),
    }])
}

fn round(events: u32, listeners: u32) -> Result<f64, Failure> {
    let session = Session::open(Answers {
        at_once: 1,
        return_value: b"{}".into(),
        before: EVENT.repeat(events as usize),
    })?;
    let mut listening: Vec<_> = (0..listeners).map(|_| session.client.events()).collect();
    let begun = Instant::now();
    session.client.execute_json("cause", ()).wait()?;
    for listener in &mut listening {
        // The events came before the reply.
        let taken = listener.take_all().len();
        if taken != events as usize {
            return Err(format!("{taken} of {events} events were heard").into());
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
