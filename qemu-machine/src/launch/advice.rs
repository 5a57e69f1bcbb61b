//! What to do about a launch that failed, where that is known.

use crate::host::AccelDenial;
use std::ffi::OsStr;
use std::io;

use qemu_qmp::ConnectError;

use crate::launch::error::LaunchFailure;
use crate::life::ExitReport;

/// Advice on a failure, and on what QEMU printed.
pub(crate) fn on(failure: &LaunchFailure, report: Option<&ExitReport>) -> Option<String> {
    match failure {
        LaunchFailure::NotFound { program } => {
            Some(of_a_name(program).unwrap_or_else(|| package_of(program)))
        }
        LaunchFailure::NotExecutable { program, cause }
            if cause.kind() == io::ErrorKind::NotFound =>
        {
            of_a_name(program.as_os_str())
        }
        LaunchFailure::NotExecutable { cause, .. }
            if cause.kind() == io::ErrorKind::PermissionDenied =>
        {
            Some("it must be a program's file that you may execute: see its mode by `ls -l`".into())
        }
        LaunchFailure::Monitor(ConnectError::Address { cause, .. })
            if cause.kind() == io::ErrorKind::AddrInUse =>
        {
            Some("take another path or port, or port 0, for which the system chooses a free one; or leave the monitor on its socket pair, which needs neither".into())
        }
        LaunchFailure::ArgumentsTooLong { .. } => Some(
            "give what is long in a file: many options take one, and `-readconfig` takes options"
                .into(),
        ),
        LaunchFailure::Resources { cause, .. } => match cause.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE) => {
                Some("each machine needs some 10 descriptors here: raise `ulimit -n`".into())
            }
            Some(libc::EAGAIN) => Some(
                "the limit on processes is reached: raise `ulimit -u`, or the limit of the container"
                    .into(),
            ),
            _ => None,
        },
        LaunchFailure::File { action, cause, .. } => match cause.kind() {
            io::ErrorKind::StorageFull => {
                Some("free some space there, or choose another directory by `base_dir` and `log_dir`".into())
            }
            io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::NotFound
                if ["make a directory in", "make a log in", "write the log"].contains(action) => {
                Some("it must exist and be writable: choose another by `base_dir`, `log_dir` or `TMPDIR`".into())
            }
            _ => None,
        },
        LaunchFailure::NoSerialPort { .. } => Some(
            "use `Console::virtio()`, or `Console::device` with a device such as `pci-serial`, or another machine type"
                .into(),
        ),
        LaunchFailure::Refused { .. } => Some(
            "leave the option out: a launch returns once QEMU is ready, and the machine then runs \
             in the background for as long as its handle is held"
                .into(),
        ),
        LaunchFailure::Exited | LaunchFailure::NoMonitor(_)
            if report.is_some_and(|report| !report.survivors.is_empty()) =>
        {
            Some(
                "a wrapper or script must become QEMU (`exec`), or stay until QEMU ends \
                 (`setsid --wait`), and must not add `-daemonize`"
                    .into(),
            )
        }
        _ => on_output(&report?.output_tail),
    }
}

/// Advice on what QEMU printed: the first of its words that we know.
fn on_output(output: &[u8]) -> Option<String> {
    let output = String::from_utf8_lossy(output);
    if let Some(denial) = AccelDenial::in_words(&output) {
        let advice = denial.advice().map(|advice| format!("{advice}, or "));
        let advice = advice.unwrap_or_default();
        return Some(format!("{denial}: {advice}emulate by `accel([\"tcg\"])`"));
    }
    if let Some(words) = one_word(&output) {
        return Some(words);
    }
    KNOWN
        .iter()
        .find(|(words, _)| words.iter().all(|word| output.contains(word)))
        .map(|&(_, advice)| advice.to_owned())
}

/// QEMU's own words, all of which are there, and what to do then.
const KNOWN: [(&[&str], &str); 10] = [
    (
        &["invalid accelerator kvm"],
        "this QEMU was built without KVM: take the one for the host's architecture, or emulate by `accel([\"tcg\"])`",
    ),
    (
        &["-semihosting", "Option not supported for this target"],
        "semihosting needs a QEMU for Arm, RISC-V, MIPS, m68k or Xtensa: a guest of a PC prints without a driver to `Console::debugcon`",
    ),
    (
        &["isa-debugcon", "is not a valid device model name"],
        "`isa-debugcon` needs a machine with an ISA bus, such as a PC: on Arm or RISC-V take `Console::semihosting` or `Console::serial`",
    ),
    (
        &["No 'PCI' bus found for device 'virtio-serial-pci'"],
        "this machine has no PCI: give the console a `controller`, and the agent a `guest_agent_controller`, that it has: `virtio-serial-device` on virtio-mmio, `virtio-serial-ccw` on s390x",
    ),
    (
        &["No machine specified"],
        "this architecture has no default board: name one by `machine(\"virt\")`, which is `-machine`; `-machine help` lists them",
    ),
    (
        &["Device needs media, but drive is empty"],
        "a drive has no file: QEMU takes an empty argument for one",
    ),
    (
        &["Address already in use"],
        "a port in the arguments is in use by another process: `ss -ltnp` tells by which; port 0 has the system choose a free one",
    ),
    (
        &["Could not set up host forwarding rule"],
        "a forwarded port is in use by another process: `ss -ltnp` tells by which; port 0 has the system choose a free one",
    ),
    (
        &["Failed to get", "lock"],
        "another process has this image open: give each machine its own, or one with `snapshot=on`, or an overlay by `qemu-img create -b`",
    ),
    (
        &["cannot set up guest memory"],
        "the host has not that much memory to spare: give the machine less by `memory`",
    ),
];

