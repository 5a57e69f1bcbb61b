//! Decides whether a guest ended its machine by a device, and with which code:
//! from the command line, the exit status and the output of QEMU.
//!
//! Devices differ by version. `isa-debug-exit` exits without a `SHUTDOWN` event
//! before QEMU 9.1, `sifive_test` and HTIF before 8.2. Later versions send the
//! event, and then exit with the code. Semihosting never sends it.

use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use super::{Rung, RungOutcome, RungReport, Shutdown};
use crate::life::ExitStatus;

/// An end by a device that lets the guest choose QEMU's exit code.
///
/// The exit status of QEMU has 8 bits, so a code has no more.
///
/// # Status 1
/// Status 1 is ambiguous: QEMU exits with it if QEMU itself fails.
/// `isa-debug-exit` makes the same status from the value 0, and semihosting and
/// `sifive_test` from the code 1. An event resolves that for `isa-debug-exit`
/// since QEMU 9.1, and for `sifive_test` since 8.2. Otherwise, status 1 counts
/// as the exit of the guest if QEMU printed no error.
///
/// So let the guest write a value other than 0 to `isa-debug-exit`, such as
/// 0x10 for success and 0x11 for failure.
///
/// # Examples
/// ```no_run
/// use qemu_machine::{Machine, Wait};
/// use qemu_machine::spec::OptionGroup;
///
/// let vm = Machine::builder("qemu-system-x86_64")
///     .device(&OptionGroup::new("isa-debug-exit").set("iobase", "0xf4"))
///     .kernel("tests.bin")
///     .launch()
///     .wait()?;
/// let report = vm.wait_for_exit().wait()?;
/// match &report.guest_exit {
///     Some(exit) if exit.code == 0x10 => println!("passed"),
///     _ => panic!("{report}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct GuestExit {
    /// The device.
    pub device: ExitDevice,
    /// The code. For `isa-debug-exit`, it is the lowest 7 bits of the value
    /// that the guest wrote. For others, it is the lowest 8 bits of the code of
    /// the guest.
    pub code: u8,
}

/// A device by which a guest ends its machine with a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "snake_case")
)]
pub enum ExitDevice {
    /// `-device isa-debug-exit`, of PCs. It makes the status `2 * value + 1`.
    IsaDebugExit,
    /// `sifive_test`, also called the test finisher: part of the machine `virt`
    /// of RISC-V and `OpenRISC`. There, a power-off is an exit with code 0.
    SifiveTest,
    /// HTIF, part of the machine `spike` of RISC-V.
    Htif,
    /// The call `SYS_EXIT` of semihosting (`-semihosting`), which Arm, RISC-V,
    /// MIPS, m68k and Xtensa have.
    Semihosting,
    /// A device that is not in the command line. QEMU reported that the guest
    /// ended the machine, and exited with a status other than 0.
    Unknown,
}

/// The exit devices in a command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ExitDevices {
    isa_debug_exit: bool,
    semihosting: bool,
    /// `sifive_test` or HTIF.
    of_the_machine: Option<ExitDevice>,
    /// Whether QEMU has a monitor, on which it reports its end.
    has_monitor: bool,
    /// The name of the program of QEMU, which starts its error messages.
    program: String,
}

/// What is known besides the exit status.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Evidence<'a> {
    pub(crate) shutdown: Option<&'a Shutdown>,
    pub(crate) rungs: &'a [RungReport],
    /// Whether the monitor sent its greeting, so that QEMU ran, and not only a
    /// wrapper.
    pub(crate) greeted: bool,
    /// Whether the monitor was read to its end, so that no `SHUTDOWN` was
    /// missed.
    pub(crate) monitor_was_read: bool,
    pub(crate) guest_panicked: bool,
    /// The last output of QEMU.
    pub(crate) output: &'a [u8],
}

