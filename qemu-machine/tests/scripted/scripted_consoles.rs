//! More consoles than one on a machine, as a real QEMU would not have them on
//! demand.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use crate::support::{Scratch, fake, release, scenario, untimed};
use qemu_machine::Console;
use qemu_machine::error::{ErrorKind, ExpectFailure, SendError, ShellFailure};

// P27, W2
scenario! {
    fn each_console_has_its_own_bytes_log_and_end() {
        let scratch = Scratch::new("consoles");
        let [first, second] = ["first.log", "second.log"].map(|name| scratch.join(name));
        let script = "
            greet
            negotiate
            console 0 first\\n
            console 1 sec
            console 1 ond\\r\\nanother
            console-expect 1 close\\n
            console-close 1
            console-expect 0 die\\n
            die SIGKILL";
        let builder = fake(script)
            .console(Console::serial().log(&first))
            .add_console("other", Console::serial().log(&second).log_times());
        let vm = run!(builder.launch()).unwrap();
        let other = vm.console_named("other").unwrap();
        run!(vm.console().expect("first\n")).unwrap();
        let found = run!(other.expect("another")).unwrap();
        assert_eq!(found.before, b"second\r\n");
        run!(other.send("close\n")).unwrap();
        let error = run!(other.expect("x")).unwrap_err();
        assert!(matches!(*error.failure, ExpectFailure::Closed), "{error}");
        assert_eq!(error.kind(), ErrorKind::Ended);
        let error = run!(other.send("x")).unwrap_err();
        assert!(matches!(error, SendError::Closed { .. }), "{error}");
        assert!(error.to_string().contains("': console 'other' did not take the input: QEMU closed"), "{error}");

        // The first lives on, and both report the end.
        run!(vm.console().send("die\n")).unwrap();
        let report = run!(vm.wait_for_exit()).unwrap();
        assert_eq!(report.console_tail, b"first\n");
        assert_eq!(report.named_console_tails, [("other".to_owned(), b"second\r\nanother".to_vec())]);
        for console in [vm.console(), other] {
            let error = run!(console.expect("x")).unwrap_err();
            assert!(matches!(*error.failure, ExpectFailure::MachineEnded(_)), "{error}");
        }
        assert_eq!(std::fs::read(&first).unwrap(), b"first\n");
        let second = std::fs::read_to_string(&second).unwrap();
        let lines: Vec<_> = second.split_inclusive('\n').map(untimed).collect();
        assert_eq!(lines, ["second\r\n", "another"], "{second:?}");
    }
}

// D34, W2
scenario! {
    fn what_is_sent_as_a_machine_ends_fails_by_that_end_and_not_by_its_symptom() {
        let scratch = Scratch::new("dying");
        let [closed, ends] = ["closed", "ends"].map(|name| scratch.fifo(name));
        let script = format!(
            "greet
            negotiate
            event SHUTDOWN {{\"guest\": true, \"reason\": \"guest-shutdown\"}}
            console-close
            wait-file {}
            wait-file {}
            exit 0",
            closed.display(),
            ends.display(),
        );
        let vm = run!(fake(&script).console(Console::serial()).launch()).unwrap();
        release(&closed);

        let error = run!(vm.console().send("x").timeout(Duration::from_millis(20))).unwrap_err();
        assert!(matches!(error, SendError::Timeout { .. }), "{error}");
        assert_eq!(error.kind(), ErrorKind::Timeout);
        let sent = begin(vm.console().send("x").timeout(None));
        let answered = begin(vm.console().shell().timeout(None));
        release(&ends);
        let report = run!(vm.wait_for_exit()).unwrap();
        for error in [run!(sent).unwrap_err(), run!(vm.console().send("y")).unwrap_err()] {
            let told = format!("machine '{0}': console did not take the input: {report}", vm.name());
            assert_eq!(error.to_string(), told);
            assert!(matches!(error, SendError::MachineEnded { report: told, .. } if Arc::ptr_eq(&told, &report)));
        }
        let error = run!(answered).unwrap_err();
        assert!(
            matches!(&*error.failure, ShellFailure::Console(ExpectFailure::MachineEnded(told)) if Arc::ptr_eq(told, &report)),
            "{error}"
        );
    }
}

/// Begins an operation: polls it once.
pub(crate) fn begin<T, E: std::fmt::Debug>(
    operation: impl IntoFuture<IntoFuture = Begun<T, E>, Output = Result<T, E>>,
) -> Begun<T, E> {
    let mut future = operation.into_future();
    let polled = future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending());
    future
}

pub(crate) type Begun<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;
