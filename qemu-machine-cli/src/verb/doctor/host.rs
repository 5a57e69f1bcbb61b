//! The checks of the host itself. Reads files of the kernel; each verdict is pure.

use std::fs;
use std::path::{Path, PathBuf};

use super::Finding;

pub(super) fn kernel() -> Finding {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    judge_kernel(release.trim())
}

fn judge_kernel(release: &str) -> Finding {
    let number = |text: Option<&str>| text.and_then(|it| it.parse::<u32>().ok());
    let mut parts = release.split(|it: char| !it.is_ascii_digit());
    match (number(parts.next()), number(parts.next())) {
        (Some(major), Some(minor)) if (major, minor) >= LEAST_KERNEL => {
            Finding::good("kernel", format!("Linux {release}"))
        }
        (Some(_), Some(_)) => {
            let advice = "Linux 5.9 or newer is needed: update the kernel".to_owned();
            Finding::bad(
                "kernel",
                format!("Linux {release} is too old"),
                Some(advice),
            )
        }
        _ => Finding::warning(
            "kernel",
            "its version is not known",
            "Linux 5.9 or newer is needed",
        ),
    }
}

const LEAST_KERNEL: (u32, u32) = (5, 9);

/// Whether a file can be made where machines make theirs.
pub(super) fn temporary_files() -> Finding {
    let folder = std::env::temp_dir();
    let path = folder.join(format!("qemu-machine-doctor-{}", std::process::id()));
    let made = fs::File::create_new(&path);
    let _ = fs::remove_file(&path);
    let shown = folder.display();
    match made {
        Ok(_) => Finding::good("temporary files", format!("{shown} can be written")),
        Err(error) => {
            let advice = "set TMPDIR to a directory that can be written".to_owned();
            Finding::bad("temporary files", format!("{shown}: {error}"), Some(advice))
        }
    }
}

/// The guardian is a shell script.
pub(super) fn shell() -> Finding {
    if Path::new("/bin/sh").exists() {
        Finding::good("shell", "/bin/sh is there")
    } else {
        let advice =
            "what a wrapper leaves behind is not killed if this process dies: install a shell";
        Finding::warning("shell", "there is no /bin/sh", advice)
    }
}

pub(super) fn descriptors() -> Finding {
    judge_descriptors(&fs::read_to_string("/proc/self/limits").unwrap_or_default())
}

fn judge_descriptors(limits: &str) -> Finding {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_ascii_whitespace().next());
    match soft.and_then(|it| it.parse::<u64>().ok()) {
        Some(limit) if limit < 256 => Finding::warning(
            "descriptors",
            format!("{limit} at once, enough for few machines"),
            "raise the limit: ulimit -n 4096",
        ),
        Some(limit) => Finding::good("descriptors", format!("{limit} at once")),
        None => Finding::good("descriptors", "no limit"),
    }
}

pub(super) fn memory() -> Finding {
    let available = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = available
        .lines()
        .find_map(|line| {
            line.strip_prefix("MemAvailable:")?
                .trim()
                .strip_suffix("kB")?
                .trim()
                .parse()
                .ok()
        })
        .map(|kilobytes: u64| kilobytes << 10);
    judge_memory(available, cgroup_limit("memory.max"))
}

fn judge_memory(available: Option<u64>, limit: Option<u64>) -> Finding {
    let mebibytes = |bytes: u64| format!("{} MiB", bytes >> 20);
    let available_text = available.map_or_else(
        || "not known".to_owned(),
        |it| format!("{} available", mebibytes(it)),
    );
    let limit_text = limit.map(|it| format!(", {} permitted by the control group", mebibytes(it)));
    let what = available_text + &limit_text.unwrap_or_default();
    let least = available.into_iter().chain(limit).min();
    if least.is_some_and(|least| least < 512 << 20) {
        let advice = "give the guests less memory, or run fewer at once";
        return Finding::warning("memory", what, advice);
    }
    Finding::good("memory", what)
}

pub(super) fn processes() -> Finding {
    match cgroup_limit("pids.max") {
        Some(limit) if limit < 100 => Finding::warning(
            "processes",
            format!("the control group permits {limit} processes and threads"),
            "a machine needs some 10: raise pids.max, or --pids-limit of the container",
        ),
        Some(limit) => Finding::good(
            "processes",
            format!("{limit} permitted by the control group"),
        ),
        None => Finding::good("processes", "no limit by the control group"),
    }
}

