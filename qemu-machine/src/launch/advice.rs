//! Advice on a failed launch, for known causes.

use crate::host::AccelDenial;
use std::ffi::OsStr;
use std::io;

use qemu_qmp::error::ConnectError;

use crate::launch::error::LaunchFailure;
use crate::life::ExitReport;

/// Advice on a failure, and on the output of QEMU.
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
            Some("check that it is a program and that you may execute it: `ls -l`".into())
        }
        LaunchFailure::Monitor(ConnectError::Address { cause, .. })
            if cause.kind() == io::ErrorKind::AddrInUse =>
        {
            Some("use another path or port, or port 0 for a free one; or leave the monitor on its socket pair, which needs neither".into())
        }
        LaunchFailure::ArgumentsTooLong { .. } => Some(
            "put long values into a file: many options read one, and `-readconfig` reads options"
                .into(),
        ),
        LaunchFailure::Resources { cause, .. } => match cause.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE) => {
                Some("each machine needs about 10 descriptors: raise `ulimit -n`".into())
            }
            Some(libc::EAGAIN) => Some(
                "the limit on processes is reached: raise `ulimit -u` or the limit of the container"
                    .into(),
            ),
            _ => None,
        },
        LaunchFailure::File { action, cause, .. } => match cause.kind() {
            io::ErrorKind::StorageFull => {
                Some("free some space there, or set another directory with `base_dir` and `log_dir`".into())
            }
            io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::NotFound
                if ["make a directory in", "make a log in", "write the log"].contains(action) => {
                Some("it must exist and be writable: set another with `base_dir`, `log_dir` or `TMPDIR`".into())
            }
            _ => None,
        },
        LaunchFailure::NoSerialPort { .. } => Some(
            "use `Console::virtio()`, or `Console::device` with a device such as `pci-serial`, or another machine type"
                .into(),
        ),
        LaunchFailure::Refused { .. } => Some(
            "remove the option: a launch returns when QEMU is ready, and the machine runs in the \
             background until its last handle is dropped"
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

/// Advice on the output of QEMU, for the first known message.
fn on_output(output: &[u8]) -> Option<String> {
    let output = String::from_utf8_lossy(output);
    if let Some(denial) = AccelDenial::in_words(&output) {
        let advice = denial.advice().map(|advice| format!("{advice}, or "));
        let advice = advice.unwrap_or_default();
        return Some(format!("{denial}: {advice}emulate with `accel([\"tcg\"])`"));
    }
    if let Some(words) = one_word(&output) {
        return Some(words);
    }
    KNOWN
        .iter()
        .find(|(words, _)| words.iter().all(|word| output.contains(word)))
        .map(|&(_, advice)| advice.to_owned())
}

/// Parts of a message of QEMU, and the advice if the output has all of them.
const KNOWN: [(&[&str], &str); 10] = [
    (
        &["invalid accelerator kvm"],
        "this QEMU was built without KVM: use the QEMU for the host's architecture, or emulate with `accel([\"tcg\"])`",
    ),
    (
        &["-semihosting", "Option not supported for this target"],
        "semihosting needs a QEMU for Arm, RISC-V, MIPS, m68k or Xtensa: a PC guest can print to `Console::debugcon` without a driver",
    ),
    (
        &["isa-debugcon", "is not a valid device model name"],
        "`isa-debugcon` needs a machine with an ISA bus, such as a PC: on Arm or RISC-V use `Console::semihosting` or `Console::serial`",
    ),
    (
        &["No 'PCI' bus found for device 'virtio-serial-pci'"],
        "this machine has no PCI: set the `controller` of the console or the `guest_agent_controller`: `virtio-serial-device` on virtio-mmio, `virtio-serial-ccw` on s390x",
    ),
    (
        &["No machine specified"],
        "this architecture has no default board: set one, such as `machine(\"virt\")`, which is `-machine`; `-machine help` lists them",
    ),
    (
        &["Device needs media, but drive is empty"],
        "a drive has no file; QEMU also takes an empty argument for a drive",
    ),
    (
        &["Address already in use"],
        "another process uses a port in the arguments: `ss -ltnp` shows which; port 0 makes the system choose a free one",
    ),
    (
        &["Could not set up host forwarding rule"],
        "another process uses a forwarded port: `ss -ltnp` shows which; port 0 makes the system choose a free one",
    ),
    (
        &["Failed to get", "lock"],
        "another process has this image open: give each machine its own image, `snapshot=on`, or an overlay from `qemu-img create -b`",
    ),
    (
        &["cannot set up guest memory"],
        "the host has too little free memory: give the machine less by `memory`",
    ),
];

/// Advice on the name of a missing program.
fn of_a_name(program: &OsStr) -> Option<String> {
    let name = program.to_string_lossy();
    if name.is_empty() {
        return Some("name QEMU's binary, such as `qemu-system-x86_64`, or its path".to_owned());
    }
    let first = name.split_whitespace().next().unwrap_or_default();
    (first != name).then(|| {
        format!(
            "the name has blanks, and there is no such file: name only {}, and pass each argument \
             by itself with `.arg()` or `.args()`",
            if first.is_empty() {
                "the binary"
            } else {
                first
            }
        )
    })
}

/// An option and its value in one argument: QEMU reads it as an option of this
/// name, which does not exist.
fn one_word(output: &str) -> Option<String> {
    output.lines().find_map(|line| {
        let (_, option) = line.strip_suffix(": invalid option")?.split_once(": -")?;
        let (name, value) = option.split_once([' ', '=']).or_else(|| {
            // Many programs accept this, but not QEMU.
            let number = option.find(|letter: char| letter.is_ascii_digit())?;
            let (name, value) = option.split_at(number);
            ["m", "smp"].contains(&name).then_some((name, value))
        })?;
        Some(format!(
            "an option and its value are two arguments: `.args([\"-{name}\", \"{value}\"])`"
        ))
    })
}

/// Names the package with a QEMU program.
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
    fn each_known_message_of_qemu_has_its_advice() {
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
    fn a_command_line_in_one_word_gets_the_advice_to_split_it() {
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
