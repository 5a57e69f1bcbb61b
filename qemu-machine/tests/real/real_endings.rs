//! How a real QEMU ends, who ends it, and what the report says.

use std::time::Duration;

use crate::support::{Scratch, is_gone, scenario, signal};
use qemu_machine::error::ShutdownError;
use qemu_machine::life::{Rung, RungOutcome};
use qemu_machine::qmp::Disconnected;
use qemu_machine::qmp::error::EventError;
use qemu_machine::{ExitCause, Machine};
use serde_json::json;

const PROMPT: &str = "tiny guest ready\r\n> ";

fn assert_nothing_left(vm: &Machine, scratch: &Scratch) {
    assert!(is_gone(vm.report().unwrap().pid));
    assert!(scratch.names().is_empty(), "{:?}", scratch.names());
}

// P10, P12
scenario! {
    fn a_powerdown_that_the_guest_ignores_is_followed_by_quit(qemu) {
        let scratch = Scratch::new("powerdown");
        let vm = run!(qemu.tiny().base_dir(scratch.path()).launch()).unwrap();
        run!(vm.console().expect(PROMPT)).unwrap();
        let report = run!(vm.shutdown().powerdown(Duration::from_millis(200))).unwrap();
        assert_eq!(report.cause, ExitCause::Requested(Rung::Quit));
        assert_eq!(report.rungs[0].rung, Rung::Powerdown);
        assert_eq!(report.rungs[0].outcome, RungOutcome::TimedOut);
        assert_nothing_left(&vm, &scratch);
    }
}

// P12, P13, D10, W6
scenario! {
    fn an_end_by_the_guest_is_its_own(qemu) {
        for (command, extra, reason) in [
            ("poweroff\n", [].as_slice(), "guest-shutdown"),
            ("reset\n", &["-no-reboot"], "guest-reset"),
            ("triplefault\n", &["-no-reboot"], "guest-reset"),
            ("panic\n", &["-device", "pvpanic", "-action", "panic=shutdown"], "guest-panic"),
        ] {
            let scratch = Scratch::new("guest");
            let vm = run!(qemu.tiny().args(extra.to_vec()).base_dir(scratch.path()).launch()).unwrap();
            run!(vm.console().expect(PROMPT)).unwrap();
            run!(vm.console().send(command)).unwrap();
            let report = run!(vm.wait_for_exit()).unwrap();
            assert_eq!(report.cause, ExitCause::Guest, "{report}");
            assert_eq!(report.shutdown_reason.as_deref(), Some(reason));
            assert_eq!(report.guest_panicked, command == "panic\n", "{report}");
            assert_eq!(report.status.code(), Some(0), "{report}");
            run!(vm.shutdown()).unwrap();
            assert_nothing_left(&vm, &scratch);
        }
    }
}

// P11, D10, D28
scenario! {
    fn an_end_by_a_signal_from_outside_is_told_with_the_signal(qemu) {
        for (name, number) in [("KILL", Some(9)), ("SEGV", Some(11)), ("TERM", None)] {
            let scratch = Scratch::new("outside");
            let vm = run!(qemu.tiny().base_dir(scratch.path()).launch()).unwrap();
            let mut events = vm.monitor().events_named(["NEVER"]);
            signal(vm.pid().unwrap(), name);
            run!(events.next().timeout(None)).unwrap_err();
            let report = run!(vm.wait_for_exit()).unwrap();
            assert_eq!(report.cause, ExitCause::Outside, "{report}");
            assert_eq!(report.status.signal(), number, "{report}");
            assert_eq!(report.is_failure(), number.is_some());
            match run!(vm.shutdown()) {
                Err(ShutdownError::Failed(_)) => assert!(number.is_some()),
                Ok(report) => assert_eq!(report.status.code(), Some(0), "{report}"),
                Err(error) => panic!("{error}"),
            }
            assert_nothing_left(&vm, &scratch);
        }
    }
}

// P13, D10
scenario! {
    fn a_quit_sent_as_a_command_is_an_end_that_was_asked_for(qemu) {
        let vm = run!(qemu.tiny().launch()).unwrap();
        run!(vm.monitor().execute_json("quit", json!({}))).unwrap();
        let report = run!(vm.wait_for_exit()).unwrap();
        assert_eq!(report.cause, ExitCause::QuitCommand, "{report}");
        run!(vm.monitor().execute_json("query-status", ())).unwrap_err();
        run!(vm.shutdown()).unwrap();
    }
}

// P14, P11
scenario! {
    fn a_drop_and_a_kill_leave_nothing(qemu) {
        let scratch = Scratch::new("dropped");
        let builder = qemu.tiny().base_dir(scratch.path());
        let vm = run!(builder.launch()).unwrap();
        let pid = vm.pid().unwrap();
        drop(vm);
        assert!(is_gone(pid) && scratch.names().is_empty());
        let vm = run!(builder.launch()).unwrap();
        assert_eq!(run!(vm.kill()).unwrap().cause, ExitCause::Requested(Rung::Kill));
        assert_nothing_left(&vm, &scratch);
    }
}

// P8, W9
scenario! {
    fn a_builder_is_launched_again_and_thrice_at_once(qemu) {
        let scratch = Scratch::new("thrice");
        let builder = qemu.tiny().base_dir(scratch.path());
        for count in [1, 3] {
            let mut machines = Vec::new();
            for _ in 0..count {
                machines.push(run!(builder.launch()).unwrap());
            }
            for vm in &machines {
                run!(vm.console().expect(PROMPT)).unwrap();
            }
            for vm in machines {
                run!(vm.shutdown()).unwrap();
            }
        }
        assert!(scratch.names().is_empty());
    }
}

// P3, P10
scenario! {
    fn a_machine_without_a_monitor_is_ended_by_sigterm(qemu) {
        let vm = run!(qemu.tiny().monitor(qemu_machine::spec::Monitor::Off).launch()).unwrap();
        run!(vm.console().expect(PROMPT)).unwrap();
        assert!(vm.monitor().disconnected().is_some());
        let report = run!(vm.shutdown()).unwrap();
        assert_eq!(report.cause, ExitCause::Requested(Rung::Terminate));
        assert_eq!(report.status.code(), Some(0));
    }
}

// D28, W2: QEMU closes its monitor a little before it ends.
scenario! {
    fn whoever_waits_on_the_monitor_is_told_how_the_machine_ended(qemu) {
        let vm = run!(qemu.tiny().launch()).unwrap();
        run!(vm.console().expect(PROMPT)).unwrap();
        let mut events = vm.monitor().events_named(["NEVER"]);
        run!(vm.console().send("poweroff\n")).unwrap();
        let EventError::Ended { cause, .. } = run!(events.next().timeout(None)).unwrap_err() else {
            panic!("the stream has not ended")
        };
        assert!(matches!(cause, Disconnected::ServerEnded(_)), "{cause}");
    }
}
