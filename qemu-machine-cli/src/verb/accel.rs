//! `accel`: which accelerator runs a guest on this host, and how fast.

use std::ffi::OsString;

use clap::Args;
use qemu_machine::{Accel, Wait};
use serde_json::json;

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

impl TryAccel {
    pub(crate) fn run(self) -> Result<Outcome, Failure> {
        let binary = self.qemu.unwrap_or_else(|| default_qemu().into());
        let mut probe = Accel::probe(binary);
        if self.refresh {
            probe = probe.refresh();
        }
        let report = probe.wait().map_err(Failure::failed)?;
        let best = report.best();
        let best = best.as_ref().map(|choice| choice.accel().name());
        if self.json {
            let findings = report.findings().map(|(accel, finding)| {
                json!({
                    "name": accel.name(),
                    "works": finding.works(),
                    "finding": finding.to_string(),
                    "advice": finding.advice(),
                })
            });
            let findings: Vec<_> = findings.collect();
            output::json(&json!({"best": best, "accelerators": findings}), true)?;
        } else if self.best {
            best.map_or(Ok(()), output::line)?;
        } else {
            output::line(&report)?;
            best.map_or(Ok(()), |name| output::line(format_args!("best: {name}")))?;
        }
        Ok(match best {
            Some(_) => Outcome::Succeeded,
            None => Outcome::Failed,
        })
    }
}
