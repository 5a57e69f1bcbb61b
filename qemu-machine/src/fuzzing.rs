//! What the fuzzer does with an input, one function for each of its targets;
//! each stands beside what it tries.
//!
//! A function panics if what must hold of any input does not. It is built for
//! the fuzzer, and for the tests, which try each of the seeds once; a normal
//! build has nothing of it.
#![allow(clippy::missing_panics_doc)]

pub use crate::console::fuzzing::{noise, terminal};
pub use crate::display::fuzzing::picture;
pub use crate::qtest::fuzzing::qtest;
pub use crate::spec::fuzzing::command_line;

/// How what comes in one piece is cut into several.
type Cut = fn(&[u8]) -> Vec<&[u8]>;

/// Whole, byte by byte, and in pieces whose lengths the bytes themselves tell.
pub(crate) const CUTS: [Cut; 3] = [
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_of_the_fuzzer_holds() {
        testbed::try_seeds(&[
            ("command_line", command_line),
            ("noise", noise),
            ("picture", picture),
            ("qtest", qtest),
            ("terminal", terminal),
        ]);
    }
}
