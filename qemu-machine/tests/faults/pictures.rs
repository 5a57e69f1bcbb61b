//! Faults while a machine draws its screen.

use std::future::IntoFuture;
use std::path::PathBuf;
use std::task::{Context, Waker};

use qemu_machine::error::DisplayError;
use qemu_machine::qmp::Disconnected;
use qemu_machine::spec::{Monitor, OptionGroup};
use qemu_machine::{Machine, Wait};
use testbed::Census;

use super::Place::Real;
use super::{AT_ONCE, Fault, Scene, fault};
use crate::support;

pub fn rows() -> Vec<Fault> {
    vec![
        fault(
            "killed by SIGKILL, after a picture of its screen",
            Real,
            "the end; then nothing is left of the file of the picture, even with handles left",
            AT_ONCE,
            |scene| {
                let vm = shown(scene, Monitor::SocketPair);
                let files = || Census::take::<PathBuf>(&[]);
                let before = files();
                vm.display().screenshot().wait().unwrap();
                assert_eq!(files().since(&before).len(), 2, "ours, and QEMU's");
                let display = vm.display();
                killed(scene, &vm);
                assert_eq!(files().since(&before), [] as [&str; 0]);
                ended(display.screenshot().wait().unwrap_err());
                assert_eq!(files().since(&before), [] as [&str; 0]);
            },
        ),
        fault(
            "killed by SIGKILL while it draws its screen, with a monitor over TCP",
            Real,
            "the picture: Execute, with the report; at the report its directory is gone",
            AT_ONCE,
            |scene| {
                let vm = shown(scene, Monitor::Tcp(([127, 0, 0, 1], 0).into()));
                let files = || Census::take(&[scene.base()]).count("file");
                let before = files();
                support::signal(vm.pid().unwrap(), "STOP");
                let mut tap = vm.monitor().tap();
                let mut picture = vm.display().screenshot().into_future();
                let mut context = Context::from_waker(Waker::noop());
                assert!(picture.as_mut().poll(&mut context).is_pending());
                tap.next().wait().unwrap();
                assert_eq!(files(), before + 1);
                killed(scene, &vm);
                assert_eq!(files(), 0);
                ended(picture.wait().unwrap_err());
            },
        ),
    ]
}

/// A machine with a screen.
fn shown(scene: &Scene, monitor: Monitor) -> Machine {
    let builder = scene.tiny().device(&OptionGroup::new("VGA"));
    builder.monitor(monitor).launch().wait().unwrap()
}

fn killed(scene: &Scene, vm: &Machine) {
    scene.fault();
    support::signal(vm.pid().unwrap(), "KILL");
    let report = vm.wait_for_exit().wait().unwrap();
    scene.notified();
    assert_eq!(report.status.signal(), Some(9));
}

fn ended(error: DisplayError) {
    let DisplayError::Execute(error) = error else {
        panic!("{error}");
    };
    let cause = error.disconnected();
    assert!(
        matches!(cause, Some(Disconnected::ServerEnded(_))),
        "{error}"
    );
}
