//! Faults of a save, a move, or a snapshot.

use qemu_machine::error::{MoveError, SnapshotFailure};
use qemu_machine::qmp::command::QueryStatus;
use qemu_machine::qmp::error::MigrationError;
use qemu_machine::{Machine, Wait};
use serde_json::json;

use super::Place::Real;
use super::{AT_ONCE, Fault, SHORT, fault};

pub fn rows() -> Vec<Fault> {
    vec![
        fault(
            "a guest is saved to a full disk",
            Real,
            "Migration, with QEMU's words; the guest resumes",
            AT_ONCE,
            |scene| {
                let vm = scene.prompt(&[]);
                scene.fault();
                let error = vm.save_to("/dev/full").wait().unwrap_err();
                scene.notified();
                let MoveError::Migration(MigrationError::Failed { .. }) = error else {
                    panic!("{error}");
                };
                assert!(runs(&vm));
                vm.kill().wait().unwrap();
            },
        ),
        fault(
            "a save takes too long",
            Real,
            "Timeout; the save is cancelled, and the guest resumes",
            SHORT + AT_ONCE,
            |scene| {
                let vm = scene.prompt(&[]);
                let slow = json!({"max-bandwidth": 10_000});
                let set = vm.monitor().execute_json("migrate-set-parameters", slow);
                set.wait().unwrap();
                scene.fault();
                let save = vm.save_to(scene.file("saved")).timeout(SHORT);
                let error = save.wait().unwrap_err();
                scene.notified();
                assert!(matches!(error, MoveError::Timeout { .. }), "{error}");
                assert!(runs(&vm));
                vm.kill().wait().unwrap();
            },
        ),
        fault(
            "a guest moves to a machine of another size",
            Real,
            "Migration; the guest resumes, and the other machine ends",
            AT_ONCE,
            |scene| {
                let vm = scene.prompt(&[]);
                let other = scene.tiny().memory("64M").incoming();
                let other = other.launch().wait().unwrap();
                scene.fault();
                let error = vm.migrate_to(&other).wait().unwrap_err();
                scene.notified();
                assert!(matches!(error, MoveError::Migration(_)), "{error}");
                assert!(runs(&vm));
                other.wait_for_exit().wait().unwrap();
                vm.kill().wait().unwrap();
            },
        ),
        fault(
            "a snapshot without a disk to store it in",
            Real,
            "NoDisk, with what to do; the guest is not paused",
            AT_ONCE,
            |scene| {
                let vm = scene.prompt(&[]);
                scene.fault();
                let error = vm.save_snapshot("s").wait().unwrap_err();
                scene.notified();
                assert!(matches!(*error.failure, SnapshotFailure::NoDisk), "{error}");
                assert!(error.to_string().contains("qcow2"), "{error}");
                assert!(runs(&vm));
                vm.kill().wait().unwrap();
            },
        ),
    ]
}

fn runs(vm: &Machine) -> bool {
    vm.monitor().execute(QueryStatus).wait().unwrap().running
}
