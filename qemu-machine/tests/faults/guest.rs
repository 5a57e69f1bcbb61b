//! Faults of the guest: it does not run, or ends before the caller has a
//! result.

use qemu_machine::error::{ExpectFailure, LaunchFailure};
use qemu_machine::life::{PauseReason, Rung, RungOutcome};
use qemu_machine::{ExitCause, GuestState, Wait};

use super::Place::{Real, Scripted};
use super::{AT_ONCE, Fault, PATIENCE, SHORT, Scene, fault};
use crate::support::{self, Scratch, fast_guest};

const OFF: &str = "event SHUTDOWN {\"guest\": true, \"reason\": \"guest-shutdown\"}";

pub(super) fn rows() -> Vec<Fault> {
    let mut rows = launching();
    rows.extend(held());
    rows
}

fn launching() -> Vec<Fault> {
    vec![
        fault(
            "guest ends the machine as soon as it runs",
            Real,
            "a launched machine, with its console whole and its report",
            AT_ONCE,
            |scene| {
                let scratch = Scratch::new("fast");
                let builder = fast_guest::fast(scene.qemu(), &scratch).base_dir(scene.base());
                scene.fault();
                let vm = builder.wrapper(["taskset", "-c", "0"]).launch();
                let vm = vm.wait().unwrap();
                vm.console().expect(fast_guest::LINE).wait().unwrap();
                let report = vm.wait_for_exit().wait().unwrap();
                assert_eq!(report.status.code(), Some(fast_guest::CODE), "{report}");
                scene.notified();
            },
        ),
        fault(
            "QEMU ends before it has answered `cont`",
            Scripted,
            "a launched machine that has ended, with the report: its guest ran",
            AT_ONCE,
            |scene| {
                let script = "greet\nexpect qmp_capabilities\nreply {}\nexpect cont\nexit 33";
                launched_and_ended(scene, script);
            },
        ),
        fault(
            "QEMU closes its monitor during `cont`, and ends",
            Scripted,
            "a launched machine that has ended, with the report: its guest ran",
            AT_ONCE,
            |scene| {
                let script = "greet\nexpect qmp_capabilities\nreply {}\nexpect cont\n\
                              monitor-close\nexit 33";
                launched_and_ended(scene, script);
            },
        ),
        fault(
            "QEMU refuses to start the guest",
            Scripted,
            "launch: NotRun, with QEMU's words; killed",
            AT_ONCE,
            |scene| {
                let script = "greet\nexpect qmp_capabilities\nreply {}\nexpect cont\n\
                              error GenericError the image is in use\nsilent";
                scene.fault();
                let error = scene.fake(script).launch().wait().unwrap_err();
                scene.notified();
                assert!(
                    matches!(*error.failure, LaunchFailure::NotRun(_)),
                    "{error}"
                );
                assert!(error.to_string().contains("the image is in use"), "{error}");
                assert!(support::is_gone(error.report.unwrap().pid));
            },
        ),
    ]
}

/// Runs a peer that exits with 33 when its guest is started.
fn launched_and_ended(scene: &Scene, script: &str) {
    scene.fault();
    let vm = scene.fake(script).launch().wait().unwrap();
    scene.notified();
    let report = vm.wait_for_exit().wait().unwrap();
    assert_eq!(report.status.code(), Some(33), "{report}");
    assert!(!vm.is_running());
}

fn held() -> Vec<Fault> {
    vec![
        fault(
            "guest powers off, and QEMU keeps it paused (`-no-shutdown`)",
            Scripted,
            "expect: GuestShutDown, not a timeout; `powerdown` goes on to `quit`",
            AT_ONCE,
            |scene| {
                let script =
                    format!("expect go\nconsole bye\n{OFF}\nevent STOP\nreply {{}}\nserve");
                let vm = super::running::with_console(scene, &script);
                scene.fault();
                vm.monitor().execute_json("go", ()).wait().unwrap();
                vm.console().expect("bye").timeout(PATIENCE).wait().unwrap();
                let error = vm.console().expect("never").timeout(PATIENCE).wait();
                let error = error.unwrap_err();
                assert!(
                    matches!(*error.failure, ExpectFailure::GuestShutDown { .. }),
                    "{error}"
                );
                let report = vm.shutdown().powerdown(PATIENCE).wait().unwrap();
                scene.notified();
                assert_eq!(
                    report.rungs[0].outcome,
                    RungOutcome::GuestPaused,
                    "{report}"
                );
                assert_eq!(report.cause, ExitCause::Requested(Rung::Quit), "{report}");
            },
        ),
        fault(
            "guest is paused for an I/O error, a watchdog, or by `stop`",
            Scripted,
            "expect: Timeout at its deadline, with how long and why",
            AT_ONCE,
            |scene| {
                let script = "expect disk\n\
                    event BLOCK_IO_ERROR {\"device\": \"d0\", \"action\": \"stop\", \"reason\": \"No space left on device\"}\n\
                    event STOP\nreply {}\nexpect dog\nevent RESUME\n\
                    event WATCHDOG {\"action\": \"pause\"}\nevent STOP\nreply {}\n\
                    expect run\nevent RESUME\nevent STOP\nreply {}\nserve";
                let vm = super::running::with_console(scene, script);
                for (command, says) in [
                    ("disk", "I/O error on d0: No space left on device"),
                    ("dog", "its watchdog expired"),
                    ("run", "stopped by a command or a debugger"),
                ] {
                    vm.monitor().execute_json(command, ()).wait().unwrap();
                    scene.fault();
                    let error = vm.console().expect("never").timeout(SHORT).wait();
                    let error = error.unwrap_err().to_string();
                    assert!(
                        error.contains("; the guest has been paused for "),
                        "{error}"
                    );
                    assert!(error.contains(says), "{error}");
                }
                scene.notified();
                vm.shutdown().wait().unwrap();
            },
        ),
        fault(
            "guest is reset while it is paused",
            Scripted,
            "waited for again: `cont` makes it run",
            AT_ONCE,
            |scene| {
                let script = format!(
                    "expect off\n{OFF}\nevent STOP\nreply {{}}\nexpect system_reset\n\
                     event RESET {{\"guest\": false, \"reason\": \"host-qmp-system-reset\"}}\n\
                     reply {{}}\nexpect cont\nevent RESUME\nconsole again\nreply {{}}\nserve"
                );
                let vm = super::running::with_console(scene, &script);
                vm.monitor().execute_json("off", ()).wait().unwrap();
                assert!(matches!(vm.guest_state(), GuestState::ShutDown { .. }));
                scene.fault();
                vm.monitor()
                    .execute_json("system_reset", ())
                    .wait()
                    .unwrap();
                let state = vm.guest_state();
                assert!(
                    matches!(
                        &state,
                        GuestState::Paused {
                            reason: PauseReason::Reset,
                            ..
                        }
                    ),
                    "{state}"
                );
                vm.monitor().execute_json("cont", ()).wait().unwrap();
                vm.console()
                    .expect("again")
                    .timeout(PATIENCE)
                    .wait()
                    .unwrap();
                scene.notified();
                assert_eq!(vm.guest_state(), GuestState::Running);
                vm.shutdown().wait().unwrap();
            },
        ),
    ]
}