impl ExitDevices {
    /// Of a command line without its wrapper.
    pub(crate) fn of(words: &[OsString], has_monitor: bool) -> Self {
        let words: Vec<String> = words
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        let Some((binary, arguments)) = words.split_first() else {
            return Self::default();
        };
        let program = Path::new(binary).file_name().unwrap_or_default();
        let program = program.to_string_lossy().into_owned();
        let mut devices = Self::default();
        let mut machine = "";
        let mut arguments = arguments.iter();
        while let Some(word) = arguments.next() {
            // QEMU takes one dash or two.
            let option = word.strip_prefix('-').unwrap_or_default();
            let option = option.strip_prefix('-').unwrap_or(option);
            match option {
                "semihosting" => devices.semihosting = true,
                "device" => {
                    let device = arguments.next().map(|it| driver(it)).unwrap_or_default();
                    devices.isa_debug_exit |= device == "isa-debug-exit";
                }
                "semihosting-config" => {
                    let group = arguments.next().map_or("", String::as_str);
                    let off = ["off", "enable=off", "noenable"];
                    devices.semihosting = !group.split(',').any(|it| off.contains(&it));
                }
                "machine" | "M" => {
                    let group = arguments.next().map_or("", String::as_str);
                    if let Some(given) = machine_type(group) {
                        machine = given;
                    }
                }
                _ => {}
            }
        }
        let is_for = |architecture| program.contains(architecture);
        devices.of_the_machine = match machine {
            "virt" if is_for("riscv") || is_for("or1k") => Some(ExitDevice::SifiveTest),
            // The default of QEMU's RISC-V.
            "spike" | "" if is_for("riscv") => Some(ExitDevice::Htif),
            _ => None,
        };
        Self {
            has_monitor,
            program,
            ..devices
        }
    }

    /// The exit of the guest, if it exited by one of these devices.
    pub(crate) fn exit(&self, status: ExitStatus, evidence: &Evidence<'_>) -> Option<GuestExit> {
        let status = u8::try_from(status.code()?).ok()?;
        let exit = |device| {
            let code = match device {
                ExitDevice::IsaDebugExit => status >> 1,
                _ => status,
            };
            Some(GuestExit { device, code })
        };
        // The status of a failure of QEMU itself.
        let failed = status == 1 && self.is_an_error_in(evidence.output);
        let is_odd = status & 1 == 1;
        match evidence.shutdown {
            Some(Shutdown {
                guest: true,
                reason,
            }) => match (reason.as_str(), self.of_the_machine) {
                ("guest-shutdown", _) if self.isa_debug_exit && is_odd => {
                    exit(ExitDevice::IsaDebugExit)
                }
                ("guest-shutdown", Some(device))
                | ("guest-panic", Some(device @ ExitDevice::SifiveTest))
                    if !evidence.guest_panicked =>
                {
                    exit(device)
                }
                // `-action panic=exit-failure` makes it 1.
                _ if status == 0 || failed || evidence.guest_panicked => None,
                _ if self.semihosting => exit(ExitDevice::Semihosting),
                _ => exit(ExitDevice::Unknown),
            },
            _ if self.has_monitor && !evidence.greeted || failed => None,
            // Also if QEMU kept the guest paused (`-no-shutdown`), and then got
            // `quit`.
            _ if self.isa_debug_exit && is_odd => exit(ExitDevice::IsaDebugExit),
            shutdown => {
                let semihosting = self.semihosting.then_some(ExitDevice::Semihosting);
                let device = semihosting.or(self.of_the_machine)?;
                // QEMU also exits with 0 for other reasons, and reports them.
                let for_another_reason = shutdown.is_some()
                    || !evidence.monitor_was_read
                    || evidence.rungs.iter().any(ends_qemu);
                if status == 0 && for_another_reason {
                    return None;
                }
                exit(device)
            }
        }
    }

    /// Whether QEMU printed an error, and not only warnings.
    fn is_an_error_in(&self, output: &[u8]) -> bool {
        let output = String::from_utf8_lossy(output);
        let mut lines = output.lines();
        lines.any(|line| {
            let Some((before, words)) = line.split_once(": ") else {
                return false;
            };
            // A time may come first (`-msg timestamp=on`).
            let name = before.rsplit(' ').next().unwrap_or_default();
            let is_qemu = name == self.program || name.starts_with("qemu");
            is_qemu && !words.starts_with("warning:") && !words.starts_with("info:")
        })
    }
}

