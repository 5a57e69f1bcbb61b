//! Checks whether this host permits an accelerator, before a guest uses it.
//!
//! Never runs a program: it opens a device, and reads two files of the kernel.

use std::error::Error;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use qemu_qmp::error::ErrorKind;

/// Why this host does not permit an accelerator.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "snake_case")
)]
pub enum AccelDenial {
    /// There is no `/dev/kvm`: the kernel module is not loaded.
    NotLoaded,
    /// There is no `/dev/kvm`, and the processor does not report
    /// virtualization.
    NoVirtualization,
    /// The kernel has KVM, but there is no `/dev/kvm` for this process, for
    /// instance in a container.
    Hidden,
    /// This user has no permission to read and write `/dev/kvm`.
    NotPermitted,
    /// Another hypervisor uses the virtualization of the processor.
    Busy,
    /// This host does not run under Xen.
    NoXen,
    /// The device cannot be opened for another reason.
    Other {
        /// The error of the system.
        cause: String,
    },
}

impl fmt::Display for AccelDenial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLoaded => {
                f.write_str("this host has no KVM: the kernel module is not loaded")
            }
            Self::NoVirtualization => {
                f.write_str("this host has no KVM: the processor reports no virtualization")
            }
            Self::Hidden => f.write_str(
                "this host has no KVM for this process: the kernel has it, but /dev/kvm is missing here",
            ),
            Self::NotPermitted => {
                f.write_str("KVM is not permitted: this user cannot read and write /dev/kvm")
            }
            Self::Busy => {
                f.write_str("KVM is busy: another hypervisor uses the processor's virtualization")
            }
            Self::NoXen => {
                f.write_str("this host does not run under Xen, or is not its control domain")
            }
            Self::Other { cause } => write!(f, "cannot open /dev/kvm: {cause}"),
        }
    }
}

impl Error for AccelDenial {}

impl AccelDenial {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotLoaded | Self::NoVirtualization | Self::Hidden | Self::Busy | Self::NoXen => {
                ErrorKind::Unsupported
            }
            Self::NotPermitted => ErrorKind::PermissionDenied,
            Self::Other { .. } => ErrorKind::System,
        }
    }

    /// What to do, if known.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::NotLoaded => Some(
                "load the module kvm_intel or kvm_amd (`sudo modprobe`); inside a VM, that needs nested virtualization",
            ),
            Self::NoVirtualization => Some(
                "turn virtualization on in the firmware of the host; inside a VM, turn nested virtualization on in the outer host",
            ),
            Self::Hidden => {
                Some("pass the device into the container or sandbox: `--device /dev/kvm`")
            }
            Self::NotPermitted => Some(
                "join the group of /dev/kvm (`sudo usermod -aG kvm $USER`, then log in again); a container also needs the device and its group",
            ),
            Self::Busy => Some("stop the other hypervisor, such as VirtualBox or VMware"),
            Self::NoXen | Self::Other { .. } => None,
        }
    }

    /// Finds the reason in the output of a QEMU that cannot use KVM.
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

/// Checks that the device of KVM can be opened as QEMU opens it.
pub(super) fn kvm() -> Result<(), AccelDenial> {
    let opened = File::options().read(true).write(true).open("/dev/kvm");
    judge(opened.map(drop), Facts::read)
}

/// Checks that there is a Xen that takes commands.
pub(super) fn xen() -> Result<(), AccelDenial> {
    let devices = ["/dev/xen/privcmd", "/proc/xen/privcmd"];
    if devices.iter().any(|path| Path::new(path).exists()) {
        Ok(())
    } else {
        Err(AccelDenial::NoXen)
    }
}

/// What decides the reason if there is no device.
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
        // A device node that was made by hand, or is older than the module.
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

/// Whether `/proc/cpuinfo` reports virtualization. A processor outside of the
/// x86 family reports nothing there, so it counts as able.
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
    fn each_reason_for_missing_kvm_is_distinct() {
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
