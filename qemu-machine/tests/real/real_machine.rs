//! The life of a machine on every real QEMU.

use crate::support::scenario;
use qemu_machine::ExitCause;
use qemu_machine::life::Rung;
use qemu_machine::qmp::command::QueryStatus;

scenario! {
    fn a_machine_is_launched_spoken_with_heard_and_ended(qemu) {
        let vm = run!(qemu.tiny().launch()).unwrap();
        let version = vm.monitor().greeting().unwrap().version.clone().unwrap();
        assert!(version.to_string().starts_with(&qemu.version), "{version}");
        run!(vm.console().expect("tiny guest ready\r\n> ")).unwrap();
        assert_eq!(run!(vm.monitor().execute(QueryStatus)).unwrap().status, "running");
        run!(vm.console().send("echo hello\n")).unwrap();
        assert_eq!(run!(vm.console().expect("\r\n> ")).unwrap().before, b"hello");
        let report = run!(vm.shutdown()).unwrap();
        assert_eq!(report.cause, ExitCause::Requested(Rung::Quit));
        assert_eq!(report.status.code(), Some(0));
        assert_eq!(vm.pid(), None);
    }
}