/// Advice on the name of a program that is not there.
fn of_a_name(program: &OsStr) -> Option<String> {
    let name = program.to_string_lossy();
    if name.is_empty() {
        return Some("name QEMU's binary, as `qemu-system-x86_64`, or give its path".to_owned());
    }
    let first = name.split_whitespace().next().unwrap_or_default();
    (first != name).then(|| {
        format!(
            "the binary's name has blanks and is not a file: name {} alone, and give arguments by \
             `.arg()` and `.args()`, each by itself",
            if first.is_empty() { "it" } else { first }
        )
    })
}

/// An option and its value in one argument: QEMU takes that for an option of this
/// name, which it does not have.
fn one_word(output: &str) -> Option<String> {
    output.lines().find_map(|line| {
        let (_, option) = line.strip_suffix(": invalid option")?.split_once(": -")?;
        let (name, value) = option.split_once([' ', '=']).or_else(|| {
            // As many programs take it, and QEMU does not.
            let number = option.find(|letter: char| letter.is_ascii_digit())?;
            let (name, value) = option.split_at(number);
            ["m", "smp"].contains(&name).then_some((name, value))
        })?;
        Some(format!(
            "an option and its value are two arguments: `.args([\"-{name}\", \"{value}\"])`"
        ))
    })
}

/// Which package has a program of QEMU's.
fn package_of(program: &OsStr) -> String {
    let name = program.to_string_lossy();
    let Some(architecture) = name.strip_prefix("qemu-system-") else {
        return "is its package installed, and is its directory in PATH?".to_owned();
    };
    let package = match architecture {
        "x86_64" | "i386" => "x86",
        "aarch64" | "arm" => "arm",
        "ppc" | "ppc64" => "ppc",
        "mips" | "mipsel" | "mips64" | "mips64el" => "mips",
        _ => "misc",
    };
    format!(
        "install QEMU: on Debian the package qemu-system-{package}, on Fedora \
         qemu-system-{package}, on Arch qemu-full"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_qemu_says_of_a_host_without_what_it_needs_has_its_advice() {
        for (output, advice) in [
            (
                "qemu-system-x86_64: Could not access KVM kernel module: Permission denied\nqemu-system-x86_64: failed to initialize kvm: Permission denied\n",
                "group of /dev/kvm",
            ),
            (
                "Could not access KVM kernel module: No such file or directory\n",
                "this host has no KVM",
            ),
            (
                "qemu-system-arm: invalid accelerator kvm\n",
                "built without KVM",
            ),
            (
                "qemu-system-x86_64: -semihosting-config enable=on: Option not supported for this target\n",
                "`Console::debugcon`",
            ),
            (
                "-device isa-debugcon,iobase=0xe9: 'isa-debugcon' is not a valid device model name\n",
                "an ISA bus",
            ),
            (
                "-device virtio-serial: No 'PCI' bus found for device 'virtio-serial-pci'\n",
                "`virtio-serial-device`",
            ),
            (
                "-gdb tcp::1: Failed to find an available port: Address already in use\n",
                "`ss -ltnp`",
            ),
            (
                "Could not set up host forwarding rule 'tcp::22-:22'\n",
                "forwarded port",
            ),
            (
                "Failed to get \"write\" lock\nIs another process using the image [a]?\n",
                "image",
            ),
            (
                "cannot set up guest memory 'pc.ram': Cannot allocate memory\n",
                "less by `memory`",
            ),
        ] {
            let text = on_output(output.as_bytes());
            let text = text.unwrap_or_default();
            assert!(text.contains(advice), "{text}");
        }
        assert_eq!(
            on_output(b"qemu-system-x86_64: -foo: invalid option\n"),
            None
        );
    }

    #[test]
    fn a_command_line_in_one_word_is_told_to_be_split() {
        for name in ["qemu-system-x86_64 -m 256", "/usr/bin/qemu -m 256", " qemu"] {
            let text = of_a_name(OsStr::new(name)).unwrap_or_default();
            assert!(text.contains("`.args()`"), "{text}");
        }
        assert_eq!(of_a_name(OsStr::new("qemu-system-x86_64")), None);
        let text = of_a_name(OsStr::new("")).unwrap_or_default();
        assert!(text.contains("name QEMU's binary"), "{text}");
        for (said, split) in [
            ("-m 256M", r#"["-m", "256M"]"#),
            (
                "-drive file=a b,format=raw",
                r#"["-drive", "file=a b,format=raw"]"#,
            ),
            ("-m=256M", r#"["-m", "256M"]"#),
            ("-m256M", r#"["-m", "256M"]"#),
            ("--m 1G", r#"["--m", "1G"]"#),
        ] {
            let output = format!("qemu-system-x86_64: {said}: invalid option\n");
            let text = on_output(output.as_bytes()).unwrap_or_default();
            assert!(text.contains(split), "{text}");
        }
        let text = on_output(b"qemu-system-arm: No machine specified, and there is no default.\n");
        assert!(text.unwrap_or_default().contains("`-machine`"));
    }

    #[test]
    fn a_program_that_is_missing_has_its_package_named() {
        assert!(package_of(OsStr::new("qemu-system-x86_64")).contains("qemu-system-x86,"));
        assert!(package_of(OsStr::new("qemu-system-riscv64")).contains("qemu-system-misc"));
        assert!(package_of(OsStr::new("gdb")).contains("PATH"));
    }
}
