//! Faults of a running machine that nobody asked for.

use std::time::Duration;

use qemu_machine::error::{ExitError, ExpectFailure, ShutdownError};
use qemu_machine::life::Rung;
use qemu_machine::qmp::Disconnected;
use qemu_machine::qmp::error::{EventError, ExecuteError, ExecuteFailure};
use qemu_machine::{Console, ExitCause, Machine, Wait};
use serde_json::json;

use super::Place::{Both, Real, Scripted};
use super::{AT_ONCE, Fault, PATIENCE, SHORT, Scene, fault};
use crate::support;

pub fn rows() -> Vec<Fault> {
    let mut rows = deaths();
    rows.extend(monitors());
    rows.extend(guests());
    rows.extend(consoles());
    rows.extend(super::log_in::rows());
    rows.extend(super::channels::rows());
    rows.extend(super::connecting::rows());
    rows.extend(super::pictures::rows());
    rows.extend(super::outputs::running());
    rows.extend(super::saving::rows());
    rows
}

/// Checks that all waiters get one report of the end.
fn dies(
    scene: &Scene,
    vm: &Machine,
    how: impl FnOnce(),
) -> std::sync::Arc<qemu_machine::ExitReport> {
    let mut events = vm.monitor().events_named(["NEVER"]);
    let report = std::thread::scope(|scope| {
        let event = scope.spawn(|| events.next().timeout(PATIENCE).wait().unwrap_err());
        let expect = scope.spawn(|| {
            vm.console()
                .expect("never")
                .timeout(PATIENCE)
                .wait()
                .unwrap_err()
        });
        scene.fault();
        how();
        let report = vm.wait_for_exit().timeout(PATIENCE).wait().unwrap();
        let text = report.to_string();
        let event = event.join().unwrap();
        assert!(
            matches!(&event, EventError::Ended { cause: Disconnected::ServerEnded(cause), .. } if cause.to_string() == text),
            "{event}"
        );
        let expect = expect.join().unwrap();
        assert!(
            matches!(*expect.failure, ExpectFailure::MachineEnded(of) if of.to_string() == text)
        );
        report
    });
    scene.notified();
    // A later call gets the same.
    let late = vm.monitor().execute_json("x", ()).timeout(PATIENCE).wait();
    let late = late.unwrap_err();
    assert!(
        matches!(late.disconnected(), Some(Disconnected::ServerEnded(_))),
        "{late}"
    );
    assert!(support::is_gone(report.pid));
    report
}

/// A machine with a console, of the current kind.
pub(super) fn with_console(scene: &Scene, script: &str) -> Machine {
    if scene.is_real() {
        return scene.prompt(&[]);
    }
    let script = format!("greet\nnegotiate\n{script}");
    let builder = scene.fake(&script).console(Console::serial());
    builder.launch().wait().unwrap()
}

fn deaths() -> Vec<Fault> {
    let mut rows = Vec::new();
    // The scripted peer survives its first SIGSEGV, like any Rust program.
    for (name, number, place) in [("KILL", 9, Both), ("SEGV", 11, Real), ("ABRT", 6, Both)] {
        rows.push(fault(
            format!("killed by SIG{name} from outside"),
            place,
            "everyone: the report, Outside and the signal; shutdown: Failed",
            AT_ONCE,
            move |scene| {
                let vm = with_console(scene, "serve");
                let report = dies(scene, &vm, || support::signal(vm.pid().unwrap(), name));
                assert_eq!(report.cause, ExitCause::Outside);
                assert_eq!(report.status.signal(), Some(number));
                let error = vm.shutdown().wait().unwrap_err();
                assert!(matches!(error, ShutdownError::Failed(_)), "{error}");
            },
        ));
    }
    rows.extend([
        fault(
            "ended by SIGTERM from outside, as QEMU ends then",
            Both,
            "everyone: the report, Outside, code 0, `host-signal`; shutdown: no error",
            AT_ONCE,
            |scene| {
                let vm = with_console(scene, "on-term exit 0\nexpect x\nreply {}\nsilent");
                if !scene.is_real() {
                    // From this reply on, it handles the signal.
                    vm.monitor().execute_json("x", ()).wait().unwrap();
                }
                let report = dies(scene, &vm, || support::signal(vm.pid().unwrap(), "TERM"));
                assert_eq!(report.cause, ExitCause::Outside);
                assert_eq!(report.status.code(), Some(0), "{report}");
                assert_eq!(report.shutdown_reason.as_deref(), Some("host-signal"));
                vm.shutdown().wait().unwrap();
            },
        ),
        fault(
            "exits with code 0, unexpectedly",
            Scripted,
            "everyone: the report, Outside, code 0; shutdown: no error",
            AT_ONCE,
            |scene| {
                let fifo = scene.fifo("now");
                let script = format!("wait-file {}\nexit 0", fifo.display());
                let vm = with_console(scene, &script);
                let report = dies(scene, &vm, || support::release(&fifo));
                assert_eq!(
                    (&report.cause, report.status.code()),
                    (&ExitCause::Outside, Some(0))
                );
                vm.shutdown().wait().unwrap();
            },
        ),
        fault(
            "`quit` by command",
            Both,
            "the report, QuitCommand; shutdown: no error",
            AT_ONCE,
            |scene| {
                let vm = scene.machine();
                scene.fault();
                vm.monitor().execute_json("quit", json!({})).wait().unwrap();
                let report = vm.wait_for_exit().wait().unwrap();
                scene.notified();
                assert_eq!(report.cause, ExitCause::QuitCommand, "{report}");
                vm.shutdown().wait().unwrap();
            },
        ),
        fault(
            "stopped by SIGSTOP",
            Both,
            "a command: Timeout, with what was seen; the end: Forced",
            SHORT + AT_ONCE,
            |scene| {
                let vm = scene.machine();
                support::signal(vm.pid().unwrap(), "STOP");
                scene.fault();
                let error = fails(&vm, SHORT);
                scene.notified();
                assert!(
                    matches!(*error.failure, ExecuteFailure::Timeout { limit: SHORT }),
                    "{error}"
                );
                assert!(error.to_string().contains(vm.name()), "{error}");
                if scene.is_real() {
                    assert!(error.seen.contains("tiny guest ready"), "{error}");
                }
                forced(&vm);
            },
        ),
    ]);
    rows
}