/// Whether this rung may have made QEMU exit.
fn ends_qemu(report: &RungReport) -> bool {
    matches!(report.rung, Rung::Quit | Rung::Terminate)
        && !matches!(report.outcome, RungOutcome::Failed(_))
}

/// The driver in the value of `-device`, which may be JSON.
fn driver(device: &str) -> String {
    if device.starts_with('{') {
        let device: serde_json::Value = serde_json::from_str(device).unwrap_or_default();
        return device["driver"].as_str().unwrap_or_default().to_owned();
    }
    let named = device.split(',').find_map(|it| it.strip_prefix("driver="));
    let first = device.split(',').next().unwrap_or_default();
    named.unwrap_or(first).to_owned()
}

/// The type in the value of `-machine`, if it names one.
fn machine_type(group: &str) -> Option<&str> {
    let mut members = group.split(',');
    let first = members.next().filter(|it| !it.contains('='));
    let named = group.split(',').find_map(|it| it.strip_prefix("type="));
    first.or(named)
}

impl fmt::Display for ExitDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IsaDebugExit => "isa-debug-exit",
            Self::SifiveTest => "sifive_test",
            Self::Htif => "HTIF",
            Self::Semihosting => "semihosting",
            Self::Unknown => "an unknown device",
        })
    }
}

