//! A qtest channel whose other side does what QEMU does not do on demand.

use std::future::IntoFuture;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use crate::support::{fake, scenario};
use qemu_machine::MachineBuilder;
use qemu_machine::error::{IrqError, LaunchFailure, QtestFailure, QtestProtocolError};
use qemu_machine::qmp::command::{QueryStatus, Stop};
use qemu_machine::qtest::{QtestCommand, QtestEnd};

const SHORT: Duration = Duration::from_millis(50);
/// Enough for the launch of a peer, up to its qtest channel.
const LAUNCH: Duration = Duration::from_secs(3);

/// A peer that has answered that it knows no clock.
fn without_clock(script: &str) -> MachineBuilder {
    let asked = "greet\nnegotiate\nqtest-expect clock_set 0\\n\n\
                 qtest FAIL Unknown command 'clock_set'\\n\n";
    fake(&format!("{asked}{script}")).qtest()
}

/// A command that was sent, and waits.
fn begun<T: Send + 'static>(
    command: QtestCommand<T>,
) -> <QtestCommand<T> as IntoFuture>::IntoFuture {
    let mut future = command.into_future();
    let polled = future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending());
    future
}

// P28
scenario! {
    fn a_command_given_up_leaves_its_reply_to_nobody_else() {
        let script = "qtest-expect inb 0x1\\n\nqtest-expect inb 0x2\\n\nqtest-expect inb 0x3\\n\n\
                      qtest OK 0x0001\\nOK 0x0002\\nOK 0x0003\\n\nserve";
        let vm = run!(without_clock(script).launch()).unwrap();
        let qtest = vm.qtest();
        let error = run!(qtest.inb(1).timeout(SHORT)).unwrap_err();
        assert!(matches!(*error.failure, QtestFailure::Timeout { limit: SHORT }), "{error}");
        let told = error.to_string();
        assert!(told.contains(vm.name()) && told.contains("'inb 0x1' failed: no reply"), "{told}");
        // A command that was sent and dropped, and a command that was never sent.
        drop(begun(qtest.inb(2)));
        drop(qtest.inb(9).into_future());
        assert_eq!(run!(qtest.inb(3)).unwrap(), 3);
        run!(vm.shutdown()).unwrap();
    }
}

// P28
scenario! {
    fn what_is_not_of_the_protocol_ends_the_channel_for_everyone_and_not_the_machine() {
        for (sent, breach) in [
            ("HELLO\\n", QtestProtocolError::Malformed { line: "HELLO".into() }),
            ("\\n", QtestProtocolError::Malformed { line: String::new() }),
            ("OK 0x0001\\nOK 2\\n", QtestProtocolError::UnexpectedReply { line: "OK 2".into() }),
        ] {
            let script = format!("expect stop\nqtest IRQ raise 4\\n{sent}\nreply {{}}\nserve");
            let vm = run!(without_clock(&script).launch()).unwrap();
            let qtest = vm.qtest();
            let mut irqs = qtest.irqs();
            let waiting = begun(qtest.inb(1).timeout(None));
            run!(vm.monitor().execute(Stop)).unwrap();

            let told = |cause: &QtestEnd| match cause {
                QtestEnd::Protocol(error) => assert_eq!(error, &breach),
                other => panic!("{other}"),
            };
            // What came before counts.
            assert_eq!(run!(irqs.next()).unwrap().to_string(), "IRQ raise 4");
            assert!(qtest.is_raised(4));
            match run!(irqs.next().timeout(None)).unwrap_err() {
                IrqError::Ended { cause, .. } => told(&cause),
                other => panic!("{other}"),
            }
            match run!(waiting) {
                Ok(value) => assert!(sent.starts_with("OK") && value == 1),
                Err(error) => told(error.ended().unwrap()),
            }
            told(run!(qtest.inb(2)).unwrap_err().ended().unwrap());
            assert!(matches!(run!(qtest.irqs().next()), Err(IrqError::Ended { .. })));
            run!(vm.monitor().execute_json("x", ())).unwrap();
            run!(vm.shutdown()).unwrap();
        }
    }
}

// P28
scenario! {
    fn a_line_without_end_is_bounded() {
        let script = "qtest-expect inb 0x1\\n\nqtest-fill 67108865 x\nserve";
        let vm = run!(without_clock(script).launch()).unwrap();
        let error = run!(vm.qtest().inb(1)).unwrap_err();
        let limit_bytes = 64 << 20;
        assert!(
            matches!(error.ended(), Some(QtestEnd::Protocol(QtestProtocolError::LineTooLong { limit_bytes: of })) if *of == limit_bytes),
            "{error}"
        );
        run!(vm.shutdown()).unwrap();
    }
}