/// Ends a machine that does not end otherwise.
fn forced(vm: &Machine) {
    let end = vm.shutdown().quit_timeout(SHORT).terminate_timeout(SHORT);
    let error = end.wait().unwrap_err();
    assert!(matches!(error, ShutdownError::Forced(_)), "{error}");
}

/// Runs a command, which must fail within this limit.
fn fails(vm: &Machine, limit: Duration) -> ExecuteError {
    let command = vm.monitor().execute_json("x", ()).timeout(limit);
    command.wait().expect_err("it was answered")
}

fn monitors() -> Vec<Fault> {
    vec![
        fault(
            "closes its monitor, but lives, with no descriptor left here",
            Scripted,
            "a command: Interrupted, by the server, at once",
            AT_ONCE,
            |scene| {
                let vm = scene.running("expect *\nmonitor-close\nsilent");
                let limit = testbed::DescriptorLimit::below(0);
                scene.fault();
                let error = fails(&vm, PATIENCE);
                scene.notified();
                drop(limit);
                assert!(
                    matches!(error.disconnected(), Some(Disconnected::ByServer)),
                    "{error}"
                );
                vm.shutdown().wait().unwrap();
            },
        ),
        fault(
            "closes its monitor, but lives",
            Scripted,
            "a command: Interrupted, by the server; the machine runs; its end: SIGTERM",
            AT_ONCE,
            |scene| {
                let vm = scene.running("expect *\nmonitor-close\nsilent");
                scene.fault();
                let error = fails(&vm, PATIENCE);
                scene.notified();
                assert!(
                    matches!(error.disconnected(), Some(Disconnected::ByServer)),
                    "{error}"
                );
                assert!(vm.is_running());
                let report = vm.shutdown().wait().unwrap();
                assert_eq!(report.cause, ExitCause::Requested(Rung::Terminate));
            },
        ),
        fault(
            "floods the monitor, and does not read it",
            Scripted,
            "a command: Timeout; a listener: Lagged; the end: SIGTERM",
            SHORT + AT_ONCE,
            |scene| {
                let vm = scene.running("repeat forever\nevent FLOOD {\"a\": [1, 2, 3]}\nend");
                let mut events = vm.monitor().events();
                scene.fault();
                let error = fails(&vm, SHORT);
                scene.notified();
                assert!(
                    matches!(*error.failure, ExecuteFailure::Timeout { .. }),
                    "{error}"
                );
                // First it gets the number of missed items, once, and then the
                // rest.
                while matches!(events.next().wait(), Err(EventError::Lagged { .. })) {}
                assert_eq!(events.next_named("FLOOD").wait().unwrap().name(), "FLOOD");
                let report = vm.shutdown().quit_timeout(SHORT).wait().unwrap();
                assert_eq!(report.cause, ExitCause::Requested(Rung::Terminate));
            },
        ),
        fault(
            "never replies",
            Scripted,
            "a command: Timeout, at the machine's own deadline, or the call's",
            2 * SHORT + AT_ONCE,
            |scene| {
                let script = "greet\nnegotiate\nsilent";
                let vm = scene
                    .fake(script)
                    .default_timeout(SHORT)
                    .launch()
                    .wait()
                    .unwrap();
                scene.fault();
                let error = vm.monitor().execute_json("x", ()).wait().unwrap_err();
                assert!(
                    matches!(*error.failure, ExecuteFailure::Timeout { limit: SHORT }),
                    "{error}"
                );
                let twice = vm.monitor().execute_json("y", ()).timeout(2 * SHORT);
                let error = twice.wait().unwrap_err();
                scene.notified();
                assert!(
                    matches!(*error.failure, ExecuteFailure::Timeout { limit } if limit == 2 * SHORT),
                    "{error}"
                );
                vm.kill().wait().unwrap();
            },
        ),
        fault(
            "replies late, twice, and to an unknown id",
            Scripted,
            "each command: its own reply",
            AT_ONCE,
            |scene| {
                let vm = scene.running(
                    "expect first\nexpect second\nreply-to 2 \"late\"\nreply-to 2 \"twice\"\n\
                     send-line {\"return\": \"unknown\", \"id\": 12345}\nreply \"own\"\n\
                     reply \"again\"\nserve",
                );
                let first = vm.monitor().execute_json("first", ()).timeout(SHORT / 4);
                first.wait().unwrap_err();
                scene.fault();
                let second = vm.monitor().execute_json("second", ()).wait().unwrap();
                let third = vm.monitor().execute_json("third", ()).wait().unwrap();
                scene.notified();
                assert_eq!((second, third), (json!("own"), json!({})));
                vm.shutdown().wait().unwrap();
            },
        ),
        fault(
            "is debugged while its deadlines are suspended",
            Both,
            "nothing, until they are resumed; then each Timeout",
            SHORT + AT_ONCE,
            |scene| {
                let vm = scene.machine();
                support::signal(vm.pid().unwrap(), "STOP");
                vm.deadlines().suspend();
                std::thread::scope(|scope| {
                    let command =
                        scope.spawn(|| vm.monitor().execute_json("x", ()).timeout(SHORT).wait());
                    // Measured by the clock of another machine, which is not
                    // suspended.
                    let other = scene.running("silent");
                    other.wait_for_exit().timeout(2 * SHORT).wait().unwrap_err();
                    assert!(!command.is_finished());
                    scene.fault();
                    vm.deadlines().resume();
                    let error = command.join().unwrap().unwrap_err();
                    scene.notified();
                    assert!(matches!(
                        *error.failure,
                        ExecuteFailure::Timeout { limit: SHORT }
                    ));
                });
                forced(&vm);
            },
        ),
    ]
}

