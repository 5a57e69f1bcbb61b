//! What was found out of each accelerator, and the report of it all.

use crate::host::AccelDenial;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{Accel, AccelChoice, choice};

/// What an accelerator is worth to a binary on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AccelFinding {
    /// The tiny guest greeted, and ran its loop to the end, with the right sum.
    Works {
        /// From the start of QEMU to the guest's greeting.
        greeting: Duration,
        /// The loop, which is the same for every accelerator: in protected
        /// mode, with paging on, over 512 KiB of memory.
        run: Duration,
    },
    /// QEMU ran, but the guest had not greeted in its time.
    Silent {
        /// Its time, from the start of QEMU.
        limit: Duration,
        /// What QEMU complained of; empty where it did not.
        said: String,
    },
    /// The guest greeted, but had not come to the end of its loop in its time.
    Endless {
        /// Its time, from the start of QEMU.
        limit: Duration,
        /// What QEMU complained of; empty where it did not.
        said: String,
    },
    /// QEMU or the guest gave up, or the guest came to a wrong sum.
    Failed {
        /// What was said, or seen.
        said: String,
    },
    /// The host does not permit it.
    Denied(AccelDenial),
    /// It runs no guests at all, as `qtest`.
    RunsNoGuest,
    /// The tiny guest is for x86 alone, and the binary is not.
    Untried {
        /// What the binary emulates, as QEMU names it: `aarch64`.
        target: String,
    },
}

/// What each accelerator that a binary lists is worth on this host; from
/// [`Accel::probe`]. Its `Display` is a table.
#[derive(Debug, Clone)]
pub struct AccelReport {
    binary: OsString,
    findings: Arc<[(Accel, AccelFinding)]>,
}

impl AccelFinding {
    /// Whether a guest runs with it.
    pub fn works(&self) -> bool {
        matches!(self, Self::Works { .. })
    }

    /// What to do about it, where that is known.
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

    /// Every accelerator that the binary lists, in its order, and what was
    /// found out of it.
    pub fn findings(&self) -> impl Iterator<Item = (&Accel, &AccelFinding)> {
        self.findings
            .iter()
            .map(|(accel, finding)| (accel, finding))
    }

    /// What was found out of this one; `None` where the binary does not list
    /// it.
    pub fn finding(&self, accel: &Accel) -> Option<&AccelFinding> {
        self.findings()
            .find_map(|(its, finding)| (its == accel).then_some(finding))
    }

    /// The best one; `None` where none works.
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
        let words = |f: &mut fmt::Formatter<'_>, said: &str| match said {
            "" => Ok(()),
            said => write!(f, "; QEMU said: {said}"),
        };
        match self {
            Self::Works { greeting, run } => write!(
                f,
                "works: the guest greeted after {greeting:.1?} and ran its loop in {run:.1?}"
            ),
            Self::Silent { limit, said } => {
                write!(f, "does not work: no guest had greeted within {limit:.1?}")?;
                words(f, said)
            }
            Self::Endless { limit, said } => {
                write!(
                    f,
                    "too slow: the guest greeted, but its loop was not done within {limit:.1?}"
                )?;
                words(f, said)
            }
            Self::Failed { said } => write!(f, "does not work: {said}"),
            Self::Denied(denial) => write!(f, "not to be had: {denial}"),
            Self::RunsNoGuest => f.write_str("runs no guests"),
            Self::Untried { target } => write!(
                f,
                "not tried: the guest of this trial is for x86, and this QEMU emulates {target}"
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
                    said: "KVM internal error. Suberror: 1".to_owned(),
                },
            ),
            (Accel::KVM, AccelFinding::Denied(AccelDenial::Busy)),
        ];
        let report = AccelReport::new("qemu".into(), findings.into());
        assert_eq!(
            report.to_string(),
            "accelerators of qemu:\n  \
             tcg   works: the guest greeted after 61.3ms and ran its loop in 88.1ms\n  \
             zoom  does not work: no guest had greeted within 1.4s; QEMU said: KVM internal error. Suberror: 1\n  \
             kvm   not to be had: KVM is busy: another hypervisor uses the processor's virtualization\n        \
             advice: stop the other hypervisor, such as VirtualBox or VMware"
        );
        assert!(report.finding(&Accel::TCG).unwrap().works());
        assert_eq!(report.finding(&Accel::QTEST), None);
    }
}