// P28
scenario! {
    fn one_that_goes_on_after_a_breach_is_not_kept_waiting_for_a_reader() {
        let script = "qtest-expect inb 0x1\\n\nqtest what?\\n\nqtest-fill 10000000 x";
        let vm = run!(without_clock(script).launch()).unwrap();
        run!(vm.qtest().inb(1)).unwrap_err();
        let report = run!(vm.wait_for_exit()).unwrap();
        assert!(report.to_string().contains("Broken pipe"), "{report}");
    }
}

// P28
scenario! {
    fn a_channel_that_is_closed_ends_its_waiters_and_not_the_machine() {
        let script = "qtest-expect inb 0x1\\n\nqtest-close\nserve";
        let vm = run!(without_clock(script).launch()).unwrap();
        let qtest = vm.qtest();
        let mut irqs = qtest.irqs();
        for port in [1, 2] {
            let error = run!(qtest.inb(port).timeout(None)).unwrap_err();
            assert!(matches!(error.ended(), Some(QtestEnd::Closed)), "{error}");
        }
        let error = run!(irqs.next().timeout(None)).unwrap_err();
        assert!(matches!(error, IrqError::Ended { cause: QtestEnd::Closed, .. }), "{error}");
        assert!(vm.is_running());
        run!(vm.shutdown()).unwrap();
    }
}

// P28
scenario! {
    fn a_reply_of_another_form_is_told_and_the_next_one_is_read() {
        let script = "qtest-expect inb 0x1\\n\nqtest OK\\n\nqtest-expect inb 0x2\\n\nqtest OK 0x0100\\n\n\
                      qtest-expect read 0x0 0x2\\n\nqtest OK 0x01\\n\n\
                      qtest-expect outb 0x1 0x2\\n\nqtest FAIL no such port\\n\n\
                      qtest-expect inb 0x3\\n\nqtest OK 0x00ff\\n\nserve";
        let vm = run!(without_clock(script).launch()).unwrap();
        let qtest = vm.qtest();
        let failures = [
            run!(qtest.inb(1)).unwrap_err(),
            run!(qtest.inb(2)).unwrap_err(),
            run!(qtest.read(0, 2)).unwrap_err(),
        ];
        for (error, line) in failures.iter().zip(["OK", "OK 0x0100", "OK 0x01"]) {
            assert!(matches!(&*error.failure, QtestFailure::Unexpected { reply } if reply == line), "{error}");
        }
        let error = run!(qtest.outb(1, 2)).unwrap_err();
        assert!(error.to_string().ends_with("'outb 0x1 0x2' failed: no such port"), "{error}");
        assert_eq!(run!(qtest.inb(3)).unwrap(), 255);
        run!(vm.shutdown()).unwrap();
    }
}

// P28
scenario! {
    fn with_the_accelerator_the_machine_runs_and_its_clock_is_the_caller_s() {
        let script = "greet\nnegotiate\nqtest-expect clock_set 0\\n\nqtest OK 0\\n\nexpect cont\nreply {}\n\
                      qtest-expect clock_step\\n\nqtest IRQ raise 0\\nOK 54925\\n\n\
                      qtest-expect clock_step 1000\\n\nqtest OK 55925\\n\n\
                      qtest-expect clock_set 2000000000\\n\nqtest OK 2000000000\\n\n\
                      qtest-expect clock_set 1\\n\nqtest FAIL 2000000000\\n\nserve";
        let vm = run!(fake(script).qtest().launch()).unwrap();
        let qtest = vm.qtest();
        assert!(qtest.controls_clock());
        let nanos = Duration::from_nanos;
        assert_eq!(run!(qtest.clock_step(None)).unwrap(), nanos(54925));
        assert!(qtest.is_raised(0));
        assert_eq!(run!(qtest.clock_step(Some(nanos(1000)))).unwrap(), nanos(55925));
        assert_eq!(run!(qtest.clock_set(Duration::from_secs(2))).unwrap(), nanos(2_000_000_000));
        let error = run!(qtest.clock_set(nanos(1))).unwrap_err();
        assert!(matches!(&*error.failure, QtestFailure::Refused { message } if message == "2000000000"), "{error}");
        let error = run!(qtest.clock_step(Some(Duration::MAX))).unwrap_err();
        assert!(matches!(*error.failure, QtestFailure::Argument { .. }), "{error}");
        run!(vm.shutdown()).unwrap();
    }
}