fn guests() -> Vec<Fault> {
    let mut rows = Vec::new();
    for (command, arguments, reason) in [
        ("poweroff", [].as_slice(), "guest-shutdown"),
        ("reset", &["-no-reboot"], "guest-reset"),
        ("triplefault", &["-no-reboot"], "guest-reset"),
        (
            "panic",
            &["-device", "pvpanic", "-action", "panic=shutdown"],
            "guest-panic",
        ),
    ] {
        rows.push(fault(
            format!("guest ends it: {command}"),
            Real,
            "everyone: the report, Guest, with QEMU's reason, and whether it panicked",
            AT_ONCE,
            move |scene| {
                let vm = scene.prompt(arguments);
                let report = dies(scene, &vm, || {
                    vm.console().send(format!("{command}\n")).wait().unwrap();
                });
                assert_eq!(report.cause, ExitCause::Guest, "{report}");
                assert_eq!(report.shutdown_reason.as_deref(), Some(reason));
                assert_eq!(report.guest_panicked, command == "panic");
                assert_eq!(report.status.code(), Some(0));
                vm.shutdown().wait().unwrap();
            },
        ));
    }
    for command in ["reset", "triplefault"] {
        rows.push(fault(
            format!("guest resets by {command}"),
            Real,
            "the event RESET; the console goes on",
            AT_ONCE,
            move |scene| {
                let vm = scene.prompt(&[]);
                let mut events = vm.monitor().events();
                scene.fault();
                vm.console().send(format!("{command}\n")).wait().unwrap();
                events.next_named("RESET").wait().unwrap();
                vm.console().expect("tiny guest ready").wait().unwrap();
                scene.notified();
                vm.shutdown().wait().unwrap();
            },
        ));
    }
    rows.push(fault(
        "guest panics, and QEMU keeps it paused",
        Real,
        "expect and exited: GuestPanicked, not a timeout; after a reset it goes on",
        AT_ONCE,
        |scene| {
            let vm = scene.prompt(&["-device", "pvpanic", "-action", "panic=pause"]);
            std::thread::scope(|scope| {
                let expect = scope.spawn(|| {
                    vm.console()
                        .expect("never")
                        .timeout(PATIENCE)
                        .wait()
                        .unwrap_err()
                });
                let exited =
                    scope.spawn(|| vm.wait_for_exit().timeout(PATIENCE).wait().unwrap_err());
                scene.fault();
                vm.console().send("panic\n").wait().unwrap();
                let expect = expect.join().unwrap();
                assert!(
                    matches!(*expect.failure, ExpectFailure::GuestPanicked),
                    "{expect}"
                );
                let exited = exited.join().unwrap();
                assert!(
                    matches!(exited, ExitError::GuestPanicked { .. }),
                    "{exited}"
                );
                scene.notified();
            });
            let late = vm
                .console()
                .expect("never")
                .timeout(PATIENCE)
                .wait()
                .unwrap_err();
            assert!(
                matches!(*late.failure, ExpectFailure::GuestPanicked),
                "{late}"
            );

            vm.monitor()
                .execute_json("system_reset", ())
                .wait()
                .unwrap();
            vm.monitor().execute_json("cont", ()).wait().unwrap();
            vm.console().expect("tiny guest ready").wait().unwrap();
            assert!(vm.shutdown().wait().unwrap().guest_panicked);
        },
    ));
    rows
}

