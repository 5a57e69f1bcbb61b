//! Proofs about many clones of one Linux guest, with each QEMU: their identities,
//! their memory, the files of their template, and what is left of them.

mod alive;
mod guest;
mod one_by_one;

use std::collections::hash_map::DefaultHasher;
use std::fs::{self, File};
use std::hash::Hasher;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use qemu_machine::Wait;
use testbed::Census;

use guest::{Guest, text};

/// What to prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// This number of clones, one after the other, have nothing in common.
    OneByOne(u64),
    /// This number of clones are alive at once.
    Alive(u64),
}

/// Proves it with each QEMU. Returns whether nothing was wrong. The private files
/// of the machines are in `base`.
///
/// # Errors
/// A clone failed.
pub(crate) fn run(
    proof: Proof,
    qemus: &[PathBuf],
    linux: &Path,
    base: &Path,
) -> Result<bool, String> {
    let mut is_right = true;
    for qemu in qemus {
        println!("{}: {proof:?}", qemu.display());
        for wrong in with_qemu(proof, qemu, linux, base)? {
            println!("FAILED: {wrong}");
            is_right = false;
        }
    }
    Ok(is_right)
}

/// Returns what was wrong.
fn with_qemu(proof: Proof, qemu: &Path, linux: &Path, base: &Path) -> Result<Vec<String>, String> {
    let guest = match proof {
        Proof::OneByOne(_) => Guest::boot_with_card(qemu, linux, base)?,
        Proof::Alive(_) => Guest::boot(qemu, linux, base)?,
    };
    // This starts everything that stays on purpose.
    end_one(&guest)?;
    let files = guest.template.path();
    let (before, hash) = (Census::take(&[base]), hash(files).map_err(text)?);
    let mut wrong = match proof {
        Proof::OneByOne(clones) => one_by_one::play(&guest, clones)?,
        Proof::Alive(clones) => alive::play(&guest, clones)?,
    };
    println!("equal or too large: {}", wrong.len());
    let leaks = settle(&guest, &before, base)?;
    println!("leaks: {}", leaks.len());
    wrong.extend(leaks.into_iter().map(|leak| format!("left: {leak}")));
    let is_same = self::hash(files).map_err(text)? == hash;
    println!("the template's files are the same: {is_same}");
    if !is_same {
        wrong.push("the template's files have changed".to_owned());
    }
    Ok(wrong)
}

fn end_one(guest: &Guest) -> Result<(), String> {
    guest.launch()?.kill().wait().map(drop).map_err(text)
}

/// Lists what is left, after waiting for everything that ends in the background.
fn settle(guest: &Guest, before: &Census, base: &Path) -> Result<Vec<String>, String> {
    let deadline = Instant::now() + SETTLE;
    loop {
        let leaks = Census::take(&[base]).since(before);
        if leaks.is_empty() || Instant::now() >= deadline {
            return Ok(leaks);
        }
        // An end in the background gives no notice. It precedes this one.
        end_one(guest)?;
    }
}

/// A hash of all files of a folder, with their names.
fn hash(folder: &Path) -> io::Result<u64> {
    let entries = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = entries.collect::<Result<Vec<_>, _>>()?;
    paths.sort();
    let mut hasher = DefaultHasher::new();
    let mut buffer = vec![0; 1 << 20];
    for path in paths {
        hasher.write(path.as_os_str().as_encoded_bytes());
        let mut file = File::open(&path)?;
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                count => hasher.write(&buffer[..count]),
            }
        }
    }
    Ok(hasher.finish())
}

/// The longest time of an end in the background.
const SETTLE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_byte_and_another_file_change_the_hash() {
        let folder = std::env::temp_dir().join(format!("soak-hash-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let with = |name: &str, bytes: &str| {
            fs::write(folder.join(name), bytes).unwrap();
            hash(&folder).unwrap()
        };
        let first = with("ram", "abc");
        assert_eq!(hash(&folder).unwrap(), first);
        assert_ne!(with("ram", "abd"), first);
        assert_eq!(with("ram", "abc"), first);
        assert_ne!(with("state", ""), first);
        fs::remove_dir_all(&folder).unwrap();
    }
}
