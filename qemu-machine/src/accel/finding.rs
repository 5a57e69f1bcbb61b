//! What a probe found about each accelerator, and the report of all of them.

use crate::host::AccelDenial;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{Accel, AccelChoice, choice};

/// How well an accelerator works for a binary on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "snake_case")
)]
pub enum AccelFinding {
    /// The tiny guest greeted, and ran its loop to the end with the right sum.
    Works {
        /// The time from the start of QEMU to the guest's greeting.
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serialize::seconds"))]
        greeting: Duration,
        /// The time of the loop. It is the same for every accelerator: in
        /// protected mode, with paging on, over 512 KiB of memory.
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serialize::seconds"))]
        run: Duration,
    },
    /// QEMU ran, but the guest did not greet in time.
    Silent {
        /// The time limit, from the start of QEMU.
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serialize::seconds"))]
        limit: Duration,
        /// QEMU's error message; empty if it printed none.
        message: String,
    },
    /// The guest greeted, but did not finish its loop in time.
    TooSlow {
        /// The time limit, from the start of QEMU.
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serialize::seconds"))]
        limit: Duration,
        /// QEMU's error message; empty if it printed none.
        message: String,
    },
    /// QEMU or the guest failed, or the guest computed a wrong sum.
    Failed {
        /// QEMU's error message, or what went wrong.
        message: String,
    },
    /// The host does not permit it.
    Denied(AccelDenial),
    /// It cannot run guests, like `qtest`.
    RunsNoGuest,
    /// It was not tried: the tiny guest needs x86, and the binary emulates
    /// another processor.
    NotTried {
        /// What the binary emulates, as QEMU names it: `aarch64`.
        target: String,
    },
}

/// How well each accelerator that a binary lists works on this host; returned
/// by [`Accel::probe`]. Its `Display` is a table.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct AccelReport {
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serialize::word"))]
    binary: OsString,
    #[cfg_attr(
        feature = "serde",
        serde(serialize_with = "crate::serialize::findings")
    )]
    findings: Arc<[(Accel, AccelFinding)]>,
}

impl AccelFinding {
    /// Whether it runs a guest.
    pub fn works(&self) -> bool {
        matches!(self, Self::Works { .. })
    }

    /// What to do about it; `None` if nothing is known.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Denied(denial) => denial.advice(),
            _ => None,
        }
    }
}

impl AccelReport {
    pub(super) fn new(binary: OsString, findings: Arc<[(Accel, AccelFinding)]>) -> Self {
        Self { binary, findings }
    }

    /// The binary, as it was given.
    pub fn binary(&self) -> &OsStr {
        &self.binary
    }

    /// Every accelerator that the binary lists, in its order, with its finding.
    pub fn findings(&self) -> impl Iterator<Item = (&Accel, &AccelFinding)> {
        self.findings
            .iter()
            .map(|(accel, finding)| (accel, finding))
    }

    /// The finding of this accelerator; `None` if the binary does not list it.
    pub fn finding(&self, accel: &Accel) -> Option<&AccelFinding> {
        self.findings()
            .find_map(|(its, finding)| (its == accel).then_some(finding))
    }

    /// The best accelerator; `None` if none works.
    pub fn best(&self) -> Option<AccelChoice> {
        let best = choice::choose(&self.findings)?;
        Some(AccelChoice::new(
            self.findings[best].0.clone(),
            self.clone(),
        ))
    }
}

impl fmt::Display for AccelFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let qemu_said = |f: &mut fmt::Formatter<'_>, message: &str| match message {
            "" => Ok(()),
            message => write!(f, "; QEMU said: {message}"),
        };
        match self {
            Self::Works { greeting, run } => write!(
                f,
                "works: the guest greeted after {greeting:.1?} and ran its loop in {run:.1?}"
            ),
            Self::Silent { limit, message } => {
                write!(
                    f,
                    "does not work: the guest did not greet within {limit:.1?}"
                )?;
                qemu_said(f, message)
            }
            Self::TooSlow { limit, message } => {
                write!(
                    f,
                    "too slow: the guest greeted, but did not finish its loop within {limit:.1?}"
                )?;
                qemu_said(f, message)
            }
            Self::Failed { message } => write!(f, "does not work: {message}"),
            Self::Denied(denial) => write!(f, "unavailable: {denial}"),
            Self::RunsNoGuest => f.write_str("runs no guests"),
            Self::NotTried { target } => write!(
                f,
                "not tried: the test guest needs x86, and this QEMU emulates {target}"
            ),
        }
    }
}

impl fmt::Display for AccelReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "accelerators of {}:", self.binary.display())?;
        let names = self.findings.iter().map(|(accel, _)| accel.name().len());
        let width = names.max().unwrap_or_default();
        for (accel, finding) in self.findings() {
            write!(f, "\n  {accel:width$}  {finding}")?;
            if let Some(advice) = finding.advice() {
                write!(f, "\n  {:width$}  advice: {advice}", "")?;
            }
        }
        if self.findings.is_empty() {
            f.write_str("\n  none")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_a_table_with_what_to_do() {
        let findings = [
            (
                Accel::TCG,
                AccelFinding::Works {
                    greeting: Duration::from_micros(61_270),
                    run: Duration::from_micros(88_120),
                },
            ),
            (
                Accel::new("zoom"),
                AccelFinding::Silent {
                    limit: Duration::from_millis(1400),
                    message: "KVM internal error. Suberror: 1".to_owned(),
                },
            ),
            (Accel::KVM, AccelFinding::Denied(AccelDenial::Busy)),
        ];
        let busy = AccelDenial::Busy;
        let report = AccelReport::new("qemu".into(), findings.into());
        assert_eq!(
            report.to_string(),
            format!(
                "accelerators of qemu:\n  \
             tcg   works: the guest greeted after 61.3ms and ran its loop in 88.1ms\n  \
             zoom  does not work: the guest did not greet within 1.4s; QEMU said: KVM internal error. Suberror: 1\n  \
             kvm   unavailable: {busy}\n        \
             advice: {}",
                busy.advice().unwrap()
            )
        );
        assert!(report.finding(&Accel::TCG).unwrap().works());
        assert_eq!(report.finding(&Accel::QTEST), None);
    }
}
