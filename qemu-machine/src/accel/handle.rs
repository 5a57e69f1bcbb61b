//! An accelerator's name.

use crate::accel::AccelList;
use crate::accel::AccelProbe;
use crate::accel::BestAccel;
use crate::host;
use crate::host::AccelDenial;
use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fmt;

/// An accelerator of QEMU's, by the name that `-accel` has for it.
///
/// # Examples
/// The best one that the binary and this host have together:
/// ```no_run
/// use qemu_machine::{Accel, Machine, Wait};
///
/// let best = Accel::best("qemu-system-x86_64").wait()?;
/// println!("{best}"); // and why the others were passed over
/// let vm = Machine::builder("qemu-system-x86_64").accel([best]).launch().wait()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Accel(Cow<'static, str>);

impl Accel {
    /// Emulation by translation, which needs nothing of the host.
    pub const TCG: Self = Self(Cow::Borrowed("tcg"));
    /// Linux's own hypervisor.
    pub const KVM: Self = Self(Cow::Borrowed("kvm"));
    /// The Xen hypervisor.
    pub const XEN: Self = Self(Cow::Borrowed("xen"));
    /// No guest runs: what would be its doing is said by a test.
    pub const QTEST: Self = Self(Cow::Borrowed("qtest"));

    /// The accelerator of this name, whether or not anyone has it.
    pub fn new(name: impl Into<String>) -> Self {
        Self(Cow::Owned(name.into()))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// Whether this host lets us use it, as far as can be told without a
    /// guest: for KVM, that its device is there to be read and written. What is
    /// permitted may not work, or not be worth it: see [`probe`](Self::probe).
    ///
    /// # Errors
    /// [`AccelDenial`] says what keeps us from it.
    pub fn permitted(&self) -> Result<(), AccelDenial> {
        match self.name() {
            "kvm" => host::kvm(),
            "xen" => host::xen(),
            _ => Ok(()),
        }
    }

    /// Which accelerators a binary says that it has (`-accel help`), looked
    /// for in `PATH` unless it has a slash. QEMU leaves out `qtest`.
    ///
    /// # Examples
    /// ```no_run
    /// use qemu_machine::{Accel, Wait};
    ///
    /// let listed = Accel::listed("qemu-system-x86_64").wait()?;
    /// println!("emulates: {}", listed.contains(&Accel::TCG));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn listed(binary: impl Into<OsString>) -> AccelList {
        AccelList::new(binary.into())
    }

    /// What each accelerator of a binary is worth on this host: whether it is
    /// permitted, whether the tiny guest runs with it, and how fast.
    ///
    /// # Examples
    /// ```no_run
    /// use qemu_machine::{Accel, Wait};
    /// use qemu_machine::accel::AccelFinding;
    ///
    /// let report = Accel::probe("qemu-system-x86_64").wait()?;
    /// match report.finding(&Accel::KVM) {
    ///     None => println!("this QEMU was built without KVM"),
    ///     Some(AccelFinding::Works { .. }) => println!("KVM works"),
    ///     Some(why) => println!("no KVM: {why}"),
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn probe(binary: impl Into<OsString>) -> AccelProbe {
        AccelProbe::new(binary.into())
    }

    /// The accelerator of a binary that runs a guest fastest on this host, and
    /// why the others were passed over.
    pub fn best(binary: impl Into<OsString>) -> BestAccel {
        BestAccel::new(binary.into())
    }
}

impl fmt::Display for Accel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl AsRef<OsStr> for Accel {
    fn as_ref(&self) -> &OsStr {
        OsStr::new(self.name())
    }
}

/// The accelerators in what `-accel help` prints: a title, and a name on each
/// line after it. A module that cannot be loaded is complained of before it.
pub(super) fn parse_help(printed: &str) -> Vec<Accel> {
    let mut accels: Vec<Accel> = Vec::new();
    let titled = printed
        .lines()
        .skip_while(|line| !line.starts_with("Accelerators supported"));
    for line in titled.skip(1) {
        let is_of_a_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let name = line.trim();
        if !name.is_empty() && name.bytes().all(is_of_a_name) {
            let accel = Accel::new(name);
            if !accels.contains(&accel) {
                accels.push(accel);
            }
        }
    }
    accels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_from_the_help_and_unknown_ones_are_kept() {
        let help = "qemu: warning: no module\nodd\n\
                    Accelerators supported in QEMU binary:\r\ntcg\r\n\nkvm\n  zoom-2\nkvm\ntwo words\n";
        let expected = [Accel::TCG, Accel::KVM, Accel::new("zoom-2")];
        assert_eq!(parse_help(help), expected);
        assert!(parse_help("tcg\nkvm\n").is_empty());
        assert!(parse_help("").is_empty());
    }

    #[test]
    fn an_accelerator_is_its_name() {
        assert_eq!(Accel::new("kvm"), Accel::KVM);
        assert_eq!(Accel::new("kvm").as_ref(), OsStr::new("kvm"));
        assert_eq!(format!("{:5}|", Accel::TCG), "tcg  |");
    }
}
