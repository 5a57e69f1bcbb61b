//! The command line of the program.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::clones::Proof;
use crate::run::{End, Extent};

#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) fake_qemu: PathBuf,
    pub(crate) qemus: Vec<PathBuf>,
    pub(crate) extent: Extent,
    /// A proof about clones instead of random machines, and the folder of its
    /// Linux guest.
    pub(crate) proof: Option<(Proof, PathBuf)>,
}

impl Arguments {
    /// # Errors
    /// A message for the user.
    pub(crate) fn parse(words: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let mut words = words;
        let mut fake_qemu = None;
        let mut qemus = Vec::new();
        let (mut seed, mut only) = (None, None);
        let mut end = None;
        let (mut proof, mut linux) = (None, None);
        while let Some(option) = words.next() {
            let option = option.to_string_lossy().into_owned();
            let value = words.next().ok_or_else(|| wrong(&option))?;
            match &*option {
                "--fake-qemu" => fake_qemu = Some(PathBuf::from(value)),
                "--qemu" => qemus.push(PathBuf::from(value)),
                "--seed" => seed = Some(number(&option, &value)?),
                "--only" => only = Some(number(&option, &value)?),
                "--linux" => linux = Some(PathBuf::from(value)),
                "--clones" => proof = Some(Proof::OneByOne(number(&option, &value)?)),
                "--alive" => proof = Some(Proof::Alive(number(&option, &value)?)),
                "--launches" => end = Some(End::AfterLaunches(number(&option, &value)?)),
                "--minutes" => {
                    let seconds = number(&option, &value)?.saturating_mul(60);
                    end = Some(End::After(Duration::from_secs(seconds)));
                }
                _ => return Err(wrong(&option)),
            }
        }
        if qemus.is_empty() {
            return Err(format!("no QEMU was given\n{USAGE}"));
        }
        let linux = || linux.ok_or(format!("no --linux was given\n{USAGE}"));
        let proof = proof.map(|proof| linux().map(|linux| (proof, linux)));
        let usual_end = match only {
            Some(_) => End::AfterLaunches(1),
            None => End::After(Duration::from_secs(600)),
        };
        Ok(Self {
            fake_qemu: fake_qemu.map_or_else(beside_us, Ok)?,
            qemus,
            proof: proof.transpose()?,
            extent: Extent {
                seed: seed.unwrap_or_else(new_seed),
                end: end.unwrap_or(usual_end),
                only,
            },
        })
    }
}

/// The path at which cargo builds it.
fn beside_us() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let program = own.parent().unwrap_or(Path::new("")).join("fake-qemu");
    if !program.is_file() {
        return Err(format!(
            "no {}: run `cargo build -p fake-qemu`",
            program.display()
        ));
    }
    Ok(program)
}

fn number(option: &str, value: &OsString) -> Result<u64, String> {
    let value = value.to_string_lossy();
    value
        .parse()
        .map_err(|_| format!("{option} needs a number, not '{value}'\n{USAGE}"))
}

fn wrong(option: &str) -> String {
    format!("unknown option '{option}', or its value is missing\n{USAGE}")
}

/// A seed with few digits, so that it is easy to type.
fn new_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::from(now.subsec_micros()))
}

const USAGE: &str = "\
usage: soak --qemu PROGRAM... [--fake-qemu PROGRAM] [--minutes N | --launches N]
            [--seed S] [--only K]
       soak --qemu PROGRAM... --linux FOLDER --clones N | --alive N

  --minutes N    play machines for N minutes; 10 by default
  --launches N   play N machines
  --seed S       play the machines of this seed, instead of a new seed
  --only K       play only machine K of the seed: once, or --launches times
  --clones N     compare the identities of N clones of a Linux, one after the other
  --alive N      measure the memory of N clones of a Linux, alive at once
  --linux FOLDER the folder with its files vmlinuz and initramfs";
