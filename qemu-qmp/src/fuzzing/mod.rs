//! The fuzzer's targets: one function each, which takes an input.
//!
//! A function panics if a property does not hold for its input. The module is built
//! only for the fuzzer, and for the tests, which run each seed once.
#![allow(clippy::missing_panics_doc)]

mod agent;
mod event_pattern;
mod schema;
mod session;

pub use agent::agent;
pub use event_pattern::event_pattern;
pub use schema::schema;
pub use session::session;

/// How bytes are cut into pieces.
type Cut = fn(&[u8]) -> Vec<&[u8]>;

/// Whole, byte by byte, and in pieces whose lengths depend on the bytes.
const CUTS: [Cut; 3] = [
    |bytes| vec![bytes],
    |bytes| bytes.chunks(1).collect(),
    |bytes| {
        let (mut pieces, mut rest) = (Vec::new(), bytes);
        while let Some(&byte) = rest.first() {
            let (piece, after) = rest.split_at(rest.len().min(usize::from(byte) % 7 + 1));
            pieces.push(piece);
            rest = after;
        }
        pieces
    },
];

/// A step of a script. An input is the bytes of a server. Its control characters,
/// which JSON does not contain, are other steps in between.
enum Step<'a> {
    Received(&'a [u8]),
    Done(u8),
}

fn steps(script: &[u8]) -> impl Iterator<Item = Step<'_>> {
    let is_action = |byte: u8| byte < b' ' && !b"\t\n\r".contains(&byte);
    let runs = script.chunk_by(move |&one, &next| !is_action(one) && !is_action(next));
    runs.map(move |run| match run {
        [byte] if is_action(*byte) => Step::Done(*byte),
        _ => Step::Received(run),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_of_the_fuzzer_holds() {
        testbed::try_seeds(&[
            ("agent", agent),
            ("event_pattern", event_pattern),
            ("schema", schema),
            ("session", session),
        ]);
    }
}
