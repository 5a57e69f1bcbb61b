//! Fuzzes the reader of a qtest channel.
#![allow(clippy::missing_panics_doc)]

use std::collections::BTreeSet;

use super::lines;
use super::wire::{Connection, Irq, Output, Reply};
use crate::fuzzing::CUTS;

/// Reads any stream. The result does not depend on how the stream is cut.
/// Replies reach the waiters in order. Every line keeps its meaning, and bytes
/// are read back as they were written.
///
/// The first byte of the input is the number of waiters.
pub fn qtest(input: &[u8]) {
    let Some((&waiters, stream)) = input.split_first() else {
        return;
    };
    let waiters = u32::from(waiters % 16);
    let whole = play(waiters, &CUTS[0](stream));
    for cut in &CUTS[1..] {
        assert_eq!(play(waiters, &cut(stream)), whole);
    }
    bytes_are_read_back(stream);
}

/// All outputs of a stream, as text.
fn play(waiters: u32, pieces: &[&[u8]]) -> Vec<String> {
    let mut connection = Connection::new(LIMIT_BYTES);
    (0..waiters).for_each(|waiter| connection.submit(waiter));
    let (mut told, mut raised, mut next) = (Vec::new(), BTreeSet::new(), 0);
    let (mut came, mut broken) = (Vec::new(), None);
    for piece in pieces {
        came.extend_from_slice(piece);
        let end = connection.receive(piece);
        while let Some(output) = connection.poll_output() {
            match output {
                Output::Reply { waiter, reply } => {
                    assert_eq!(waiter, next);
                    next += 1;
                    means_what_it_says(&reply);
                    told.push(reply.line);
                }
                Output::Irq(irq) => {
                    let Irq { line, raised: up } = irq;
                    let _ = if up {
                        raised.insert(line)
                    } else {
                        raised.remove(&line)
                    };
                    told.push(irq.to_string());
                }
            }
        }
        if let Err(error) = end {
            broken = Some(error.to_string());
            break;
        }
    }
    // The outputs are the lines of the stream, in order.
    let lines: Vec<&[u8]> = came.split(|&byte| byte == b'\n').collect();
    let mut pairs = told.iter().zip(&lines);
    assert!(pairs.all(|(told, line)| says(told, line)), "{told:?}");
    if broken.is_none() {
        assert_eq!(told.len(), lines.len() - 1);
        assert!(lines.iter().all(|line| line.len() <= LIMIT_BYTES));
    }
    let raised_now = |line: &u16| connection.is_raised(*line);
    assert!(raised.iter().all(raised_now));
    let left: Vec<u32> = connection.take_waiters().into();
    assert_eq!(left, (next..waiters).collect::<Vec<_>>());
    told.extend(broken);
    told
}

/// Whether an output shows its line, except for zeros before the number of an
/// interrupt.
fn says(told: &str, line: &[u8]) -> bool {
    let line = String::from_utf8_lossy(line);
    let irq = |text: &str| {
        let (verb, number) = text.rsplit_once(' ')?;
        let number = number.parse::<u16>().ok()?;
        verb.starts_with("IRQ ").then(|| (verb.to_owned(), number))
    };
    told == line || irq(told).is_some_and(|told| irq(&line) == Some(told))
}

fn means_what_it_says(reply: &Reply) {
    let _ = lines::done(reply);
    if let Ok(number) = lines::number::<u64>(reply) {
        let text = lines::value(reply).expect("it has a number");
        let zeros = |text: &str| text.trim_start_matches('0').to_ascii_lowercase();
        let same = match text.strip_prefix("0x") {
            Some(digits) => zeros(digits) == zeros(&format!("{number:x}")),
            None => zeros(text) == zeros(&number.to_string()),
        };
        assert!(same, "{text}");
    }
    for count in 0..4 {
        let mut data = Vec::new();
        if lines::append(&mut data, reply, count).is_ok() {
            assert_eq!(data.len(), count);
        }
    }
}

/// Bytes are read back as written, and pieces cover every byte once.
fn bytes_are_read_back(data: &[u8]) {
    let line = lines::write(7, data);
    let digits = line
        .text
        .rsplit(' ')
        .next()
        .expect("there are some")
        .to_owned();
    let reply = Reply {
        line: format!("OK {digits}"),
    };
    let mut read = Vec::new();
    lines::append(&mut read, &reply, data.len()).expect("they are its digits");
    assert_eq!(read, data);
    let Some((address, rest)) = data.split_first_chunk() else {
        return;
    };
    let Some((length, _)) = rest.split_first_chunk() else {
        return;
    };
    let (address, length) = (u64::from_le_bytes(*address), u32::from_le_bytes(*length));
    let length = u64::from(length % (1 << 24));
    let fits = length == 0 || address.checked_add(length - 1).is_some();
    let pieces = lines::pieces(address, length);
    assert_eq!(pieces.is_some(), fits);
    let mut next = u128::from(address);
    for (at, bytes) in pieces.into_iter().flatten() {
        assert_eq!(u128::from(at), next);
        assert!((1..=lines::PIECE_BYTES).contains(&bytes));
        next += bytes as u128;
    }
    assert!(!fits || next == u128::from(address) + u128::from(length));
}

const LIMIT_BYTES: usize = 40;
