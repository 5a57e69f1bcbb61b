//! Processes that outlive the started process.

use std::time::Duration;

use qemu_machine::error::LaunchFailure;
use qemu_machine::life::{Survivor, SurvivorOutcome};
use qemu_machine::{ExitReport, MachineBuilder, Wait};

use super::Place::{Both, Scripted};
use super::at_launch::fails;
use super::host::{Host, Stage};
use super::{AT_ONCE, Fault, Scene, fault};
use crate::support;

pub(super) fn at_launch() -> Vec<Fault> {
    let mut rows = vec![fault(
        "`-daemonize` among the arguments",
        Both,
        "Refused, with the option, before anything is started",
        AT_ONCE,
        |scene| {
            let error = fails(scene, &machine(scene, "serve").arg("-daemonize"));
            let refused = matches!(*error.failure, LaunchFailure::Refused { .. });
            assert!(refused && error.advice().is_some(), "{error}");
            assert!(error.to_string().contains("-daemonize"), "{error}");
        },
    )];
    for (how, script) in [
        ("in its group", "\"$@\" &"),
        ("in a new session", "setsid \"$@\" &"),
        ("without its output", "setsid \"$@\" >/dev/null 2>&1 &"),
    ] {
        rows.push(fault(
            format!("wrapper ends, and leaves QEMU behind {how}"),
            Both,
            "Exited, with the process, which is killed; what to do",
            AT_ONCE,
            move |scene| {
                let builder = machine(scene, "silent").wrapper(["sh", "-c", script, "sh"]);
                let error = fails(scene, &builder);
                assert!(matches!(*error.failure, LaunchFailure::Exited), "{error}");
                killed(&error.report.as_ref().unwrap().survivors);
                assert!(error.to_string().contains("was left running"), "{error}");
                assert!(error.advice().unwrap().contains("exec"), "{error}");
            },
        ));
    }
    rows
}

pub(super) fn ending() -> Vec<Fault> {
    vec![
        fault(
            "in a new session, under a wrapper that waits; killed",
            Both,
            "an end by SIGKILL; the report has the process, which is killed too",
            AT_ONCE,
            |scene| {
                let builder = machine(scene, "serve").wrapper(["setsid", "--wait"]);
                let report = end(scene, &builder, true);
                killed(&report.survivors);
            },
        ),
        fault(
            "leaves a process behind in a new session",
            Both,
            "an end by `quit`; the report has the process, which is killed",
            AT_ONCE,
            |scene| {
                // Only this shows that the process has left its group.
                let script = "setsid sleep 1000 & \
                              until read -r name <\"/proc/$!/comm\" && [ \"$name\" = sleep ]; do :; done; \
                              exec \"$@\"";
                let builder = machine(scene, "serve").wrapper(["sh", "-c", script, "sh"]);
                let report = end(scene, &builder, false);
                killed(&report.survivors);
                assert!(report.survivors[0].name == "sleep", "{report}");
            },
        ),
        fault(
            "leaves a process behind that this one has no permission to kill",
            Scripted,
            "an end by SIGKILL; the report says which process still runs",
            Duration::from_secs(10),
            |scene| {
                // Only root has processes of two users.
                if support::is_root() {
                    Host::without_the_right_to_kill(scene, "may_not_kill").succeeds();
                }
            },
        ),
    ]
}

/// A machine of the current QEMU, or of the peer with this script.
fn machine(scene: &Scene, script: &str) -> MachineBuilder {
    if scene.is_real() {
        scene.tiny()
    } else {
        scene.fake(&format!("greet\nnegotiate\n{script}"))
    }
}

fn end(scene: &Scene, builder: &MachineBuilder, kill: bool) -> std::sync::Arc<ExitReport> {
    let (mut held, theirs) = std::io::pipe().unwrap();
    let vm = builder.clone().add_fd(1, theirs, None).launch();
    let vm = vm.wait().unwrap();
    scene.fault();
    let report = if kill {
        vm.kill().wait().unwrap()
    } else {
        vm.shutdown().wait().unwrap()
    };
    scene.notified();
    // Each of them had the other end.
    std::io::copy(&mut held, &mut std::io::sink()).unwrap();
    report
}

fn killed(survivors: &[Survivor]) {
    assert_eq!(survivors.len(), 1, "{survivors:?}");
    assert_eq!(survivors[0].outcome, SurvivorOutcome::Killed);
}

/// Root without `CAP_KILL`, with a QEMU of another user.
pub(super) fn may_not_kill(stage: &Stage) {
    let script = "setpriv --reuid=65534 setsid \"$@\"; :";
    // It ends by itself when its monitor does.
    let builder = stage
        .builder("wait-eof")
        .wrapper(["sh", "-c", script, "sh"]);
    let vm = builder.launch().wait().unwrap();
    let report = vm.kill().wait().unwrap();
    let [survivor] = &report.survivors[..] else {
        panic!("{report}")
    };
    assert_eq!(survivor.outcome, SurvivorOutcome::NotPermitted, "{report}");
    assert!(report.to_string().contains("still runs"), "{report}");
}
