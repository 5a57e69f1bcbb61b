//! Devices that a guest has for those who watch it: by which it exits with a code,
//! and by which it prints without a driver.
use std::time::Duration;

use crate::support::boot_sector::boots;
use crate::support::{Qemu, Scratch, scenario, text};
use qemu_machine::error::LaunchError;
use qemu_machine::life::{ExitDevice, Rung};
use qemu_machine::qmp::command::Cont;
use qemu_machine::spec::{Monitor, OptionGroup};
use qemu_machine::{Console, ExitCause, Machine, MachineBuilder};

/// A machine whose guest exits with what it is sent.
fn exits(qemu: &Qemu, scratch: &Scratch) -> MachineBuilder {
    let exit = OptionGroup::new("isa-debug-exit").set("iobase", "0xf4");
    boots(qemu, "devices", scratch).device(&exit)
}

/// What has the guest exit with this value.
fn exit_by(value: u8) -> [u8; 1] {
    [value | 0x80]
}

// R8
scenario! {
    fn an_exit_by_isa_debug_exit_is_the_guest_s_with_the_value_that_it_wrote(qemu) {
        for value in [0x10, 0x11, 0, 0x7f] {
            let scratch = Scratch::new("exit");
            let vm = run!(exits(&qemu, &scratch).launch()).unwrap();
            run!(vm.console().expect(">")).unwrap();
            run!(vm.console().send(exit_by(value))).unwrap();
            let report = run!(vm.wait_for_exit()).unwrap();
            let exit = report.guest_exit.unwrap();
            assert_eq!((exit.device, exit.code), (ExitDevice::IsaDebugExit, value), "{report}");
            assert_eq!(report.cause, ExitCause::Guest, "{report}");
            assert_eq!(report.status.code(), Some(2 * i32::from(value) + 1));
            assert!(!report.is_failure(), "{report}");
            let told = format!("the guest exited by isa-debug-exit with code {value} (exit status {})", 2 * u16::from(value) + 1);
            assert!(report.to_string().contains(&told), "{report}");
            // It is data, and no error of the end.
            run!(vm.shutdown()).unwrap();
        }
    }
}

// R8
scenario! {
    fn an_exit_by_a_device_while_an_end_is_under_way_is_the_guest_s(qemu) {
        let scratch = Scratch::new("meanwhile");
        let vm = run!(exits(&qemu, &scratch).launch()).unwrap();
        run!(vm.console().expect(">")).unwrap();
        run!(vm.console().send(exit_by(5))).unwrap();
        let report = run!(vm.shutdown().after_guest(Duration::from_secs(20))).unwrap();
        assert_eq!(report.guest_exit.unwrap().code, 5, "{report}");
        let causes = [ExitCause::Requested(Rung::Guest), ExitCause::Guest];
        assert!(causes.contains(&report.cause), "{report}");
    }
}

// R8: QEMU 10.0 holds the guest then, 7.2 exits.
scenario! {
    fn an_exit_that_qemu_holds_has_its_code_when_qemu_is_told_to_quit(qemu) {
        let scratch = Scratch::new("held");
        let vm = run!(exits(&qemu, &scratch).arg("-no-shutdown").launch()).unwrap();
        run!(vm.console().expect(">")).unwrap();
        let mut told = vm.monitor().events_named(["SHUTDOWN"]);
        run!(vm.console().send(exit_by(16))).unwrap();
        // Or the end of the machine.
        let _ = run!(told.next());
        let report = run!(vm.shutdown()).unwrap();
        let exit = report.guest_exit.unwrap();
        assert_eq!((exit.device, exit.code), (ExitDevice::IsaDebugExit, 16), "{report}");
    }
}

// R8
scenario! {
    fn an_exit_by_a_device_is_told_without_a_monitor_too(qemu) {
        let scratch = Scratch::new("unmonitored");
        let vm = run!(exits(&qemu, &scratch).monitor(Monitor::Off).launch()).unwrap();
        run!(vm.console().expect(">")).unwrap();
        run!(vm.console().send(exit_by(16))).unwrap();
        let report = run!(vm.wait_for_exit()).unwrap();
        assert_eq!(report.guest_exit.unwrap().code, 16, "{report}");
        assert_eq!(report.cause, ExitCause::Guest, "{report}");
        run!(vm.shutdown()).unwrap();
    }
}

// R8
scenario! {
    fn a_failure_of_qemu_s_own_is_not_taken_for_the_guest_s(qemu) {
        let scratch = Scratch::new("refused");
        let builder = exits(&qemu, &scratch).args(["-device", "nonesuch"]);
        let error = run!(builder.launch()).unwrap_err();
        let report = error.report.as_ref().unwrap();
        assert_eq!(report.status.code(), Some(1), "{error}");
        assert!(report.guest_exit.is_none() && report.is_failure(), "{error}");
        assert_eq!(report.cause, ExitCause::Outside, "{error}");
        assert!(text(&report.output_tail).contains("nonesuch"), "{error}");
    }
}

