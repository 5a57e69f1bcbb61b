//! With what is measured, and how thoroughly.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The words of the command line.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    pub(crate) fake_qemu: PathBuf,
    /// The newest.
    pub(crate) qemu: PathBuf,
    /// A Python that has the peer `qemu.qmp`.
    pub(crate) python: Option<PathBuf>,
    pub(crate) extent: Extent,
    /// Ids of what alone is to be measured; all, if there are none.
    pub(crate) only: Vec<String>,
    /// Where the page and the JSON go, if it is said.
    pub(crate) out: Option<PathBuf>,
}

/// How thoroughly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// So that figures count.
    Full,
    /// Once and little, so that it is seen that all still runs.
    Smoke,
}

impl Setting {
    pub(crate) fn parse(words: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let (mut fake_qemu, mut qemu, mut python, mut out) = (None, None, None, None);
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
                Some("--python") => python = Some(path()?),
                Some("--out") => out = Some(path()?),
                Some("--smoke") => extent = Extent::Smoke,
                Some(id) if !id.starts_with('-') => only.push(id.to_owned()),
                _ => return Err(format!("'{}' is no option; {USAGE}", word.display())),
            }
        }
        Ok(Self {
            fake_qemu: fake_qemu.ok_or(USAGE)?,
            qemu: qemu.ok_or(USAGE)?,
            python,
            extent,
            only,
            out,
        })
    }

    /// Whether the operation of this id is to be measured.
    pub(crate) fn wants(&self, id: &str) -> bool {
        let go = |id: &str| id.split('/').next().map(str::to_owned);
        self.only.is_empty() || self.only.iter().any(|only| go(only) == go(id))
    }

    /// Where the report is kept. That of all, in full, has its place in the
    /// repository; another has none, unless it is said.
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

const USAGE: &str = "usage: bench --fake-qemu PROGRAM --qemu PROGRAM [--python PROGRAM] \
                     [--smoke] [--out FOLDER] [ID...]";
