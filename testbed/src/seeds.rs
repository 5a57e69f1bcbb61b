//! Tries each of the fuzzer's seeds once.

use std::fs;
use std::path::Path;

/// The name of a fuzz target, and its function.
pub type Tried<'a> = (&'a str, fn(&[u8]));

/// Calls each target with each of its seeds, and with each seed without its end.
///
/// # Panics
/// A target has no seeds, or fails on a seed, whose path is printed before.
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
