//! What this host permits of an accelerator, before any guest has tried it.
//!
//! Never runs anything: a device is opened, and two files of the kernel's are
//! read.

use std::error::Error;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Why this host does not let us use an accelerator.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AccelDenial {
    /// There is no `/dev/kvm`, as the kernel's module is not loaded.
    NotLoaded,
    /// There is no `/dev/kvm`, and a processor that does not say that it can
    /// virtualize.
    NoVirtualization,
    /// The kernel has KVM, but there is no `/dev/kvm` where we are.
    Hidden,
    /// We may not read and write `/dev/kvm`.
    NotPermitted,
    /// Another hypervisor has the processor's virtualization.
    Busy,
    /// This host does not run under Xen.
    NoXen,
    /// The device cannot be opened, for another reason.
    Other {
        /// What the system says.
        cause: String,
    },
}

impl fmt::Display for AccelDenial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLoaded => {
                f.write_str("this host has no KVM: the kernel's module is not loaded")
            }
            Self::NoVirtualization => {
                f.write_str("this host has no KVM: its processor offers no virtualization")
            }
            Self::Hidden => f.write_str(
                "this host has no KVM for us: its kernel has, but there is no /dev/kvm here",
            ),
            Self::NotPermitted => {
                f.write_str("you may not use KVM: /dev/kvm is not yours to read and write")
            }
            Self::Busy => {
                f.write_str("KVM is busy: another hypervisor has the processor's virtualization")
            }
            Self::NoXen => {
                f.write_str("this host does not run under Xen, or is not its control domain")
            }
            Self::Other { cause } => write!(f, "/dev/kvm cannot be opened: {cause}"),
        }
    }
}

impl Error for AccelDenial {}

impl AccelDenial {
    /// What to do about it, where that is known.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::NotLoaded => Some(
                "load its module, kvm_intel or kvm_amd (`sudo modprobe`); inside of a VM that must have nested virtualization",
            ),
            Self::NoVirtualization => Some(
                "turn virtualization on in the host's firmware; inside of a VM, have the outer host give it nested virtualization",
            ),
            Self::Hidden => {
                Some("pass the device on to the container or sandbox: `--device /dev/kvm`")
            }
            Self::NotPermitted => Some(
                "join the group of /dev/kvm (`sudo usermod -aG kvm $USER`, then log in anew); a container must be given the device, and its group",
            ),
            Self::Busy => Some("end the other hypervisor, such as VirtualBox or VMware"),
            Self::NoXen | Self::Other { .. } => None,
        }
    }

    /// What QEMU says in its own words when it cannot have KVM.
    pub(crate) fn in_words(output: &str) -> Option<Self> {
        let has = |word| output.contains(word);
        if !has("KVM kernel module") && !has("KVM_CREATE_VM") {
            return None;
        }
        if has("Permission denied") || has("Operation not permitted") {
            Some(Self::NotPermitted)
        } else if has("Device or resource busy") {
            Some(Self::Busy)
        } else if has("No such file or directory") || has("No such device") {
            Some(Facts::read().missing())
        } else {
            None
        }
    }
}

/// Whether KVM's device can be opened as QEMU opens it.
pub(super) fn kvm() -> Result<(), AccelDenial> {
    let opened = File::options().read(true).write(true).open("/dev/kvm");
    judge(opened.map(drop), Facts::read)
}

/// Whether there is a Xen to give commands to.
pub(super) fn xen() -> Result<(), AccelDenial> {
    let devices = ["/dev/xen/privcmd", "/proc/xen/privcmd"];
    if devices.iter().any(|path| Path::new(path).exists()) {
        Ok(())
    } else {
        Err(AccelDenial::NoXen)
    }
}

/// What is asked where there is no device.
#[derive(Debug, Clone, Copy)]
struct Facts {
    kernel_has_kvm: bool,
    processor_virtualizes: bool,
}

impl Facts {
    fn read() -> Self {
        let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        Self {
            kernel_has_kvm: Path::new("/sys/class/misc/kvm").exists(),
            processor_virtualizes: virtualizes(&processor),
        }
    }

