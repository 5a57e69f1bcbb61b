//! A thread that waits for a reply reads it itself, so it has it also while the
//! engine has no turn. Alone in its process, for there is one engine, and here
//! it stands still.
#![allow(missing_docs)]

mod support;

use std::future::IntoFuture;
use std::pin::pin;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};

use qemu_qmp::{Client, QueryStatus, Wait};
use support::serve;

/// An executor's waker that does not return: it holds up who wakes it.
struct Stalls {
    reached: Sender<()>,
    released: Mutex<Receiver<()>>,
}

impl Wake for Stalls {
    fn wake(self: Arc<Self>) {
        self.reached.send(()).unwrap();
        let _ = self.released.lock().unwrap().recv();
    }
}

/// Has the engine stand still until what is returned is dropped.
fn stall_the_engine(qmp: &Client) -> Sender<()> {
    let (reached, is_reached) = channel();
    let (release, released) = channel();
    let waker = Waker::from(Arc::new(Stalls {
        reached,
        released: Mutex::new(released),
    }));
    let mut command = pin!(qmp.execute_json("x", ()).into_future());
    let polled = command.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending(), "answered before it was waited for");
    is_reached.recv().unwrap();
    release
}

#[test]
fn who_waits_has_its_reply_and_others_their_events_while_the_engine_has_no_turn() {
    let (stalled, stalling) = serve(|server| {
        server.ready();
        let command = server.expect("x");
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
    let release = stall_the_engine(&other);

    for _ in 0..2 {
        assert!(qmp.execute(QueryStatus {}).wait().unwrap().running);
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
