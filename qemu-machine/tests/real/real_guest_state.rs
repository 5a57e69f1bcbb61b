//! A waiter on a guest that does not run gets the reason, at once if the guest
//! will never run again.

use std::time::{Duration, Instant};

use crate::support::{Scratch, boot_sector, fast_guest, linux_guest, scenario, text};
use qemu_machine::error::{ExitError, ExpectFailure, ShellFailure};
use qemu_machine::life::{PauseReason, Rung, RungOutcome};
use qemu_machine::spec::OptionGroup;
use qemu_machine::{Console, ExitCause, GuestState, Machine};

const PROMPT: &str = "tiny guest ready\r\n> ";

/// Longer than anything takes that ends at once.
const PATIENCE: Duration = Duration::from_secs(60);

/// A deadline that is to pass.
const SHORT: Duration = Duration::from_millis(300);

fn paused(vm: &Machine) -> PauseReason {
    match vm.guest_state() {
        GuestState::Paused { reason, .. } => reason,
        state => panic!("{state}"),
    }
}

// R5
scenario! {
    fn a_guest_that_is_off_and_held_ends_every_wait_at_once(qemu) {
        let vm = run!(qemu.tiny().arg("-no-shutdown").guest_agent().launch()).unwrap();
        run!(vm.console().expect(PROMPT)).unwrap();
        assert_eq!(vm.guest_state(), GuestState::Running);
        run!(vm.console().send("poweroff\n")).unwrap();
        let begun = Instant::now();
        let error = run!(vm.console().expect("never").timeout(PATIENCE)).unwrap_err();
        let ExpectFailure::GuestShutDown { reason } = &*error.failure else {
            panic!("{error}");
        };
        assert_eq!(reason, "guest-shutdown");
        let error = run!(vm.wait_for_exit().timeout(PATIENCE)).unwrap_err();
        assert!(matches!(error, ExitError::GuestShutDown { .. }), "{error}");
        let said = error.to_string();
        assert!(said.contains("shut down (guest-shutdown)"), "{said}");
        assert!(said.contains("(-no-shutdown)"), "{said}");
        let error = run!(vm.guest_agent().ping().timeout(PATIENCE)).unwrap_err();
        assert!(error.to_string().contains("the guest shut down"), "{error}");
        assert!(matches!(vm.guest_state(), GuestState::ShutDown { .. }));

        let report = run!(vm.shutdown().powerdown(PATIENCE)).unwrap();
        assert_eq!(report.cause, ExitCause::Requested(Rung::Quit), "{report}");
        assert_eq!(report.rungs[0].rung, Rung::Powerdown);
        assert_eq!(report.rungs[0].outcome, RungOutcome::GuestPaused);
        assert!(begun.elapsed() < PATIENCE);
    }
}

// R5
scenario! {
    fn a_guest_that_powers_off_and_is_held_while_it_is_waited_for_is_quit_at_once(qemu) {
        let vm = run!(qemu.tiny().arg("-no-shutdown").launch()).unwrap();
        run!(vm.console().expect(PROMPT)).unwrap();
        run!(vm.console().send("poweroff\n")).unwrap();
        let begun = Instant::now();
        let report = run!(vm.shutdown().after_guest(PATIENCE)).unwrap();
        assert!(begun.elapsed() < PATIENCE, "{report}");
        assert_eq!(report.rungs[0].outcome, RungOutcome::GuestPaused, "{report}");
        assert_eq!(report.cause, ExitCause::Requested(Rung::Quit), "{report}");
        assert!(!report.is_failure() && !report.was_forced(), "{report}");
    }
}

// R5
scenario! {
    fn a_guest_that_is_off_and_held_is_a_guest_again_after_a_reset(qemu) {
        let vm = run!(qemu.tiny().arg("-no-shutdown").launch()).unwrap();
        run!(vm.console().expect(PROMPT)).unwrap();
        run!(vm.console().send("poweroff\n")).unwrap();
        run!(vm.console().expect("never").timeout(PATIENCE)).unwrap_err();
        let mut events = vm.monitor().events();
        run!(vm.monitor().execute_json("system_reset", ())).unwrap();
        run!(events.next_named("RESET")).unwrap();
        assert_eq!(paused(&vm), PauseReason::Reset);
        let error = run!(vm.console().expect("never").timeout(SHORT)).unwrap_err();
        assert!(matches!(*error.failure, ExpectFailure::Timeout { .. }), "{error}");
        run!(vm.monitor().execute_json("cont", ())).unwrap();
        run!(vm.console().expect(PROMPT)).unwrap();
        assert_eq!(vm.guest_state(), GuestState::Running);
        // The end that was not one is not taken for the cause.
        let report = run!(vm.kill()).unwrap();
        assert_eq!(report.shutdown_reason, None, "{report}");
    }
}