// P28, P7
scenario! {
    fn a_machine_that_qemu_does_not_let_run_is_told_with_qemu_s_words() {
        let script = "greet\nnegotiate\nqtest-expect clock_set 0\\n\nqtest OK 0\\n\nexpect cont\n";
        let words = "Resetting the Virtual Machine is required";
        let refusing = fake(&format!("{script}error GenericError {words}\nserve"));
        let error = run!(refusing.qtest().launch()).unwrap_err();
        let LaunchFailure::NotRun(refused) = &*error.failure else {
            panic!("{error}");
        };
        assert_eq!(refused.reply().unwrap().desc, words);
        assert!(error.to_string().contains(words), "{error}");
        assert!(error.report.is_some(), "{error}");
        // A peer that ends instead has not refused it.
        let ending = fake(&format!("{script}exit 3"));
        let error = run!(ending.qtest().launch()).unwrap_err();
        assert!(matches!(*error.failure, LaunchFailure::Exited), "{error}");
    }
}

// P28, D15
scenario! {
    fn a_listener_that_nobody_reads_holds_a_bound_and_is_told_what_it_missed() {
        let script = "qtest-expect inb 0x1\\n\nrepeat 2500\nqtest IRQ raise 1\\nIRQ lower 1\\n\nend\n\
                      qtest OK 0x0001\\n\nserve";
        let vm = run!(without_clock(script).launch()).unwrap();
        let qtest = vm.qtest();
        let (mut read, mut drained) = (qtest.irqs(), qtest.irqs());
        run!(qtest.inb(1)).unwrap();
        let of = |error| matches!(error, IrqError::Lagged { missed: 904, .. });
        assert!(of(run!(read.next()).unwrap_err()));
        assert_eq!(run!(read.next()).unwrap().to_string(), "IRQ raise 1");
        assert_eq!(std::iter::from_fn(|| read.try_next()).count(), 4095);
        // Without waiting a listener gets what is there; the report of the lag comes later.
        assert_eq!(std::iter::from_fn(|| drained.try_next()).count(), 4096);
        assert!(of(run!(drained.next()).unwrap_err()));
        let error = run!(drained.next().timeout(SHORT)).unwrap_err();
        assert!(matches!(error, IrqError::Timeout { limit: SHORT, .. }), "{error}");
        run!(vm.shutdown()).unwrap();
    }
}

// P28, D3
scenario! {
    fn a_launch_whose_qtest_channel_is_silent_ends_with_its_deadline() {
        let builder = fake("greet\nnegotiate\nsilent").qtest();
        let error = run!(builder.launch_timeout(LAUNCH).launch()).unwrap_err();
        assert!(matches!(
            *error.failure,
            LaunchFailure::Timeout { limit: LAUNCH, waited_for: "reply on the qtest channel" }
        ), "{error}");
        // A machine that has closed the channel still answers on its monitor.
        let vm = run!(fake("greet\nnegotiate\nqtest-close\nserve").qtest().launch()).unwrap();
        run!(vm.monitor().execute(QueryStatus).timeout(SHORT)).unwrap_err();
        let error = run!(vm.qtest().clock_step(None)).unwrap_err();
        assert!(matches!(*error.failure, QtestFailure::NeedsAccelerator), "{error}");
        run!(vm.shutdown()).unwrap();
    }
}

// P28, D4
scenario! {
    fn one_that_does_not_read_costs_a_deadline_and_a_bounded_queue() {
        let vm = run!(without_clock("serve").launch()).unwrap();
        let qtest = vm.qtest();
        let long = "x".repeat(18 << 20);
        let error = run!(qtest.raw(&long).timeout(SHORT)).unwrap_err();
        assert!(matches!(*error.failure, QtestFailure::Timeout { .. }), "{error}");
        assert!(error.command.len() < 100, "{error}");
        let error = run!(qtest.inb(1)).unwrap_err();
        assert!(matches!(*error.failure, QtestFailure::Congested), "{error}");
        run!(vm.shutdown()).unwrap();
    }
}

// P28, D34
scenario! {
    fn whoever_waits_or_comes_later_is_told_how_the_machine_ended() {
        let vm = run!(without_clock("serve").launch()).unwrap();
        let qtest = vm.qtest().clone();
        let mut irqs = qtest.irqs();
        let waiting = begun(qtest.read(0, 1 << 20).timeout(None));
        run!(vm.shutdown()).unwrap();
        let waiting = run!(waiting).unwrap_err();
        let report = vm.report().unwrap();
        drop(vm);
        let late = run!(qtest.inb(1).timeout(None)).unwrap_err();
        for error in [waiting, late] {
            assert!(
                matches!(error.ended(), Some(QtestEnd::MachineEnded(of)) if Arc::ptr_eq(of, &report)),
                "{error}"
            );
        }
        let error = run!(irqs.next().timeout(None)).unwrap_err();
        assert!(
            matches!(&error, IrqError::Ended { cause: QtestEnd::MachineEnded(of), .. } if Arc::ptr_eq(of, &report)),
            "{error}"
        );
    }
}
