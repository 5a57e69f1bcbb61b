//! Replies, and how long they are.

use std::time::Instant;

use qemu_machine::Wait;

use super::peer::{Answers, Session};
use super::{level, sizes};
use crate::Failure;
use crate::curve::{Curve, Line, Point};
use crate::operation::Unit;
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
    let line = |who, value: fn(usize) -> Vec<u8>| {
        let point = |size| point(value(size), setting);
        let points: Result<_, Failure> = sizes(setting).into_iter().map(point).collect();
        Ok::<_, Failure>(Line {
            who,
            points: points?,
        })
    };
    Ok(vec![Curve {
        id: ID,
        name: "a long reply, per byte".into(),
        about: "From the command to its return value as a `serde_json::Value`: one long text, or \
                a list of small objects. What every command costs is shared by the bytes, so the \
                small ones are dear; a long line that were searched or copied again for each \
                piece that arrives would rise instead."
            .into(),
        grows: "bytes of the reply",
        sizes: Unit::Bytes,
        unit: Unit::Seconds,
        lines: vec![line(TEXT, text)?, line(LIST, list)?],
        bars: level(&[TEXT, LIST]),
    }])
}

fn point(value: Vec<u8>, setting: &Setting) -> Result<Point, Failure> {
    // Some 64 MiB in all, but no more often than is good for a median.
    let rounds = ((64 << 20) / value.len()).clamp(5, 200);
    let bytes = f64::from(u32::try_from(value.len())?);
    let session = Session::open(Answers {
        at_once: 1,
        return_value: value,
        before: Vec::new(),
    })?;
    let round = || {
        let begun = Instant::now();
        let reply = session.client.execute_json("say-much", ()).wait()?;
        let seconds = begun.elapsed().as_secs_f64();
        drop(reply);
        Ok::<_, Failure>(seconds / bytes)
    };
    round()?;
    let values: Result<_, Failure> = (0..setting.size(rounds, 1)).map(|_| round()).collect();
    let values = values?;
    session.close()?;
    Ok(Point {
        size: bytes,
        values,
    })
}

fn text(bytes: usize) -> Vec<u8> {
    let text = "x".repeat(bytes - 2);
    format!("\"{text}\"").into()
}

fn list(bytes: usize) -> Vec<u8> {
    let mut list = b"[".to_vec();
    while list.len() + OBJECT.len() + 1 < bytes {
        list.extend_from_slice(OBJECT);
        list.push(b',');
    }
    // What is left becomes blanks, so that the sizes are those of the text.
    list.pop();
    list.resize(bytes - 1, b' ');
    list.push(b']');
    list
}

const ID: &str = "replies";
const TEXT: &str = "ours, a text";
const LIST: &str = "ours, a list of objects";
const OBJECT: &[u8] = br#"{"name": "device", "id": 7, "present": true}"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_replies_are_json_of_the_size_that_is_wanted() {
        for bytes in [1024, 65536] {
            for value in [text(bytes), list(bytes)] {
                assert_eq!(value.len(), bytes);
                serde_json::from_slice::<serde_json::Value>(&value).unwrap();
            }
        }
    }
}
