//! What the fuzzer does with an input, one function for each of its targets;
//! each stands beside what it tries.
//!
//! A function panics if what must hold of any input does not. It is built for
//! the fuzzer, and for the tests, which try each of the seeds once; a normal
//! build has nothing of it.
#![allow(clippy::missing_panics_doc)]

pub use crate::command_line::fuzzing::command_line;
pub use crate::console::fuzzing::{noise, terminal};
pub use crate::display::fuzzing::picture;
pub use crate::qtest::fuzzing::qtest;

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
    use std::fs;
    use std::path::Path;

    use super::*;

    type Target = fn(&[u8]);

    #[test]
    fn every_seed_of_the_fuzzer_holds() {
        let targets: [(&str, Target); 5] = [
            ("command_line", command_line),
            ("noise", noise),
            ("picture", picture),
            ("qtest", qtest),
            ("terminal", terminal),
        ];
        for (name, target) in targets {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
            let seeds = fs::read_dir(folder.join(name)).unwrap();
            let seeds: Vec<_> = seeds.map(|seed| seed.unwrap().path()).collect();
            assert!(!seeds.is_empty(), "{name}");
            for seed in seeds {
                println!("{}", seed.display());
                let seed = fs::read(seed).unwrap();
                // And what comes of it where the end is missing.
                (0..=seed.len().min(300)).for_each(|end| target(&seed[..end]));
                target(&seed);
            }
        }
    }
}