/// The lowest limit of this process's control group and its parents.
fn cgroup_limit(name: &str) -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let path = PathBuf::from("/sys/fs/cgroup").join(own);
    let limits = path
        .ancestors()
        .take_while(|it| it.starts_with("/sys/fs/cgroup"));
    let limits =
        limits.filter_map(|it| fs::read_to_string(it.join(name)).ok()?.trim().parse().ok());
    limits.min()
}

/// Whether the firmware of UEFI is there for guests with this processor; `None` if
/// they are not known to have one.
pub(super) fn firmware(processor: &str) -> Option<Finding> {
    let known = FIRMWARE
        .iter()
        .find(|it| it.processors.contains(&processor))?;
    let found = known.files.iter().find(|path| Path::new(path).exists());
    let guests = known.guests;
    Some(match found {
        Some(path) => Finding::good("firmware", format!("UEFI for {guests} at {path}")),
        None => Finding::warning(
            "firmware",
            format!("no UEFI for {guests} was found"),
            format!("guests that need it: install {}", known.packages),
        ),
    })
}

/// Where distributions have the firmware of UEFI.
struct Firmware {
    processors: &'static [&'static str],
    guests: &'static str,
    files: &'static [&'static str],
    packages: &'static str,
}

const FIRMWARE: [Firmware; 3] = [
    Firmware {
        processors: &["x86_64", "i386"],
        guests: "PCs",
        files: &[
            "/usr/share/OVMF/OVMF_CODE_4M.fd",
            "/usr/share/OVMF/OVMF_CODE.fd",
            "/usr/share/edk2/ovmf/OVMF_CODE.fd",
            "/usr/share/edk2/x64/OVMF_CODE.4m.fd",
            "/usr/share/edk2-ovmf/x64/OVMF_CODE.fd",
            "/usr/share/qemu/edk2-x86_64-code.fd",
        ],
        packages: "ovmf (Debian, Ubuntu) or edk2-ovmf (Fedora, Arch)",
    },
    Firmware {
        processors: &["aarch64"],
        guests: "64-bit ARM",
        files: &[
            "/usr/share/AAVMF/AAVMF_CODE.fd",
            "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd",
            "/usr/share/edk2/aarch64/QEMU_EFI.fd",
            "/usr/share/edk2/aarch64/QEMU_CODE.fd",
            "/usr/share/qemu/edk2-aarch64-code.fd",
        ],
        packages: "qemu-efi-aarch64 (Debian, Ubuntu) or edk2-aarch64 (Fedora, Arch)",
    },
    Firmware {
        processors: &["riscv64"],
        guests: "64-bit RISC-V",
        files: &[
            "/usr/share/qemu-efi-riscv64/RISCV_VIRT_CODE.fd",
            "/usr/share/edk2/riscv/RISCV_VIRT_CODE.fd",
            "/usr/share/qemu/edk2-riscv-code.fd",
        ],
        packages: "qemu-efi-riscv64 (Debian, Ubuntu) or edk2-riscv64 (Fedora)",
    },
];

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn kernels_before_5_9_are_too_old() {
        let table = [
            ("6.1.0-18-amd64", State::Good),
            ("5.9", State::Good),
            ("5.10.0", State::Good),
            ("5.8.18", State::Bad),
            ("4.19.0", State::Bad),
            ("", State::Warning),
        ];
        for (release, state) in table {
            assert_eq!(judge_kernel(release).state, state, "{release}");
        }
    }

    #[test]
    fn the_firmware_is_that_of_the_guests() {
        let said = |processor| firmware(processor).map(|it| it.what);
        for (processor, guests) in [
            ("x86_64", "PCs"),
            ("i386", "PCs"),
            ("aarch64", "64-bit ARM"),
            ("riscv64", "64-bit RISC-V"),
        ] {
            assert!(said(processor).unwrap().contains(guests), "{processor}");
        }
        assert_eq!(said("s390x"), None);
    }

    #[test]
    fn few_descriptors_and_little_memory_are_warnings() {
        let limits =
            |soft: &str| format!("Limit Soft Hard Units\nMax open files   {soft}   4096  files\n");
        assert_eq!(judge_descriptors(&limits("64")).state, State::Warning);
        assert_eq!(judge_descriptors(&limits("1024")).state, State::Good);
        assert_eq!(judge_descriptors(&limits("unlimited")).state, State::Good);
        assert_eq!(judge_memory(Some(8 << 30), None).state, State::Good);
        assert_eq!(
            judge_memory(Some(8 << 30), Some(256 << 20)).state,
            State::Warning
        );
        assert_eq!(judge_memory(None, None).state, State::Good);
    }
}