    fn missing(self) -> AccelDenial {
        match self {
            Self {
                kernel_has_kvm: true,
                ..
            } => AccelDenial::Hidden,
            Self {
                processor_virtualizes: false,
                ..
            } => AccelDenial::NoVirtualization,
            _ => AccelDenial::NotLoaded,
        }
    }
}

fn judge(opened: io::Result<()>, facts: impl FnOnce() -> Facts) -> Result<(), AccelDenial> {
    let Err(error) = opened else {
        return Ok(());
    };
    Err(match error.raw_os_error() {
        Some(libc::ENOENT) => facts().missing(),
        // A node that was made by hand, or has outlived the module.
        Some(libc::ENODEV | libc::ENXIO) => Facts {
            kernel_has_kvm: false,
            ..facts()
        }
        .missing(),
        Some(libc::EACCES | libc::EPERM) => AccelDenial::NotPermitted,
        Some(libc::EBUSY) => AccelDenial::Busy,
        _ => AccelDenial::Other {
            cause: error.to_string(),
        },
    })
}

/// Whether a processor says so in `/proc/cpuinfo`. One that is not of the x86
/// family says nothing of it there, and is given the benefit of the doubt.
fn virtualizes(processor: &str) -> bool {
    let mut flags = processor.lines().filter_map(|line| {
        let (name, values) = line.split_once(':')?;
        (name.trim_end() == "flags").then_some(values)
    });
    flags.next().is_none_or(|values| {
        values
            .split_ascii_whitespace()
            .any(|flag| flag == "vmx" || flag == "svm")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_for_having_no_kvm_is_told_from_the_others() {
        let facts = |kernel_has_kvm, processor_virtualizes| Facts {
            kernel_has_kvm,
            processor_virtualizes,
        };
        for (errno, facts, expected) in [
            (libc::ENOENT, facts(false, true), AccelDenial::NotLoaded),
            (
                libc::ENOENT,
                facts(false, false),
                AccelDenial::NoVirtualization,
            ),
            (libc::ENOENT, facts(true, false), AccelDenial::Hidden),
            (libc::ENODEV, facts(true, true), AccelDenial::NotLoaded),
            (
                libc::ENXIO,
                facts(false, false),
                AccelDenial::NoVirtualization,
            ),
            (libc::EACCES, facts(true, true), AccelDenial::NotPermitted),
            (libc::EPERM, facts(true, true), AccelDenial::NotPermitted),
            (libc::EBUSY, facts(true, true), AccelDenial::Busy),
        ] {
            let opened = Err(io::Error::from_raw_os_error(errno));
            assert_eq!(judge(opened, || facts), Err(expected), "{errno} {facts:?}");
        }
        let other = judge(Err(io::Error::from_raw_os_error(libc::EMFILE)), Facts::read);
        assert!(matches!(other, Err(AccelDenial::Other { .. })), "{other:?}");
        assert_eq!(judge(Ok(()), Facts::read), Ok(()));
    }

    #[test]
    fn what_qemu_says_and_what_the_host_says_have_one_reason() {
        for (words, expected) in [
            (
                "Could not access KVM kernel module: Permission denied",
                Some(AccelDenial::NotPermitted),
            ),
            (
                "Could not access KVM kernel module: No such file or directory",
                Some(Facts::read().missing()),
            ),
            (
                "ioctl(KVM_CREATE_VM) failed: 16 Device or resource busy",
                Some(AccelDenial::Busy),
            ),
            ("qemu: could not open disk: Permission denied", None),
        ] {
            assert_eq!(AccelDenial::in_words(words), expected, "{words}");
        }
    }

    #[test]
    fn a_processor_virtualizes_if_it_says_so_or_cannot_say() {
        assert!(virtualizes("model name\t: X\nflags\t\t: fpu vmx sse\n"));
        assert!(virtualizes("flags\t\t: svm\n"));
        assert!(!virtualizes(
            "flags\t\t: fpu sse\nvmx flags\t: vnmi\nbugs : vmx\n"
        ));
        assert!(virtualizes("Features\t: fp asimd\n"));
    }
}
