//! A waker is the code of its executor. A waker that panics harms only its own
//! task: every other waiter is woken.
use std::future::IntoFuture;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use crate::support::{Scratch, fake, release};
use qemu_machine::error::{ExpectFailure, SendError};
use qemu_machine::qmp::Disconnected;
use qemu_machine::qmp::command::Stop;
use qemu_machine::qtest::QtestEnd;
use qemu_machine::{Console, Wait};

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("a waker that panics");
    }
}

/// Polls a future once, so that it waits with a waker that panics.
macro_rules! waits_and_panics {
    ($future:expr) => {{
        let waker = Waker::from(Arc::new(Panics));
        let polled = $future.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
    }};
}

/// Far less than any operation's own deadline.
const SOON: Duration = Duration::from_secs(10);

// R12
#[test]
fn where_one_who_waits_for_a_console_panics_all_others_hear_of_the_end() {
    let scratch = Scratch::new("panicking");
    let go = scratch.fifo("go");
    // The end is announced, so the console's is reported with the machine's.
    let script = format!(
        "greet\nnegotiate\nexpect x\n\
         event SHUTDOWN {{\"guest\": false, \"reason\": \"host-qmp-quit\"}}\n\
         console-close 0\nexpect y\nwait-file {}\ndie SIGKILL",
        go.display()
    );
    let vm = fake(&script)
        .console(Console::serial())
        .add_console("other", Console::serial().screen())
        .launch()
        .wait()
        .unwrap();
    let mut shutdown = vm.monitor().events_named(["SHUTDOWN"]);
    drop(vm.monitor().execute_json("x", ()).into_future().poll_once());
    shutdown.next().wait().unwrap();
    // It waits for the console's end: its socket has ended, and the machine has not.
    while vm
        .console()
        .send("z")
        .timeout(Duration::from_millis(50))
        .wait()
        .is_ok()
    {}
    let mut sends = vm.console().send("z").into_future();
    waits_and_panics!(sends);
    let other = vm.console_named("other").unwrap();
    let mut shows = other.screen_shows("x").timeout(SOON).into_future();
    assert!(shows.as_mut().poll_once().is_none());
    let mut ends = vm.wait_for_exit().timeout(None).into_future();
    waits_and_panics!(ends);

    let mut command = vm
        .monitor()
        .execute_json("y", ())
        .timeout(SOON)
        .into_future();
    assert!(command.as_mut().poll_once().is_none());
    release(&go);
    let error = command.wait().unwrap_err();
    assert!(
        matches!(error.disconnected(), Some(Disconnected::ServerEnded(_))),
        "{error}"
    );
    let error = shows.wait().unwrap_err();
    assert!(
        matches!(*error.failure, ExpectFailure::MachineEnded(_)),
        "{error}"
    );
    // Who comes later has the same answer, and need not wait for it.
    let late = Instant::now();
    vm.monitor()
        .execute_json("late", ())
        .timeout(SOON)
        .wait()
        .unwrap_err();
    assert!(late.elapsed() < SOON, "{:?}", late.elapsed());
    let error = sends.wait().unwrap_err();
    assert!(matches!(error, SendError::MachineEnded { .. }), "{error}");
    ends.wait().unwrap();
}

// R12
#[test]
fn a_waker_that_panics_at_a_change_of_an_interrupt_keeps_no_other_listener_waiting() {
    let script = "greet\nnegotiate\nqtest-expect clock_set 0\\n\n\
                  qtest FAIL Unknown command 'clock_set'\\n\n\
                  expect stop\nqtest IRQ raise 4\\n\nreply {}\nserve";
    let vm = fake(script).qtest().launch().wait().unwrap();
    let qtest = vm.qtest();
    let mut listeners: Vec<_> = (0..40).map(|_| qtest.irqs()).collect();
    let (first, others) = listeners.split_first_mut().unwrap();
    let mut panicking = Box::pin(first.next());
    waits_and_panics!(panicking);
    let mut waiting: Vec<_> = others
        .iter_mut()
        .map(|irqs| Box::pin(irqs.next().timeout(SOON)))
        .collect();
    for irqs in &mut waiting {
        assert!(irqs.as_mut().poll_once().is_none());
    }
    // At its deadline, one looks again: it must have been woken before.
    let begun = Instant::now();
    let heard = std::thread::scope(|scope| {
        let threads: Vec<_> = waiting
            .into_iter()
            .map(|irqs| scope.spawn(move || irqs.wait()))
            .collect();
        vm.monitor().execute(Stop).wait().unwrap();
        let heard = threads.into_iter().map(|thread| thread.join().unwrap());
        heard.collect::<Vec<_>>()
    });
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    for irq in heard {
        assert_eq!(irq.unwrap().to_string(), "IRQ raise 4");
    }
    assert_eq!(panicking.wait().unwrap().to_string(), "IRQ raise 4");

    // And at the channel's end.
    let mut panicking = pin!(async {
        let mut irqs = qtest.irqs();
        irqs.next().timeout(None).await
    });
    waits_and_panics!(panicking);
    vm.shutdown().wait().unwrap();
    let error = qtest.inb(1).timeout(SOON).wait().unwrap_err();
    assert!(
        matches!(error.ended(), Some(QtestEnd::MachineEnded(_))),
        "{error}"
    );
}

/// Polls a future once, with a waker of nobody.
trait PollOnce: Future + Unpin {
    fn poll_once(mut self) -> Option<Self::Output>
    where
        Self: Sized,
    {
        let mut context = Context::from_waker(Waker::noop());
        match std::pin::Pin::new(&mut self).poll(&mut context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }
}

impl<F: Future + Unpin> PollOnce for F {}
