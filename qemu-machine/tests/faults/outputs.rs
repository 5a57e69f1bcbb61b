//! Faults of consoles, logs and tees.

use std::io;

use qemu_machine::error::LaunchFailure;
use qemu_machine::spec::Tee;
use qemu_machine::{Console, Wait};

use super::Place::{Both, Real, Scripted};
use super::at_launch::fails;
use super::{AT_ONCE, Fault, Scene, fault};
use crate::support;

/// Faults of outputs at the launch.
pub fn at_launch() -> Vec<Fault> {
    vec![
        fault(
            "a console is on a serial port that the machine does not have",
            Real,
            "NoSerialPort, with the console and what to use; it was killed",
            AT_ONCE,
            |scene| {
                let builder = scene.tiny().machine("microvm");
                let error = fails(scene, &builder.add_console("two", Console::serial()));
                assert!(
                    matches!(
                        *error.failure,
                        LaunchFailure::NoSerialPort { number: 2, .. }
                    ),
                    "{error}"
                );
                let text = error.to_string();
                assert!(text.contains("console 'two' has no device"), "{text}");
                assert!(text.contains("Console::virtio()"), "{text}");
                assert!(support::is_gone(error.report.unwrap().pid));
            },
        ),
        fault(
            "another machine is writing a log of this name",
            Scripted,
            "a machine, with a log beside it",
            AT_ONCE,
            |scene| {
                let folder = scene.file("logs");
                std::fs::create_dir(&folder).unwrap();
                let builder = scene.fake("greet\nnegotiate\nserve");
                let builder = builder.name("node").log_dir(&folder);
                let first = builder.launch().wait().unwrap();
                scene.fault();
                let second = builder.launch().wait().unwrap();
                scene.notified();
                assert_eq!(first.log_path(), folder.join("node.log"));
                assert_eq!(second.log_path(), folder.join("node~2.log"));
                first.shutdown().wait().unwrap();
                second.shutdown().wait().unwrap();
            },
        ),
    ]
}

/// Faults of a writer of the caller while a machine runs.
pub fn running() -> Vec<Fault> {
    vec![
        tee_is_lost("fails", "its writer failed: Broken pipe", || {
            let (reader, writer) = io::pipe().unwrap();
            drop(reader);
            Tee::new(writer)
        }),
        tee_is_lost("panics", "its writer panicked", || {
            Tee::call(|_| panic!("on purpose"))
        }),
    ]
}

fn tee_is_lost(how: &str, why: &'static str, tee: fn() -> Tee) -> Fault {
    fault(
        format!("the writer of a console's tee {how}"),
        Both,
        "the machine continues; `warnings` of the report says why",
        AT_ONCE,
        move |scene: &Scene| {
            let console = Console::serial().tee(tee());
            let builder = if scene.is_real() {
                scene.tiny()
            } else {
                scene.fake("greet\nnegotiate\nconsole ready\nserve")
            };
            let vm = builder.console(console).launch().wait().unwrap();
            vm.console().expect("ready").wait().unwrap();
            scene.fault();
            let report = vm.shutdown().wait().unwrap();
            scene.notified();
            assert!(report.warnings.join("\n").contains(why), "{report}");
        },
    )
}