fn consoles() -> Vec<Fault> {
    vec![
        fault(
            "guest panics after a flood of output, and QEMU keeps it paused",
            Scripted,
            "expect: the output before the panic; then GuestPanicked",
            AT_ONCE,
            |scene| {
                let script = "expect go\nconsole-fill 150000 x\nconsole Oops: here\n\
                              event GUEST_PANICKED {\"action\": \"pause\"}\nserve";
                let vm = with_console(scene, script);
                std::thread::scope(|scope| {
                    let oops = scope.spawn(|| vm.console().expect("Oops").timeout(PATIENCE).wait());
                    scene.fault();
                    let _ = vm.monitor().execute_json("go", ()).timeout(SHORT).wait();
                    oops.join().unwrap().unwrap();
                });
                let error = vm.console().expect("never").timeout(PATIENCE).wait();
                let error = error.unwrap_err();
                scene.notified();
                assert!(
                    matches!(*error.failure, ExpectFailure::GuestPanicked),
                    "{error}"
                );
                vm.shutdown().wait().unwrap();
            },
        ),
        fault(
            "the console's end closes",
            Scripted,
            "expect: Closed, after what came before; the machine runs",
            AT_ONCE,
            |scene| {
                let vm = with_console(scene, "console last words\nconsole-close\nserve");
                vm.console().expect("last").wait().unwrap();
                scene.fault();
                let error = vm
                    .console()
                    .expect("more")
                    .timeout(PATIENCE)
                    .wait()
                    .unwrap_err();
                scene.notified();
                assert!(matches!(*error.failure, ExpectFailure::Closed), "{error}");
                assert_eq!(error.seen, b" words");
                vm.monitor().execute_json("x", ()).wait().unwrap();
                vm.shutdown().wait().unwrap();
            },
        ),
        fault(
            "the console floods, and nobody reads it",
            Both,
            "nothing: commands are answered, and it ends as asked",
            Duration::from_secs(5),
            |scene| {
                let vm = with_console(scene, "console-fill 50000000 x\nserve");
                if scene.is_real() {
                    vm.console().send("flood 4000000000\n").wait().unwrap();
                }
                scene.fault();
                vm.monitor()
                    .execute_json("query-status", ())
                    .wait()
                    .unwrap();
                let report = vm.shutdown().wait().unwrap();
                scene.notified();
                assert_eq!(report.cause, ExitCause::Requested(Rung::Quit), "{report}");
            },
        ),
        fault(
            "the guest does not read what is typed",
            Scripted,
            "send: Timeout, with what was seen; then Congested",
            SHORT + AT_ONCE,
            |scene| {
                let vm = with_console(scene, "stderr not listening\\n\nserve");
                let typed = vec![b'x'; 2 << 20];
                scene.fault();
                let send = vm.console().send(&typed).timeout(SHORT);
                let error = send.wait().unwrap_err().to_string();
                scene.notified();
                assert!(
                    error.contains(vm.name()) && error.contains("not listening"),
                    "{error}"
                );
                let error = vm.console().send(&typed).wait().unwrap_err();
                assert!(
                    error.to_string().contains("the send queue is full"),
                    "{error}"
                );
                vm.shutdown().wait().unwrap();
            },
        ),
    ]
}