// W6: QEMU exits with 1 for a panic, because its options say so.
scenario! {
    fn a_panic_that_qemu_exits_with_1_for_is_the_guest_s(qemu) {
        let panics = ["-device", "pvpanic", "-action", "panic=exit-failure"];
        match run!(qemu.tiny().args(panics).launch()) {
            // QEMU 7.2 does not have it.
            Err(error) => assert!(error.to_string().contains("exit-failure"), "{error}"),
            Ok(vm) => {
                run!(vm.console().expect("> ")).unwrap();
                run!(vm.console().send("panic\n")).unwrap();
                let report = run!(vm.wait_for_exit()).unwrap();
                assert_eq!(report.status.code(), Some(1), "{report}");
                assert_eq!(report.cause, ExitCause::Guest, "{report}");
                assert!(report.guest_panicked && report.guest_exit.is_none(), "{report}");
                run!(vm.shutdown()).unwrap();
            }
        }
    }
}

// P27
scenario! {
    fn what_a_guest_writes_to_a_debug_port_is_a_console_or_qemu_s_own_output(qemu) {
        let scratch = Scratch::new("debugcon");
        let builder = boots(&qemu, "devices", &scratch);
        let console = builder.clone().add_console("debug", Console::debugcon(0xe9));
        let vm = run!(console.launch()).unwrap();
        run!(vm.console().expect(">")).unwrap();
        run!(vm.console().send("hello\n")).unwrap();
        let debug = vm.console_named("debug").unwrap();
        assert_eq!(run!(debug.expect("\n")).unwrap().before, b"hello");
        run!(vm.shutdown()).unwrap();

        // As people write it, with the port that is QEMU's own, and with another.
        let output = builder.args(["-debugcon", "stdio"]);
        let vm = run!(output.launch()).unwrap();
        run!(vm.console().expect(">")).unwrap();
        run!(vm.console().send("hello\n")).unwrap();
        run!(vm.console().expect(">")).unwrap();
        let report = run!(vm.shutdown()).unwrap();
        assert!(text(&report.output_tail).contains("hello\n"), "{report}");

        let global = ["-debugcon", "stdio", "-global", "isa-debugcon.iobase=0x402"];
        let vm = run!(boots(&qemu, "devices", &scratch).args(global).launch()).unwrap();
        run!(vm.console().expect(">")).unwrap();
        assert!(text(&vm.output_tail()).contains("SeaBIOS"), "{}", text(&vm.output_tail()));
        run!(vm.shutdown()).unwrap();
    }
}

/// A program for Arm that prints by semihosting (`SYS_WRITE0`), and exits with
/// this code (`SYS_EXIT_EXTENDED`).
fn program(code: u32) -> Vec<u8> {
    let words = [
        0xe3a0_0004, // mov r0, #4
        0xe28f_1018, // add r1, pc, #24: the text
        0xef12_3456, // svc 0x123456
        0xe3a0_0020, // mov r0, #0x20
        0xe28f_1004, // add r1, pc, #4: the reason and the code
        0xef12_3456, // svc 0x123456
        0xeaff_fffe, // b .
        0x0002_0026, // ADP_Stopped_ApplicationExit
        code,
    ];
    let mut bytes: Vec<u8> = words.iter().flat_map(|it| u32::to_le_bytes(*it)).collect();
    bytes.extend(b"hello by semihosting\n\0");
    bytes
}

// R8, P27: `qemu-system-arm` is installed by the set-up.
scenario! {
    fn a_program_for_arm_is_heard_by_semihosting_and_exits_with_its_code() {
        for code in [0, 1, 42] {
            let scratch = Scratch::new("semihosting");
            let kernel = scratch.join("program.bin");
            std::fs::write(&kernel, program(code)).unwrap();
            let builder = Machine::builder("qemu-system-arm")
                .machine("virt")
                .cpu("cortex-a15")
                .arg("-nodefaults")
                .kernel(&kernel)
                .console(Console::semihosting());
            // Held until it is listened to, for it ends at once.
            let vm = run!(builder.arg("-S").launch()).unwrap();
            let _ = run!(vm.monitor().execute(Cont));
            assert_eq!(run!(vm.console().expect("\n")).unwrap().before, b"hello by semihosting");
            let report = run!(vm.wait_for_exit()).unwrap();
            let exit = report.guest_exit.unwrap();
            assert_eq!((exit.device, u32::from(exit.code)), (ExitDevice::Semihosting, code), "{report}");
            assert_eq!(report.cause, ExitCause::Guest, "{report}");
            run!(vm.shutdown()).unwrap();
        }
    }
}

scenario! {
    fn a_machine_without_a_device_for_a_console_is_refused_in_qemu_s_words_with_advice(qemu) {
        let semihosting = qemu.bare().console(Console::semihosting());
        let error = run!(semihosting.launch()).unwrap_err();
        let told = |error: &LaunchError| text(&error.report.as_ref().unwrap().output_tail);
        assert!(told(&error).contains("Option not supported for this target"), "{error}");
        assert!(error.advice().unwrap().contains("Console::debugcon"), "{error}");

        let microvm = qemu.bare().machine("microvm").console(Console::serial()).guest_agent();
        let error = run!(microvm.launch()).unwrap_err();
        assert!(told(&error).contains("No 'PCI' bus found"), "{error}");
        assert!(error.advice().unwrap().contains("guest_agent_controller"), "{error}");
    }
}
