//! The fuzz targets, one function each. Each function is in the module that it
//! tests.
//!
//! A function panics if an input breaks a rule that must hold for every input.
//! The fuzzer builds these functions, and the tests run each seed once. A normal
//! build does not have them.
#![allow(clippy::missing_panics_doc)]

pub use crate::console::fuzzing::{noise, terminal};
pub use crate::display::fuzzing::picture;
pub use crate::qtest::fuzzing::qtest;
pub use crate::registry::fuzzing::published;
pub use crate::spec::fuzzing::command_line;

/// Cuts bytes into pieces.
type Cut = fn(&[u8]) -> Vec<&[u8]>;

/// One piece, single bytes, and pieces whose lengths depend on the bytes.
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
            ("published", published),
            ("qtest", qtest),
            ("terminal", terminal),
        ]);
    }
}
