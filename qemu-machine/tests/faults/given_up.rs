//! Launches whose future is dropped.

use std::future::IntoFuture;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use qemu_machine::Wait;

use super::Place::{Both, Scripted};
use super::{AT_ONCE, Fault, PATIENCE, Scene, fault};
use crate::support;

/// How far the launch is when it is dropped.
pub fn rows() -> Vec<Fault> {
    let stages: [(&str, &str); 5] = [
        // The launch must not end before the poll that begins it.
        ("as soon as it was polled", "silent"),
        ("once the process runs", "wait-file FIFO\nsilent"),
        ("once it has greeted", "greet\nwait-file FIFO\nsilent"),
        (
            "during the negotiation",
            "greet\nexpect qmp_capabilities\nwait-file FIFO\nsilent",
        ),
        (
            "when its result may be ready",
            "greet\nnegotiate\nwait-file FIFO\nserve",
        ),
    ];
    let mut rows = vec![fault(
        "launch dropped before it was polled",
        Both,
        "nothing is launched",
        AT_ONCE,
        |scene| drop(scene.fake("serve").launch().into_future()),
    )];
    rows.push(fault(
        "launch dropped when it is done, before the caller has the machine",
        Scripted,
        "nothing, without waiting; the process is killed in the background",
        AT_ONCE,
        |scene| {
            let before = testbed::children();
            let fifo = scene.fifo("served");
            let script = format!(
                "ignore SIGTERM\ngreet\nnegotiate\nwait-file {}\nsilent",
                fifo.display()
            );
            let launch = scene.fake(&script).launch();
            let mut launch = launch.into_future();
            let mut context = Context::from_waker(Waker::noop());
            assert!(launch.as_mut().poll(&mut context).is_pending());
            // The negotiation is done. Next, the engine delivers the result,
            // before it does anything for another machine.
            support::release(&fifo);
            settle(scene);
            scene.fault();
            drop(launch);
            let dropped = Instant::now();
            assert!(testbed::wait_for_ends(&before, dropped + PATIENCE));
            scene.notified();
            settle(scene);
        },
    ));
    for (stage, script) in stages {
        rows.push(fault(
            format!("launch dropped {stage}"),
            Scripted,
            "nothing; the process is killed in the background",
            AT_ONCE,
            move |scene| {
                let before = testbed::children();
                let fifo = scene.fifo("there");
                let script = script.replace("FIFO", &fifo.display().to_string());
                // A killed process closes the pipe.
                let (mut held, theirs) = std::io::pipe().unwrap();
                let launch = scene.fake(&script).add_fd(1, theirs, None).launch();
                {
                    let mut launch = pin!(launch.into_future());
                    let mut context = Context::from_waker(Waker::noop());
                    let polled = launch.as_mut().poll(&mut context);
                    assert!(matches!(polled, Poll::Pending));
                    if script.contains("wait-file") {
                        support::release(&fifo);
                    }
                }
                scene.fault();
                std::io::copy(&mut held, &mut std::io::sink()).unwrap();
                assert!(testbed::wait_for_ends(&before, Instant::now() + PATIENCE));
                scene.notified();
                settle(scene);
            },
        ));
    }
    rows
}

/// Waits until the engine has done its work so far: work for another machine
/// comes after that.
fn settle(scene: &Scene) {
    for _ in 0..2 {
        scene.program("/bin/true").launch().wait().unwrap_err();
    }
}
