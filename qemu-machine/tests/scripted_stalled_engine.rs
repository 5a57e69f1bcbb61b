//! The drop of a machine's last handle while the engine has no turn. Alone in
//! its process, for there is one engine, and here it stands still.
#![allow(missing_docs)]

mod support;

use std::future::IntoFuture;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use qemu_machine::life::{Rung, RungOutcome};
use qemu_machine::{ExitCause, ExitReport, Wait, qmp};
use support::{Scratch, fake, is_gone};
use testbed::stall_who_wakes;

// P14, W1: within 5 s, and by SIGKILL alone, as it hears nothing else.
#[test]
fn a_drop_ends_the_process_also_where_the_engine_has_no_turn() {
    let scratch = Scratch::new("stalled");
    let outside = Scratch::new("stalled-go");
    let go = outside.fifo("go");
    let answer = format!("expect x\nwait-file {}\nreply {{}}", go.display());
    let vm = fake(&format!(
        "greet\nnegotiate\nignore SIGTERM\n{answer}\nsilent"
    ))
    .base_dir(scratch.path())
    .launch()
    .wait()
    .unwrap();
    let (pid, monitor) = (vm.pid().unwrap(), vm.monitor().clone());
    let waits = vm.monitor().execute_json("x", ()).into_future();
    let release = stall_who_wakes(waits, || support::release(&go));

    let (dropped, is_dropped) = channel();
    let begun = Instant::now();
    std::thread::spawn(move || {
        drop(vm);
        dropped.send(begun.elapsed()).unwrap();
    });
    let took = is_dropped.recv_timeout(Duration::from_secs(20));
    let took = took.expect("the drop waits for the engine");
    assert!(took < Duration::from_secs(8), "{took:?}");
    assert!(is_gone(pid), "its process was left");

    // The engine finds that done, and does the rest.
    drop(release);
    let lost = monitor.execute_json("y", ()).wait().unwrap_err();
    let end = lost.disconnected().unwrap();
    let qmp::Disconnected::ServerEnded(end) = end else {
        panic!("{end}")
    };
    let report = end.downcast_ref::<ExitReport>().unwrap();
    assert_eq!(report.cause, ExitCause::Requested(Rung::Kill));
    assert_eq!(report.status.signal(), Some(9));
    let [rung] = &report.rungs[..] else {
        panic!("{:?}", report.rungs)
    };
    assert_eq!(
        (rung.rung, &rung.outcome),
        (Rung::Kill, &RungOutcome::Ended)
    );
    assert!(scratch.names().is_empty());
}
