//! Faults at the end: a machine that ignores a rung, or that ends in an unusual
//! place.

use std::future::IntoFuture;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use qemu_machine::error::{ExitError, ShutdownError};
use qemu_machine::life::{ExitDevice, Rung, RungOutcome};
use qemu_machine::{Console, ExitCause, ExitReport, Machine, Wait};

use super::Place::{Both, Real, Scripted};
use super::{AT_ONCE, Fault, PATIENCE, SHORT, Scene, fault, left_behind, warnings};
use crate::support;

pub fn rows() -> Vec<Fault> {
    let mut rows = stubborn();
    rows.extend(left_behind::ending());
    rows.extend(places());
    rows
}

fn rungs(report: &ExitReport) -> Vec<(Rung, RungOutcome)> {
    let rungs = report.rungs.iter();
    rungs
        .map(|rung| (rung.rung, rung.outcome.clone()))
        .collect()
}

/// Ends a machine with a short timeout for each rung.
fn end(scene: &Scene, vm: &Machine) -> Result<Arc<ExitReport>, ShutdownError> {
    scene.fault();
    let ended = vm
        .shutdown()
        .quit_timeout(SHORT)
        .terminate_timeout(SHORT)
        .wait();
    scene.notified();
    ended
}

fn stubborn() -> Vec<Fault> {
    vec![
        fault(
            "guest ignores powerdown",
            Both,
            "an end by `quit`; the report has both rungs",
            SHORT + AT_ONCE,
            |scene| {
                let vm = scene.machine();
                scene.fault();
                let report = vm.shutdown().powerdown(SHORT).wait().unwrap();
                scene.notified();
                assert_eq!(
                    rungs(&report),
                    [
                        (Rung::Powerdown, RungOutcome::TimedOut),
                        (Rung::Quit, RungOutcome::Ended)
                    ]
                );
            },
        ),
        fault(
            "`quit` accepted, but does not exit",
            Scripted,
            "an end by SIGTERM; the report has both rungs",
            SHORT + AT_ONCE,
            |scene| {
                let vm = scene.running("on-term exit 0\nexpect quit\nreply {}\nsilent");
                let report = end(scene, &vm).unwrap();
                assert_eq!(report.cause, ExitCause::Requested(Rung::Terminate));
                assert_eq!(report.rungs[0].outcome, RungOutcome::TimedOut);
            },
        ),
        fault(
            "`quit` refused",
            Scripted,
            "an end by SIGTERM at once; the report has QEMU's words",
            AT_ONCE,
            |scene| {
                let vm =
                    scene.running("on-term exit 0\nexpect quit\nerror GenericError no\nsilent");
                scene.fault();
                let report = vm.shutdown().wait().unwrap();
                scene.notified();
                assert_eq!(report.cause, ExitCause::Requested(Rung::Terminate));
                assert!(
                    report.to_string().contains("GenericError")
                        || report.to_string().contains("no"),
                    "{report}"
                );
            },
        ),
        fault(
            "reply to `quit` lost",
            Scripted,
            "an end by `quit`",
            AT_ONCE,
            |scene| {
                let vm = scene.running("expect quit\nexit 0");
                let report = end(scene, &vm).unwrap();
                assert_eq!(rungs(&report), [(Rung::Quit, RungOutcome::Ended)]);
            },
        ),
        fault(
            "SIGTERM ignored",
            Scripted,
            "Forced, with all three rungs",
            2 * SHORT + AT_ONCE,
            |scene| {
                let vm = scene.running("ignore SIGTERM\nexpect quit\nreply {}\nsilent");
                // After `quit`, it ignores the other.
                let error = end(scene, &vm).unwrap_err();
                assert!(matches!(error, ShutdownError::Forced(_)), "{error}");
                assert_eq!(error.report().unwrap().rungs.len(), 3);
            },
        ),
        fault(
            "stopped",
            Both,
            "Forced, with all three rungs",
            2 * SHORT + AT_ONCE,
            |scene| {
                let vm = scene.machine();
                support::signal(vm.pid().unwrap(), "STOP");
                let error = end(scene, &vm).unwrap_err();
                assert!(matches!(error, ShutdownError::Forced(_)), "{error}");
                assert_eq!(error.report().unwrap().status.signal(), Some(9));
            },
        ),
        fault(
            "console full, and left to a caller who does not read it",
            Scripted,
            "an end by SIGTERM",
            SHORT + AT_ONCE,
            |scene| {
                let script = "greet\nnegotiate\nconsole-fill forever x";
                let console = Console::serial().undrained();
                let vm = scene.fake(script).console(console).launch().wait().unwrap();
                let report = end(scene, &vm).unwrap();
                assert_eq!(report.cause, ExitCause::Requested(Rung::Terminate));
            },
        ),
        fault(
            "console full, and left to a caller who does not read it: QEMU",
            Real,
            "an end by `quit`, or by SIGTERM",
            2 * SHORT + AT_ONCE,
            |scene| {
                let flood = Console::serial().undrained();
                let vm = scene.tiny().console(flood).launch().wait().unwrap();
                let mut stream = vm.console().take_stream().unwrap();
                std::io::Write::write_all(&mut stream, b"flood 4000000000\n").unwrap();
                let report = end(scene, &vm).unwrap_or_else(|error| panic!("{error}"));
                assert!(matches!(report.cause, ExitCause::Requested(_)), "{report}");
            },
        ),
        fault(
            "the guest exits by a device, with a code",
            Scripted,
            "no error: the report, Guest, with the device and the guest's code",
            AT_ONCE,
            |scene| {
                let script = "greet\nnegotiate\nexpect quit\nexit 33";
                let device = ["-device", "isa-debug-exit"];
                let vm = scene.fake(script).args(device).launch().wait().unwrap();
                let report = end(scene, &vm).unwrap();
                assert_eq!(report.cause, ExitCause::Guest, "{report}");
                let exit = report.guest_exit.unwrap();
                assert_eq!((exit.device, exit.code), (ExitDevice::IsaDebugExit, 16));
            },
        ),
        fault(
            "leaves a process behind that has all its descriptors open",
            Scripted,
            "an end by `quit`; the process is killed too",
            AT_ONCE,
            |scene| {
                let (mut held, theirs) = std::io::pipe().unwrap();
                let script = "greet\nnegotiate\nfork-child\nserve";
                let before = testbed::children();
                let builder = scene.fake(script).console(Console::serial());
                let vm = builder.add_fd(1, theirs, None).launch().wait().unwrap();
                let report = end(scene, &vm).unwrap();
                assert_eq!(report.cause, ExitCause::Requested(Rung::Quit));
                std::io::copy(&mut held, &mut std::io::sink()).unwrap();
                assert!(testbed::wait_for_ends(&before, Instant::now() + PATIENCE));
            },
        ),
    ]
}

