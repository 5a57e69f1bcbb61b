//! A digest of 128 bits: equal for equal content, and in practice for nothing
//! else. It finds damage, and distinguishes inputs. It does not resist an attacker,
//! who could write into the store anyway.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// A digest of what was added, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Digest([u64; 2]);

impl Digest {
    pub(crate) fn new() -> Self {
        Self(START)
    }

    /// Adds these bytes as one piece: `ab` and `c` are not `a` and `bc`.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.mix(bytes);
        self.word(bytes.len() as u64);
    }

    /// The digest of a file's content.
    pub(crate) fn of_file(path: &Path) -> io::Result<Self> {
        let (mut file, mut digest) = (File::open(path)?, Self::new());
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut length = 0;
        loop {
            let count = fill(&mut file, &mut buffer)?;
            digest.mix(&buffer[..count]);
            length += count as u64;
            if count < buffer.len() {
                digest.word(length);
                return Ok(digest);
            }
        }
    }

    /// As 32 hexadecimal digits.
    pub(crate) fn hex(&self) -> String {
        format!("{:016x}{:016x}", self.0[0], self.0[1])
    }

    /// Mixes whole words in, the last one filled with zeros.
    fn mix(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.word(u64::from_le_bytes(last));
        }
    }

    /// Each step can be undone, so a change of one word changes both halves.
    fn word(&mut self, word: u64) {
        let [a, b] = &mut self.0;
        *a = (*a ^ word).wrapping_mul(MULTIPLIERS[0]).rotate_left(29);
        *b = (*b ^ word).wrapping_mul(MULTIPLIERS[1]).rotate_left(41) ^ *a;
    }
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while count < buffer.len() {
        match file.read(&mut buffer[count..]) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

/// A multiple of a word.
const BUFFER_BYTES: usize = 1 << 20;
/// Fractional parts of square roots, made odd.
const START: [u64; 2] = [0x6a09_e667_f3bc_c909, 0xbb67_ae85_84ca_a73b];
const MULTIPLIERS: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0x3c6e_f372_fe94_f82b];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bit_a_byte_less_and_another_division_change_it() {
        let path = std::env::temp_dir().join(format!("digest-{}", std::process::id()));
        let of = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            Digest::of_file(&path).unwrap().hex()
        };
        let mut bytes: Vec<u8> = (0..1001).map(|it: u16| it.to_le_bytes()[0]).collect();
        let whole = of(&bytes);
        assert_eq!((of(&bytes), whole.len()), (whole.clone(), 32));
        assert_ne!(of(&bytes[..1000]), whole);
        for index in 0..bytes.len() {
            bytes[index] ^= 1;
            assert_ne!(of(&bytes), whole, "{index}");
            bytes[index] ^= 1;
        }
        bytes.push(0);
        assert_ne!(of(&bytes), whole);
        // Longer than one piece of the reading.
        let long = vec![7; BUFFER_BYTES + 3];
        let mut added = Digest::new();
        added.add(&long);
        assert_eq!(of(&long), added.hex());
        std::fs::remove_file(&path).unwrap();
        let added = |parts: [&[u8]; 2]| {
            let mut digest = Digest::new();
            for part in parts {
                digest.add(part);
            }
            digest
        };
        assert_ne!(added([b"ab", b"c"]), added([b"a", b"bc"]));
        assert_ne!(added([b"", b"a"]), added([b"a", b""]));
    }
}
