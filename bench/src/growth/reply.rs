//! Replies, and how long they are.

use std::io::{BufRead, BufReader, Write};
use std::time::Instant;

use qemu_machine::Wait;
use serde_json::Value;

use super::peer::{self, Answers, Session};
use super::{beside, sizes};
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
    let line = |who, value: fn(usize) -> Vec<u8>, asked: Asked| {
        let point = |size| point(value(size), asked, setting);
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
                piece that arrives would rise instead. The floors read the line from the socket \
                into new memory, and have `serde_json` make the same value of it."
            .into(),
        grows: "bytes of the reply",
        sizes: Unit::Bytes,
        unit: Unit::Seconds,
        lines: vec![
            line(FLOOR_TEXT, text, bare)?,
            line(TEXT, text, ours)?,
            line(FLOOR_LIST, list, bare)?,
            line(LIST, list, ours)?,
        ],
        bars: vec![beside(TEXT, FLOOR_TEXT), beside(LIST, FLOOR_LIST)],
    }])
}

/// Opens a session and gives what asks once in it.
type Asked = fn(Answers) -> Result<Box<dyn FnMut() -> Result<Value, Failure>>, Failure>;

fn ours(answers: Answers) -> Result<Box<dyn FnMut() -> Result<Value, Failure>>, Failure> {
    let session = Session::open(answers)?;
    Ok(Box::new(move || {
        Ok(session.client.execute_json("say-much", ()).wait()?)
    }))
}

fn bare(answers: Answers) -> Result<Box<dyn FnMut() -> Result<Value, Failure>>, Failure> {
    let mut replies = BufReader::new(peer::start(answers)?);
    let mut ask = move |command: &str| -> Result<Vec<u8>, Failure> {
        replies.get_mut().write_all(command.as_bytes())?;
        let mut line = Vec::new();
        replies.read_until(b'\n', &mut line)?;
        Ok(line)
    };
    // The greeting is what comes first, and the reply of the negotiation next.
    ask("{\"execute\": \"qmp_capabilities\", \"id\": 0}\n")?;
    ask("")?;
    Ok(Box::new(move || {
        let line = ask("{\"execute\": \"say-much\", \"id\": 1}\n")?;
        let mut reply: Value = serde_json::from_slice(&line)?;
        Ok(reply["return"].take())
    }))
}

fn point(value: Vec<u8>, asked: Asked, setting: &Setting) -> Result<Point, Failure> {
    // Some 64 MiB in all, but no more often than is good for a median.
    let rounds = ((64 << 20) / value.len()).clamp(5, 200);
    let bytes = f64::from(u32::try_from(value.len())?);
    let mut ask = asked(Answers {
        at_once: 1,
        return_value: value,
        before: Vec::new(),
    })?;
    let mut round = || {
        let begun = Instant::now();
        let reply = ask()?;
        let seconds = begun.elapsed().as_secs_f64();
        drop(reply);
        Ok::<_, Failure>(seconds / bytes)
    };
    round()?;
    let values: Result<_, Failure> = (0..setting.size(rounds, 1)).map(|_| round()).collect();
    Ok(Point {
        size: bytes,
        values: values?,
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
const FLOOR_TEXT: &str = "floor, a text";
const TEXT: &str = "ours, a text";
const FLOOR_LIST: &str = "floor, a list of objects";
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
