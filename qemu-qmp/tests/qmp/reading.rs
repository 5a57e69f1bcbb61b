//! A thread that waits for a reply reads it itself. It gives the reading back in every
//! case: in a task, at the end of its thread, in a forked process.

use std::cell::RefCell;
use std::future::Future;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::support::{self, serve};
use qemu_qmp::command::QueryStatus;
use qemu_qmp::{Client, Events, Wait};
use tokio::runtime::Runtime;

/// Answers this number of commands, then sends an event that no thread waits for.
fn answers(server: &mut support::Server, commands: u32) {
    server.ready();
    for _ in 0..commands {
        let status = server.expect("query-status");
        server.answer(&status, r#"{"status": "running", "running": true}"#);
    }
    let leave = server.expect("x-tell");
    server.answer(&leave, "{}");
    server.send(r#"{"event": "X_TOLD"}"#);
    server.ends();
}

/// The engine reads again: the next event wakes a task.
fn hears_what_is_told(events: &mut Events) {
    let event = by_a_task(async { events.next().timeout(LONG).await.unwrap() });
    assert_eq!(event.name(), "X_TOLD");
}

/// On another thread, which only a waker can wake.
fn by_a_task<T: Send>(task: impl Future<Output = T> + Send) -> T {
    thread::scope(|scope| {
        let done = scope.spawn(|| runtime().block_on(task));
        done.join().unwrap()
    })
}

fn runtime() -> Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap()
}

#[test]
fn a_task_may_wait_as_often_as_it_likes() {
    let (socket, server) = serve(|server| answers(server, 300));
    let qmp = Client::over(socket).wait().unwrap();
    let mut events = qmp.events();
    // A task has 128 shares in a turn.
    runtime().block_on(async {
        for _ in 0..300 {
            let status = qmp.execute(QueryStatus).timeout(LONG);
            assert!(status.wait().unwrap().running);
        }
        qmp.execute_json("x-tell", ()).timeout(LONG).wait().unwrap();
        hears_what_is_told(&mut events);
    });
    drop(qmp);
    server.end();
}

#[test]
fn a_thread_that_ends_may_still_have_a_reply() {
    thread_local! {
        static LAST: RefCell<Option<Asks>> = const { RefCell::new(None) };
    }
    struct Asks(Client, mpsc::Sender<bool>);
    impl Drop for Asks {
        fn drop(&mut self) {
            let status = self.0.execute(QueryStatus).timeout(LONG).wait();
            let _ = self.1.send(status.is_ok_and(|it| it.running));
        }
    }
    let (socket, server) = serve(|server| answers(server, 2));
    let qmp = Client::over(socket).wait().unwrap();
    let mut events = qmp.events();
    let (told, tells) = mpsc::channel();
    let asks = Asks(qmp.clone(), told);
    let thread = thread::spawn(move || {
        // What waits keep is there first, and gone last; what the runtime keeps
        // comes last, and is gone before this thread asks again.
        async {}.wait();
        let qmp = asks.0.clone();
        LAST.set(Some(asks));
        assert!(qmp.execute(QueryStatus).wait().unwrap().running);
    });
    thread.join().unwrap();
    assert!(tells.recv().unwrap());
    qmp.execute_json("x-tell", ()).wait().unwrap();
    hears_what_is_told(&mut events);
    drop(qmp);
    server.end();
}

#[test]
fn a_fork_takes_no_reading_from_its_parent() {
    let (socket, server) = serve(|server| {
        server.ready();
        // What the fork asks is a stray, which nobody answers.
        server.expect("x-stray");
        let status = server.expect("query-status");
        server.answer(&status, r#"{"status": "running", "running": true}"#);
        server.send(r#"{"event": "X_TOLD"}"#);
        server.ends();
    });
    let qmp = Client::over(socket).wait().unwrap();
    let mut events = qmp.events();
    let fork = testbed::fork(|| {
        let stray = qmp.execute_json("x-stray", ());
        let _ = stray.timeout(Duration::from_millis(50)).wait();
    });
    assert!(fork.succeeded());
    let status = qmp.execute(QueryStatus).timeout(LONG);
    assert!(by_a_task(async { status.await.unwrap().running }));
    hears_what_is_told(&mut events);
    drop(qmp);
    server.end();
}

/// Never reached.
const LONG: Duration = Duration::from_secs(20);
