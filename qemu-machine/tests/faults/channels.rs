//! Faults of the channels besides the first monitor and the console.

use std::sync::Arc;

use qemu_machine::error::{IrqError, QtestProtocolError};
use qemu_machine::qmp::Disconnected;
use qemu_machine::qmp::command::QueryStatus;
use qemu_machine::qmp::error::EventError;
use qemu_machine::qtest::QtestEnd;
use qemu_machine::{ExitReport, Wait};

use super::Place::{Real, Scripted};
use super::{AT_ONCE, Fault, PATIENCE, fault};
use crate::support;

pub fn rows() -> Vec<Fault> {
    vec![
        fault(
            "killed by SIGKILL, waited for on a second monitor and on its qtest channel",
            Real,
            "everyone: the same report",
            AT_ONCE,
            |scene| {
                let builder = scene.tiny().add_monitor("watch").qtest();
                let vm = builder.launch().wait().unwrap();
                let (watch, qtest) = (vm.monitor_named("watch").unwrap(), vm.qtest());
                let (mut events, mut irqs) = (watch.events(), qtest.irqs());
                // So that nothing is answered before.
                support::signal(vm.pid().unwrap(), "STOP");
                let reports: Vec<Arc<ExitReport>> = std::thread::scope(|scope| {
                    let command = scope.spawn(|| {
                        let command = watch.execute(QueryStatus).timeout(PATIENCE);
                        let error = command.wait().unwrap_err();
                        assert_eq!(
                            error.disconnected().unwrap().to_string(),
                            vm.report().unwrap().to_string()
                        );
                    });
                    let event = scope.spawn(|| {
                        let error = events.next().timeout(PATIENCE).wait().unwrap_err();
                        let EventError::Ended {
                            cause: Disconnected::ServerEnded(report),
                            ..
                        } = error
                        else {
                            panic!("{error}")
                        };
                        assert_eq!(report.to_string(), vm.report().unwrap().to_string());
                    });
                    let read = scope.spawn(|| {
                        let error = qtest.read(0, 1 << 20).timeout(PATIENCE).wait();
                        match error.unwrap_err().ended() {
                            Some(QtestEnd::MachineEnded(report)) => Arc::clone(report),
                            other => panic!("{other:?}"),
                        }
                    });
                    let irq =
                        scope.spawn(|| match irqs.next().timeout(PATIENCE).wait().unwrap_err() {
                            IrqError::Ended {
                                cause: QtestEnd::MachineEnded(report),
                                ..
                            } => report,
                            other => panic!("{other}"),
                        });
                    scene.fault();
                    support::signal(vm.pid().unwrap(), "KILL");
                    command.join().unwrap();
                    event.join().unwrap();
                    [read, irq].map(|thread| thread.join().unwrap()).into()
                });
                scene.notified();
                let report = vm.report().unwrap();
                assert_eq!(report.status.signal(), Some(9));
                for of in reports {
                    assert!(Arc::ptr_eq(&of, &report), "{of}");
                }
            },
        ),
        fault(
            "breaks the protocol of its qtest channel",
            Scripted,
            "a command: Ended, by Protocol, at once, and also any later one; the machine runs",
            AT_ONCE,
            |scene| {
                let script = "greet\nnegotiate\nqtest-expect clock_set 0\\n\nqtest FAIL Unknown command 'clock_set'\\n\n\
                              qtest-expect inb 0x1\\n\nqtest what?\\n\nserve";
                let vm = scene.fake(script).qtest().launch().wait().unwrap();
                let qtest = vm.qtest();
                scene.fault();
                let commands = [qtest.inb(1), qtest.inb(2)];
                for command in commands {
                    let error = command.timeout(PATIENCE).wait().unwrap_err();
                    assert!(
                        matches!(
                            error.ended(),
                            Some(QtestEnd::Protocol(QtestProtocolError::Malformed { .. }))
                        ),
                        "{error}"
                    );
                }
                scene.notified();
                assert!(vm.is_running());
                vm.shutdown().wait().unwrap();
            },
        ),
    ]
}
