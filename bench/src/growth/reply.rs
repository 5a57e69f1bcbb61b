//! The cost of a reply, by its length.

use std::io::{BufRead, Write};
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
    let lines = |who: [&'static str; 2], value: fn(usize) -> Vec<u8>| {
        let mut lines = who.map(|who| Line {
            who,
            points: Vec::new(),
        });
        for size in sizes(setting) {
            for (line, point) in lines.iter_mut().zip(points(&value(size), setting)?) {
                line.points.push(point);
            }
        }
        Ok::<_, Failure>(lines)
    };
    let lines = [
        lines([FLOOR_TEXT, TEXT], text)?,
        lines([FLOOR_LIST, LIST], list)?,
    ];
    Ok(vec![Curve {
        id: ID,
        name: "a long reply, per byte".into(),
        about: "From the command to its return value as a `serde_json::Value`: one long text, or \
                a list of small objects. Small replies are expensive per byte, because of the \
                fixed cost of a command. The line would rise if the library searched or copied \
                old bytes again for each piece that arrives. The floors read the line from the \
                socket into new memory, and `serde_json` parses it into the same value."
            .into(),
        grows: "bytes of the reply",
        sizes: Unit::Bytes,
        unit: Unit::Seconds,
        lines: lines.into_iter().flatten().collect(),
        bars: vec![beside(TEXT, FLOOR_TEXT), beside(LIST, FLOOR_LIST)],
    }])
}

/// Asks once, in a new session.
type Ask = Box<dyn FnMut() -> Result<Value, Failure>>;

fn ours(answers: Answers) -> Result<Ask, Failure> {
    let session = Session::open(answers)?;
    Ok(Box::new(move || {
        Ok(session.client.execute_json("say-much", ()).wait()?)
    }))
}

fn bare(answers: Answers) -> Result<Ask, Failure> {
    let mut replies = peer::meet(answers, 8 << 10)?;
    Ok(Box::new(move || {
        let command = b"{\"execute\": \"say-much\", \"id\": 1}\n";
        replies.get_mut().write_all(command)?;
        let mut line = Vec::new();
        replies.read_until(b'\n', &mut line)?;
        let mut reply: Value = serde_json::from_slice(&line)?;
        Ok(reply["return"].take())
    }))
}

/// The floor and the library, in turns.
fn points(value: &[u8], setting: &Setting) -> Result<[Point; 2], Failure> {
    // About 64 MiB in total, with a limited number of repeats.
    let rounds = ((64 << 20) / value.len()).clamp(9, 200);
    let bytes = f64::from(u32::try_from(value.len())?);
    let answers = || Answers {
        at_once: 1,
        return_value: value.to_vec(),
        before: Vec::new(),
    };
    let mut asked = [bare(answers())?, ours(answers())?];
    let mut measured = [Vec::new(), Vec::new()];
    for ask in &mut asked {
        ask()?;
    }
    for _ in 0..setting.size(rounds, 1) {
        for (ask, values) in asked.iter_mut().zip(&mut measured) {
            let begun = Instant::now();
            let reply = ask()?;
            values.push(begun.elapsed().as_secs_f64() / bytes);
            drop(reply);
        }
    }
    Ok(measured.map(|values| Point {
        size: bytes,
        values,
    }))
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
    // The rest becomes blanks, so that the sizes are exact.
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