impl fmt::Display for GuestExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { device, code } = self;
        write!(f, "the guest exited by {device} with code {code}")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn devices(line: &str) -> ExitDevices {
        let words: Vec<OsString> = line.split(' ').map(Into::into).collect();
        ExitDevices::of(&words, true)
    }

    /// Only the greeting, and all output was read.
    const SILENT: Evidence<'_> = Evidence {
        shutdown: None,
        rungs: &[],
        greeted: true,
        monitor_was_read: true,
        guest_panicked: false,
        output: b"",
    };

    fn shutdown(guest: bool, reason: &str) -> Shutdown {
        Shutdown {
            guest,
            reason: reason.to_owned(),
        }
    }

    fn exit(line: &str, code: i32, evidence: &Evidence<'_>) -> Option<(ExitDevice, u8)> {
        let exit = devices(line).exit(ExitStatus::Code(code), evidence);
        exit.map(|exit| (exit.device, exit.code))
    }

    const PC: &str = "qemu-system-x86_64 -device isa-debug-exit,iobase=0xf4";
    const ARM: &str = "qemu-system-arm -M virt -semihosting";
    const RISCV: &str = "/usr/bin/qemu-system-riscv64 -machine virt,aclint=on";
    const SPIKE: &str = "qemu-system-riscv32 -bios none";

    #[test]
    fn a_command_line_shows_the_exit_devices() {
        for line in [
            PC,
            "qemu -nodefaults --device driver=isa-debug-exit",
            "qemu -device {\"iosize\":4,\"driver\":\"isa-debug-exit\"}",
        ] {
            assert!(devices(line).isa_debug_exit, "{line}");
        }
        assert!(!devices("qemu -device isa-debugcon -append isa-debug-exit").isa_debug_exit);
        for (line, on) in [
            (ARM, true),
            ("qemu --semihosting-config enable=on,target=native", true),
            ("qemu -semihosting-config target=native", true),
            ("qemu -semihosting -semihosting-config enable=off", false),
            ("qemu -device isa-debug-exit", false),
        ] {
            assert_eq!(devices(line).semihosting, on, "{line}");
        }
        for (line, device) in [
            (RISCV, Some(ExitDevice::SifiveTest)),
            (
                "qemu-system-or1k -M type=virt",
                Some(ExitDevice::SifiveTest),
            ),
            (SPIKE, Some(ExitDevice::Htif)),
            ("qemu-system-riscv64 -M sifive_u", None),
            ("qemu-system-aarch64 -M virt", None),
        ] {
            assert_eq!(devices(line).of_the_machine, device, "{line}");
        }
    }

    #[test]
    fn an_exit_by_a_device_is_the_same_with_the_event_and_without() {
        let by_guest = shutdown(true, "guest-shutdown");
        let with_event = Evidence {
            shutdown: Some(&by_guest),
            ..SILENT
        };
        for evidence in [SILENT, with_event] {
            for (line, status, expected) in [
                (PC, 33, (ExitDevice::IsaDebugExit, 16)),
                (PC, 255, (ExitDevice::IsaDebugExit, 127)),
                // The pitfall: only the printed error resolves it.
                (PC, 1, (ExitDevice::IsaDebugExit, 0)),
                (ARM, 42, (ExitDevice::Semihosting, 42)),
                (RISCV, 0, (ExitDevice::SifiveTest, 0)),
                (RISCV, 3, (ExitDevice::SifiveTest, 3)),
                (SPIKE, 7, (ExitDevice::Htif, 7)),
            ] {
                assert_eq!(exit(line, status, &evidence), Some(expected), "{line}");
            }
        }
        let panic = shutdown(true, "guest-panic");
        let failed = Evidence {
            shutdown: Some(&panic),
            ..SILENT
        };
        let expected = Some((ExitDevice::SifiveTest, 3));
        assert_eq!(exit(RISCV, 3, &failed), expected);
        // Semihosting has no event.
        assert_eq!(exit(ARM, 0, &SILENT), Some((ExitDevice::Semihosting, 0)));
        assert_eq!(exit(ARM, 0, &with_event), None);
        // The power-off of a PC has no code.
        assert_eq!(exit(PC, 0, &with_event), None);
        let unknown = Some((ExitDevice::Unknown, 5));
        assert_eq!(exit("qemu-system-x86_64", 5, &with_event), unknown);
    }

    #[test]
    fn a_failure_of_qemu_is_not_the_guest_s() {
        let error = b"qemu-system-x86_64: warning: slow\n2024-01-01T00:00:00Z qemu-system-x86_64: -device x: no such device\n";
        let printed = Evidence {
            output: error,
            ..SILENT
        };
        assert_eq!(exit(PC, 1, &printed), None);
        // QEMU fails with no other code.
        let expected = Some((ExitDevice::IsaDebugExit, 16));
        assert_eq!(exit(PC, 33, &printed), expected);
        let warned = Evidence {
            output: b"qemu-system-x86_64: warning: TCG lacks a feature\nguest: hello\n",
            ..SILENT
        };
        let expected = Some((ExitDevice::IsaDebugExit, 0));
        assert_eq!(exit(PC, 1, &warned), expected);
        // A wrapper that finds no QEMU exits with 127.
        let never_greeted = Evidence {
            greeted: false,
            ..SILENT
        };
        assert_eq!(exit(PC, 127, &never_greeted), None);
        // No device makes an even status, or a signal.
        assert_eq!(exit(PC, 2, &SILENT), None);
        let killed = ExitStatus::Signal {
            signal: 11,
            core_dumped: false,
        };
        assert_eq!(devices(PC).exit(killed, &SILENT), None);
        // `-action panic=exit-failure`.
        let panic = shutdown(true, "guest-panic");
        let panicked = Evidence {
            shutdown: Some(&panic),
            guest_panicked: true,
            ..SILENT
        };
        assert_eq!(exit(PC, 1, &panicked), None);
    }

    #[test]
    fn a_requested_end_with_code_0_is_not_an_exit_of_the_guest() {
        let quit = shutdown(false, "host-qmp-quit");
        let by_quit = Evidence {
            shutdown: Some(&quit),
            ..SILENT
        };
        let unread = Evidence {
            monitor_was_read: false,
            ..SILENT
        };
        let terminate = [RungReport {
            rung: Rung::Terminate,
            took: Duration::ZERO,
            outcome: RungOutcome::Ended,
        }];
        let terminated = Evidence {
            rungs: &terminate,
            ..SILENT
        };
        for evidence in [by_quit, unread, terminated] {
            assert_eq!(exit(ARM, 0, &evidence), None);
            assert_eq!(exit(RISCV, 0, &evidence), None);
        }
        // A guest that was paused until `quit` (`-no-shutdown`).
        let expected = Some((ExitDevice::IsaDebugExit, 16));
        assert_eq!(exit(PC, 33, &by_quit), expected);
    }
}
