//! The fuzzer's seeds, tried once each.

use std::fs;
use std::path::Path;

/// The name of a target of the fuzzer, and what tries an input.
pub type Tried<'a> = (&'a str, fn(&[u8]));

/// Hands each seed of each target to it, and what comes of the seed where its
/// end is missing.
///
/// # Panics
/// A target has no seeds, or fails on one; its path is printed before.
pub fn try_seeds(targets: &[Tried<'_>]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
    for (name, target) in targets {
        let seeds = fs::read_dir(folder.join(name)).unwrap();
        let seeds: Vec<_> = seeds.map(|seed| seed.unwrap().path()).collect();
        assert!(!seeds.is_empty(), "{name}");
        for seed in seeds {
            println!("{}", seed.display());
            let seed = fs::read(seed).unwrap();
            (0..=seed.len().min(300)).for_each(|end| target(&seed[..end]));
            target(&seed);
        }
    }
}
