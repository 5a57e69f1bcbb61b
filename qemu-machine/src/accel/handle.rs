//! The name of an accelerator, and its operations.

use crate::accel::AccelList;
use crate::accel::AccelProbe;
use crate::accel::BestAccel;
use crate::host;
use crate::host::AccelDenial;
use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fmt;

/// An accelerator of QEMU, by its name in `-accel`.
///
/// # Examples
/// Launch with the best accelerator of a binary on this host:
/// ```no_run
/// use qemu_machine::{Accel, Machine, Wait};
///
/// let best = Accel::best("qemu-system-x86_64").wait()?;
/// println!("{best}"); // and why the others were rejected
/// let vm = Machine::builder("qemu-system-x86_64").accel([best]).launch().wait()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Accel(Cow<'static, str>);

impl Accel {
    /// Emulation by binary translation. It needs nothing from the host.
    pub const TCG: Self = Self(Cow::Borrowed("tcg"));
    /// The hypervisor of the Linux kernel.
    pub const KVM: Self = Self(Cow::Borrowed("kvm"));
    /// The Xen hypervisor.
    pub const XEN: Self = Self(Cow::Borrowed("xen"));
    /// No guest runs; a test drives the devices, see
    /// [`Machine::qtest`](crate::Machine::qtest).
    pub const QTEST: Self = Self(Cow::Borrowed("qtest"));

    /// An accelerator of this name. Whether QEMU has it is not checked.
    pub fn new(name: impl Into<String>) -> Self {
        Self(Cow::Owned(name.into()))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// Checks whether this host permits the accelerator, without running a
    /// guest. For KVM, this process must be able to read and write `/dev/kvm`.
    ///
    /// A permitted accelerator may still fail or be slow: see
    /// [`probe`](Self::probe).
    ///
    /// # Errors
    /// [`AccelDenial`] says why this process cannot use it.
    pub fn permitted(&self) -> Result<(), AccelDenial> {
        match self.name() {
            "kvm" => host::kvm(),
            "xen" => host::xen(),
            _ => Ok(()),
        }
    }

    /// The accelerators that a binary lists (`-accel help`). QEMU leaves out
    /// `qtest`.
    ///
    /// A `binary` without a slash is searched in `PATH`.
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

    /// Tries each accelerator of a binary on this host: whether the host
    /// permits it, whether the tiny guest runs with it, and how fast.
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

    /// The accelerator of a binary that runs a guest fastest on this host, with
    /// the reasons against the others.
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

/// Parses the output of `-accel help`: a title, then one name a line. QEMU
/// reports modules that it cannot load before the title.
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
