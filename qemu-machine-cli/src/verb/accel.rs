//! `accel`: which accelerator runs a guest on this host, and how fast.

use std::ffi::OsString;
use std::fmt;

use clap::Args;
use qemu_machine::{Accel, Wait};
use serde::Serialize;

use super::qmp::failed;
use super::run::default_qemu;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::output;

/// Runs a tiny guest with each accelerator of a QEMU, and names the best.
///
/// Fails if none works. Findings are kept until the host boots again, or
/// --refresh.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  qemu-system-x86_64 -accel $(qemu-machine accel --best) disk.img"
)]
pub(crate) struct TryAccel {
    /// The QEMU to try
    #[arg(long, value_name = "BINARY")]
    qemu: Option<OsString>,

    /// Tries again, and does not take what was found before
    #[arg(long)]
    refresh: bool,

    /// Prints only the name of the best
    #[arg(long, conflicts_with = "json")]
    best: bool,

    /// Prints the findings as JSON
    #[arg(long)]
    json: bool,
}

/// Which accelerators of a QEMU work on this host.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Findings {
    /// The name of the fastest; null if none works.
    best: Option<String>,
    accelerators: Vec<Finding>,
    #[serde(skip)]
    text: String,
}

/// What one accelerator did.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Finding {
    name: String,
    works: bool,
    /// How fast it is, or why it does not work.
    #[serde(rename = "finding")]
    what: String,
    /// What makes it work; null if nothing is known.
    advice: Option<String>,
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        match &self.best {
            Some(name) => writeln!(f, "best: {name}"),
            None => Ok(()),
        }
    }
}

impl TryAccel {
    pub(crate) fn run(self) -> Result<Outcome, Failure> {
        let binary = self.qemu.unwrap_or_else(|| default_qemu().into());
        let mut probe = Accel::probe(binary);
        if self.refresh {
            probe = probe.refresh();
        }
        let report = probe.wait().map_err(failed)?;
        let best = report.best();
        let best = best.as_ref().map(|choice| choice.accel().name().to_owned());
        let found = report.findings().map(|(accel, finding)| Finding {
            name: accel.name().to_owned(),
            works: finding.works(),
            what: finding.to_string(),
            advice: finding.advice().map(str::to_owned),
        });
        let findings = Findings {
            accelerators: found.collect(),
            text: report.to_string(),
            best,
        };
        if !self.best {
            output::print(&findings, self.json)?;
        } else if let Some(name) = &findings.best {
            output::line(name)?;
        }
        Ok(match findings.best {
            Some(_) => Outcome::Succeeded,
            None => Outcome::Failed,
        })
    }
}