// R5
scenario! {
    fn a_deadline_says_that_the_guest_is_paused_since_when_and_why(qemu) {
        let tiny = || qemu.tiny();
        for (builder, reason, said) in [
            (tiny().arg("-S"), PauseReason::NotStarted, "it was not started yet (-S)"),
            (tiny().incoming(), PauseReason::Incoming, "it waits for an incoming migration"),
        ] {
            let vm = run!(builder.launch()).unwrap();
            assert_eq!(paused(&vm), reason);
            let error = run!(vm.console().expect("never").timeout(SHORT)).unwrap_err();
            assert!(matches!(*error.failure, ExpectFailure::Timeout { .. }), "{error}");
            let text = error.to_string();
            assert!(text.contains("; the guest has been paused for "), "{text}");
            assert!(text.contains(said), "{text}");
            let exited = run!(vm.wait_for_exit().timeout(SHORT)).unwrap_err().to_string();
            assert!(exited.contains(said), "{exited}");
            run!(vm.kill()).unwrap();
        }

        let vm = run!(tiny().launch()).unwrap();
        run!(vm.console().expect(PROMPT)).unwrap();
        run!(vm.monitor().execute_json("stop", ())).unwrap();
        // What the reply of `stop` has told is known at once.
        assert_eq!(paused(&vm), PauseReason::Stopped);
        let error = run!(vm.monitor().events().next().timeout(SHORT)).unwrap_err().to_string();
        assert!(error.contains("stopped by a command or a debugger"), "{error}");
        run!(vm.monitor().execute_json("cont", ())).unwrap();
        run!(vm.console().send("\n")).unwrap();
        run!(vm.console().expect("> ")).unwrap();
        let error = run!(vm.console().expect("never").timeout(SHORT)).unwrap_err().to_string();
        assert!(!error.contains("paused"), "{error}");
        run!(vm.shutdown()).unwrap();
    }
}

// R5
scenario! {
    fn a_disk_without_room_is_named_as_what_holds_the_guest(qemu) {
        let scratch = Scratch::new("full");
        let faulty = OptionGroup::default()
            .set("driver", "blkdebug")
            .set("image.driver", "file")
            .set("image.filename", boot_sector::disk("writes", &scratch))
            .set("inject-error.0.event", "pwritev")
            .set("inject-error.0.iotype", "write")
            .set("inject-error.0.errno", "28")
            .set("if", "ide")
            .set("id", "drive0");
        let vm = qemu.bare().option("-drive", &faulty).console(Console::serial());
        let vm = run!(vm.launch()).unwrap();
        let mut events = vm.monitor().events();
        if vm.guest_state() == GuestState::Running {
            run!(events.next_named("STOP")).unwrap();
        }
        let error = run!(vm.console().expect("w").timeout(SHORT)).unwrap_err();
        let said = error.to_string();
        assert!(matches!(*error.failure, ExpectFailure::Timeout { .. }), "{said}");
        assert!(said.contains("; the guest has been paused for "), "{said}");
        assert!(said.contains("I/O error on drive0: No space left on device"), "{said}");
        assert!(matches!(paused(&vm), PauseReason::IoError { .. }));
        run!(vm.shutdown()).unwrap();
    }
}

// R5
scenario! {
    fn a_shell_whose_guest_is_reset_is_gone_at_once_and_another_one_is_opened(qemu) {
        let guest = linux_guest();
        let vm = qemu
            .bare()
            .memory("256M")
            .kernel(guest.join("vmlinux"))
            .initrd(guest.join("initramfs"))
            .append("console=ttyS0 quiet no_timer_check cryptomgr.notests")
            .console(Console::serial())
            .default_timeout(Duration::from_secs(120));
        let vm = run!(vm.launch()).unwrap();
        run!(vm.console().expect("~ # ")).unwrap();
        let mut shell = run!(vm.console().shell()).unwrap();
        let error = run!(shell.run("echo going; reboot -f")).unwrap_err();
        assert!(matches!(*error.failure, ShellFailure::GuestReset), "{error}");
        assert!(text(&error.seen).contains("going"), "{error}");
        for error in [
            run!(shell.run("true")).map(drop).unwrap_err(),
            run!(shell.recover()).unwrap_err(),
        ] {
            assert!(matches!(*error.failure, ShellFailure::GuestReset), "{error}");
        }
        run!(vm.console().expect("~ # ")).unwrap();
        let mut shell = run!(vm.console().shell()).unwrap();
        assert_eq!(run!(shell.run("echo back")).unwrap().text(), "back");
        run!(vm.kill()).unwrap();
    }
}

// R7
scenario! {
    fn a_guest_that_ends_at_once_is_a_launched_machine_however_busy_the_host_is(qemu) {
        let scratch = Scratch::new("fast");
        // One processor for all of QEMU's threads: the guest is faster than the
        // handshake, if it may be.
        let builder = fast_guest::fast(&qemu, &scratch).wrapper(["taskset", "-c", "0"]);
        for _ in 0..20 {
            let vm = run!(builder.launch()).unwrap();
            run!(vm.console().expect(fast_guest::LINE)).unwrap();
            let report = run!(vm.wait_for_exit()).unwrap();
            assert_eq!(report.status.code(), Some(fast_guest::CODE), "{report}");
        }
    }
}
