//! The settings of a run: the programs to measure with, and the number of rounds.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The words of the command line.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    pub(crate) fake_qemu: PathBuf,
    /// The newest.
    pub(crate) qemu: PathBuf,
    /// The command `qemu-machine`.
    pub(crate) command: PathBuf,
    /// The folder of a Linux guest with the agent.
    pub(crate) linux: PathBuf,
    /// A Python with the peer `qemu.qmp`.
    pub(crate) python: Option<PathBuf>,
    pub(crate) extent: Extent,
    /// The ids to measure; if empty, all.
    pub(crate) only: Vec<String>,
    /// The folder for the page and the JSON, if one is given.
    pub(crate) out: Option<PathBuf>,
}

/// How thoroughly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Enough for results that count.
    Full,
    /// One short round, to check that everything still runs.
    Smoke,
}

impl Setting {
    pub(crate) fn parse(words: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let (mut fake_qemu, mut qemu, mut python, mut out) = (None, None, None, None);
        let (mut command, mut linux) = (None, None);
        let (mut extent, mut only) = (Extent::Full, Vec::new());
        let mut words = words;
        while let Some(word) = words.next() {
            let mut path = || {
                let path = words.next().map(PathBuf::from);
                path.ok_or_else(|| format!("{} needs a path", word.display()))
            };
            match word.to_str() {
                Some("--fake-qemu") => fake_qemu = Some(path()?),
                Some("--qemu") => qemu = Some(path()?),
                Some("--command") => command = Some(path()?),
                Some("--linux") => linux = Some(path()?),
                Some("--python") => python = Some(path()?),
                Some("--out") => out = Some(path()?),
                Some("--smoke") => extent = Extent::Smoke,
                Some(id) if !id.starts_with('-') => only.push(id.to_owned()),
                _ => return Err(format!("unknown option '{}'; {USAGE}", word.display())),
            }
        }
        Ok(Self {
            fake_qemu: fake_qemu.ok_or(USAGE)?,
            qemu: qemu.ok_or(USAGE)?,
            command: command.ok_or(USAGE)?,
            linux: linux.ok_or(USAGE)?,
            python,
            extent,
            only,
            out,
        })
    }

    /// Whether to measure the operation of this id.
    pub(crate) fn wants(&self, id: &str) -> bool {
        let go = |id: &str| id.split('/').next().map(str::to_owned);
        self.only.is_empty() || self.only.iter().any(|only| go(only) == go(id))
    }

    /// The folder of the report. A full report goes into the repository. Any other
    /// report is kept only in a given folder.
    pub(crate) fn folder(&self) -> Option<PathBuf> {
        let is_whole = self.extent == Extent::Full && self.only.is_empty();
        let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        self.out.clone().or_else(|| is_whole.then(own))
    }

    /// `full`, or for a smoke run `smoke`.
    pub(crate) fn size<T>(&self, full: T, smoke: T) -> T {
        match self.extent {
            Extent::Full => full,
            Extent::Smoke => smoke,
        }
    }
}

const USAGE: &str = "usage: bench --fake-qemu PROGRAM --qemu PROGRAM --command PROGRAM \
                     --linux FOLDER [--python PROGRAM] [--smoke] [--out FOLDER] [ID...]";