fn places() -> Vec<Fault> {
    vec![
        fault(
            "shutdown after the end, and kill too",
            Both,
            "the same report",
            AT_ONCE,
            |scene| {
                let vm = scene.machine();
                scene.fault();
                let first = vm.shutdown().wait().unwrap();
                let second = vm.shutdown().wait().unwrap();
                let third = vm.kill().wait().unwrap();
                scene.notified();
                assert!(Arc::ptr_eq(&first, &second) && Arc::ptr_eq(&first, &third));
            },
        ),
        fault(
            "shutdown from two threads",
            Both,
            "the same report to both",
            AT_ONCE,
            |scene| {
                let vm = scene.machine();
                scene.fault();
                let (one, other) = std::thread::scope(|scope| {
                    let end = || vm.shutdown().wait().unwrap();
                    let (one, other) = (scope.spawn(end), scope.spawn(end));
                    (one.join().unwrap(), other.join().unwrap())
                });
                scene.notified();
                assert!(Arc::ptr_eq(&one, &other));
            },
        ),
        fault(
            "shutdown dropped after it was polled",
            Both,
            "the machine still ends",
            AT_ONCE,
            |scene| {
                let vm = scene.machine();
                scene.fault();
                {
                    let mut end = pin!(vm.shutdown().into_future());
                    let _ = end.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                }
                let report = vm.wait_for_exit().wait().unwrap();
                scene.notified();
                assert_eq!(report.cause, ExitCause::Requested(Rung::Quit));
            },
        ),
        fault(
            "shutdown inside of a runtime, whose only thread waits for it",
            Both,
            "the report",
            AT_ONCE,
            |scene| {
                let vm = scene.machine();
                scene.fault();
                tokio::runtime::Builder::new_current_thread()
                    .build()
                    .unwrap()
                    .block_on(async { vm.shutdown().wait().unwrap() });
                scene.notified();
            },
        ),
        fault(
            "last handle dropped inside of a runtime",
            Both,
            "nothing is left",
            AT_ONCE,
            |scene| {
                let vm = scene.machine();
                let pid = vm.pid().unwrap();
                scene.fault();
                tokio::runtime::Builder::new_current_thread()
                    .build()
                    .unwrap()
                    .block_on(async { drop(vm) });
                scene.notified();
                assert!(support::is_gone(pid));
            },
        ),
        fault(
            "runtime shut down while it launches",
            Both,
            "nothing is left",
            AT_ONCE,
            |scene| {
                let (mut held, theirs) = std::io::pipe().unwrap();
                let builder = if scene.is_real() {
                    scene.tiny()
                } else {
                    scene.fake("silent")
                };
                let launch = builder.clone().add_fd(1, theirs, None).launch();
                let before = testbed::children();
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(1)
                    .build()
                    .unwrap();
                let _task = runtime.spawn(launch.into_future());
                scene.fault();
                runtime.shutdown_background();
                // If it was never polled, nothing was launched.
                std::io::copy(&mut held, &mut std::io::sink()).unwrap();
                assert!(testbed::wait_for_ends(&before, Instant::now() + PATIENCE));
                scene.notified();
                for _ in 0..2 {
                    scene.program("/bin/true").launch().wait().unwrap_err();
                }
            },
        ),
        fault(
            "last handle dropped by a panic",
            Both,
            "nothing is left; the panic is the caller's own",
            AT_ONCE,
            |scene| {
                let vm = scene.machine();
                let pid = vm.pid().unwrap();
                scene.fault();
                let panicked = std::thread::scope(|scope| {
                    let doomed = scope.spawn(move || {
                        let _vm = vm;
                        std::panic::resume_unwind(Box::new("the caller's own"));
                    });
                    doomed.join().unwrap_err()
                });
                scene.notified();
                assert_eq!(panicked.downcast_ref::<&str>(), Some(&"the caller's own"));
                assert!(support::is_gone(pid));
            },
        ),
        fault(
            "every handle dropped, without shutdown",
            Both,
            "nothing is left",
            AT_ONCE,
            |scene| {
                let vm = scene.machine();
                let (pid, clone) = (vm.pid().unwrap(), vm.clone());
                drop(vm);
                assert!(clone.is_running());
                scene.fault();
                drop(clone);
                scene.notified();
                assert!(support::is_gone(pid));
            },
        ),
        fault(
            "every handle dropped, and the process ignores everything",
            Scripted,
            "nothing is left within 5 s; the log warns that the end was forced",
            Duration::from_secs(5) + AT_ONCE,
            |scene| {
                let vm = scene.running("ignore SIGTERM\nsilent");
                let (name, pid) = (vm.name().to_owned(), vm.pid().unwrap());
                scene.fault();
                drop(vm);
                scene.notified();
                assert!(support::is_gone(pid));
                let [warning] = &warnings::taken(&name)[..] else {
                    panic!("there is not one warning")
                };
                assert!(warning.contains("SIGTERM: no end within"), "{warning}");
                assert!(warning.contains("command line: "), "{warning}");
            },
        ),
        fault(
            "shutdown without end from two threads, then kill",
            Scripted,
            "all: the report, by SIGKILL",
            AT_ONCE,
            |scene| {
                let vm = scene.running("ignore SIGTERM\nsilent");
                std::thread::scope(|scope| {
                    let end = || vm.shutdown().quit_timeout(Duration::MAX).wait();
                    let soft = [scope.spawn(end), scope.spawn(end)];
                    // These requests come before the kill.
                    let reader = vm.wait_for_exit().timeout(SHORT).wait();
                    assert!(matches!(reader, Err(ExitError::Timeout { .. })));
                    scene.fault();
                    let killed = vm.kill().wait().unwrap();
                    scene.notified();
                    for soft in soft {
                        let soft = soft.join().unwrap();
                        assert!(Arc::ptr_eq(&killed, &soft.unwrap()));
                    }
                });
            },
        ),
        fault(
            "kill while a soft end is under way",
            Scripted,
            "both: the report, by SIGKILL",
            AT_ONCE,
            |scene| {
                let vm = scene.running("ignore SIGTERM\nsilent");
                std::thread::scope(|scope| {
                    let soft = scope.spawn(|| vm.shutdown().quit_timeout(None).wait());
                    scene.fault();
                    let killed = vm.kill().wait().unwrap();
                    let soft = soft.join().unwrap();
                    scene.notified();
                    let soft = match &soft {
                        Ok(report) => report,
                        Err(error) => error.report().unwrap(),
                    };
                    assert!(Arc::ptr_eq(&killed, soft));
                    assert_eq!(killed.cause, ExitCause::Requested(Rung::Kill));
                });
            },
        ),
    ]
}
