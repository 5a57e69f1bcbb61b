//! Decides which accelerator is best, from findings alone.

use std::ffi::OsStr;
use std::fmt;
use std::time::Duration;

use super::{Accel, AccelFinding, AccelReport};

/// The best accelerator of a binary on this host; returned by [`Accel::best`].
///
/// Pass it to [`MachineBuilder::accel`](crate::MachineBuilder::accel). Its
/// `Display` also says why each of the others was rejected, one line each.
#[derive(Debug, Clone)]
pub struct AccelChoice {
    accel: Accel,
    report: AccelReport,
}

/// An accelerator that was not chosen. Its `Display` says why.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RejectedAccel {
    /// The accelerator.
    pub accel: Accel,
    /// What the probe found. If the accelerator works, it was slower.
    pub finding: AccelFinding,
}

impl AccelChoice {
    pub(super) fn new(accel: Accel, report: AccelReport) -> Self {
        Self { accel, report }
    }

    /// The accelerator.
    pub fn accel(&self) -> &Accel {
        &self.accel
    }

    /// The report that the choice is based on.
    pub fn report(&self) -> &AccelReport {
        &self.report
    }

    /// Every other accelerator that the binary lists.
    pub fn rejected(&self) -> impl Iterator<Item = RejectedAccel> {
        let others = self
            .report
            .findings()
            .filter(|(accel, _)| **accel != self.accel);
        others.map(|(accel, finding)| RejectedAccel {
            accel: accel.clone(),
            finding: finding.clone(),
        })
    }
}

/// The index of the best accelerator: it works, and runs the loop fastest.
///
/// Of two that are equally fast, TCG wins, then the earlier one. If the trial
/// guest cannot run, TCG is best, because it needs nothing from the host.
pub(super) fn choose(findings: &[(Accel, AccelFinding)]) -> Option<usize> {
    let running = |index: usize| {
        let (accel, finding) = &findings[index];
        let is_tcg = *accel == Accel::TCG;
        let run = match finding {
            AccelFinding::Works { run, .. } => *run,
            AccelFinding::NotTried { .. } if is_tcg => Duration::MAX,
            _ => return None,
        };
        Some((run, !is_tcg, index))
    };
    let best = (0..findings.len()).filter_map(running).min();
    best.map(|(_, _, index)| index)
}

impl AsRef<OsStr> for AccelChoice {
    fn as_ref(&self) -> &OsStr {
        self.accel.as_ref()
    }
}

impl fmt::Display for RejectedAccel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accel, finding } = self;
        match finding {
            AccelFinding::Works { run, .. } => {
                write!(f, "{accel}: slower: it ran the guest's loop in {run:.1?}")
            }
            finding => write!(f, "{accel}: {finding}"),
        }
    }
}

impl fmt::Display for AccelChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.accel)?;
        if let Some(AccelFinding::Works { run, .. }) = self.report.finding(&self.accel) {
            write!(f, ", which ran the guest's loop in {run:.1?}")?;
        }
        for other in self.rejected() {
            write!(f, "\n  rejected {other}")?;
            if let Some(advice) = other.finding.advice() {
                write!(f, "\n  advice: {advice}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::AccelDenial;

    fn works(run: u64) -> AccelFinding {
        AccelFinding::Works {
            greeting: Duration::from_millis(50),
            run: Duration::from_millis(run),
        }
    }

    fn endless() -> AccelFinding {
        AccelFinding::TooSlow {
            limit: Duration::from_secs(1),
            message: String::new(),
        }
    }

    fn silent() -> AccelFinding {
        AccelFinding::Silent {
            limit: Duration::from_secs(1),
            message: String::new(),
        }
    }

    fn failed() -> AccelFinding {
        AccelFinding::Failed {
            message: "out of memory".to_owned(),
        }
    }

    fn untried() -> AccelFinding {
        AccelFinding::NotTried {
            target: "aarch64".to_owned(),
        }
    }

    #[test]
    fn the_fastest_of_those_that_work_is_best_and_tcg_of_two_alike() {
        const NONE: Option<&str> = None;
        let denied = || AccelFinding::Denied(AccelDenial::NotPermitted);
        for (findings, expected) in [
            (vec![], NONE),
            (vec![("tcg", works(90))], Some("tcg")),
            (vec![("tcg", works(90)), ("kvm", works(4))], Some("kvm")),
            (vec![("kvm", works(4)), ("tcg", works(90))], Some("kvm")),
            (vec![("tcg", works(90)), ("kvm", works(900))], Some("tcg")),
            (vec![("kvm", works(90)), ("tcg", works(90))], Some("tcg")),
            (vec![("kvm", endless()), ("tcg", works(90))], Some("tcg")),
            (vec![("kvm", silent()), ("tcg", works(90))], Some("tcg")),
            (vec![("tcg", works(90)), ("kvm", failed())], Some("tcg")),
            (vec![("tcg", works(90)), ("kvm", denied())], Some("tcg")),
            (
                vec![("qtest", AccelFinding::RunsNoGuest), ("tcg", works(90))],
                Some("tcg"),
            ),
            // Without TCG, any accelerator that works is good enough.
            (vec![("kvm", works(4))], Some("kvm")),
            (vec![("tcg", failed()), ("kvm", works(900))], Some("kvm")),
            (
                vec![("tcg", works(90)), ("xen", works(9)), ("kvm", works(9))],
                Some("xen"),
            ),
            (vec![("kvm", denied())], NONE),
            (vec![("tcg", endless()), ("kvm", denied())], NONE),
            (vec![("qtest", AccelFinding::RunsNoGuest)], NONE),
            (vec![("tcg", untried()), ("kvm", untried())], Some("tcg")),
            (vec![("kvm", untried())], NONE),
        ] {
            let findings: Vec<_> = findings
                .into_iter()
                .map(|(name, finding)| (Accel::new(name), finding))
                .collect();
            let chosen = choose(&findings).map(|index| findings[index].0.name());
            assert_eq!(chosen, expected, "{findings:?}");
        }
    }

    #[test]
    fn a_choice_says_why_each_of_the_others_was_passed_over() {
        let findings = [
            (Accel::TCG, works(90)),
            (Accel::KVM, AccelFinding::Denied(AccelDenial::NotPermitted)),
            (Accel::new("zoom"), works(4)),
            (Accel::new("slow"), endless()),
        ];
        let report = AccelReport::new("qemu".into(), findings.into());
        let best = report.best().unwrap();
        assert_eq!(best.accel(), &Accel::new("zoom"));
        assert_eq!(best.as_ref(), OsStr::new("zoom"));
        let denial = AccelDenial::NotPermitted;
        let kvm = format!("  rejected kvm: unavailable: {denial}");
        let advice = format!("  advice: {}", denial.advice().unwrap());
        let text = best.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "zoom, which ran the guest's loop in 4.0ms",
                "  rejected tcg: slower: it ran the guest's loop in 90.0ms",
                &kvm,
                &advice,
                "  rejected slow: too slow: the guest greeted, but did not finish its loop within 1.0s",
            ]
        );
    }
}
