//! Devices that a guest has for those who watch it: by which it exits with a code,
//! and by which it prints without a driver.
#![allow(missing_docs)]

mod support;

use std::time::Duration;

use qemu_machine::{ExitCause, ExitDevice, MachineBuilder, Monitor, OptionGroup, Rung};
use support::boot_sector::boots;
use support::{Qemu, Scratch, scenario, text};

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
            let report = run!(vm.exited()).unwrap();
            let exit = report.guest_exit.unwrap();
            assert_eq!((exit.device, exit.code), (ExitDevice::IsaDebugExit, value), "{report}");
            assert_eq!(report.cause, ExitCause::Guest, "{report}");
            assert_eq!(report.status.code(), Some(2 * i32::from(value) + 1));
            assert!(!report.is_failure(), "{report}");
            let told = format!("the guest exited by isa-debug-exit with code {value} (QEMU's status {})", 2 * u16::from(value) + 1);
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
        let mut told = vm.qmp().events_named(["SHUTDOWN"]);
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
        let report = run!(vm.exited()).unwrap();
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

// W6: QEMU exits with 1 for a panic, as it was told to.
scenario! {
    fn a_panic_that_qemu_exits_with_1_for_is_the_guest_s(qemu) {
        let panics = ["-device", "pvpanic", "-action", "panic=exit-failure"];
        match run!(qemu.tiny().args(panics).launch()) {
            // QEMU 7.2 does not have it.
            Err(error) => assert!(error.to_string().contains("exit-failure"), "{error}"),
            Ok(vm) => {
                run!(vm.console().expect("> ")).unwrap();
                run!(vm.console().send("panic\n")).unwrap();
                let report = run!(vm.exited()).unwrap();
                assert_eq!(report.status.code(), Some(1), "{report}");
                assert_eq!(report.cause, ExitCause::Guest, "{report}");
                assert!(report.guest_panicked && report.guest_exit.is_none(), "{report}");
                run!(vm.shutdown()).unwrap();
            }
        }
    }
}
