//! A thread that waits for a reply reads it itself, so it has it also while the
//! engine has no turn. Alone in its process, for there is one engine, and here
//! it stands still.
#![allow(missing_docs)]

mod support;

use std::future::IntoFuture;
use std::sync::mpsc::channel;

use qemu_qmp::command::QueryStatus;
use qemu_qmp::{Client, Wait};
use support::serve;
use testbed::stall_who_wakes;

#[test]
fn who_waits_has_its_reply_and_others_their_events_while_the_engine_has_no_turn() {
    let (go, goes) = channel();
    let (stalled, stalling) = serve(move |server| {
        server.ready();
        let command = server.expect("x");
        goes.recv().unwrap();
        server.answer(&command, "{}");
        server.ends();
    });
    let (socket, server) = serve(|server| {
        server.ready();
        for _ in 0..2 {
            let status = server.expect("query-status");
            server.send(r#"{"event": "X_BEFORE"}"#);
            server.answer(&status, r#"{"status": "running", "running": true}"#);
        }
        server.expect("x-leave");
        server.send(r#"{"event": "X_AFTER"}"#);
    });
    let other = Client::over(stalled).wait().unwrap();
    let qmp = Client::over(socket).wait().unwrap();
    let mut events = qmp.events();
    let waits = other.execute_json("x", ()).into_future();
    let release = stall_who_wakes(waits, || go.send(()).unwrap());

    for _ in 0..2 {
        assert!(qmp.execute(QueryStatus).wait().unwrap().running);
        assert_eq!(events.try_next().unwrap().name(), "X_BEFORE");
    }

    // It reads again what nobody waits for in a thread of theirs.
    drop(release);
    let leave = std::thread::spawn({
        let qmp = qmp.clone();
        move || qmp.execute_json("x-leave", ()).wait().unwrap_err()
    });
    assert_eq!(events.next().wait().unwrap().name(), "X_AFTER");
    assert!(leave.join().unwrap().disconnected().is_some());
    drop((other, qmp));
    stalling.end();
    server.end();
}
