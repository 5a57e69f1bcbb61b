//! A machine that misbehaves while it runs: nobody waits for nothing, and
//! nothing that it said is lost.

use std::sync::Arc;
use std::time::Duration;

use crate::support::{Scratch, fake, is_gone, release, scenario, text};
use qemu_machine::error::ExpectFailure;
use qemu_machine::qmp::Disconnected;
use qemu_machine::qmp::error::{EventError, ExecuteFailure};
use qemu_machine::{Console, ExitCause, MachineBuilder, Wait};
use serde_json::json;

fn running(script: &str) -> MachineBuilder {
    fake(&format!("greet\nnegotiate\n{script}"))
}

// P21, D34
scenario! {
    fn a_monitor_that_is_closed_ends_its_waiters_and_not_the_machine() {
        let vm = run!(running("expect *\nmonitor-close\nsilent").launch()).unwrap();
        let mut events = vm.monitor().events();
        let error = run!(vm.monitor().execute_json("x", ()).timeout(None)).unwrap_err();
        assert!(matches!(error.disconnected(), Some(Disconnected::ByServer)), "{error}");
        let error = run!(events.next().timeout(None)).unwrap_err();
        assert!(matches!(error, EventError::Ended { .. }), "{error}");
        assert!(vm.is_running());
        let report = run!(vm.shutdown()).unwrap();
        assert_eq!(report.status.signal(), Some(15), "{report}");
    }
}

// D6
scenario! {
    fn a_late_reply_reaches_nobody_else() {
        let script = "expect first\nexpect second\nreply-to 2 \"late\"\nreply \"own\"\nserve";
        let vm = run!(running(script).launch()).unwrap();
        let first = vm.monitor().execute_json("first", ()).timeout(Duration::from_millis(50));
        assert!(matches!(*run!(first).unwrap_err().failure, ExecuteFailure::Timeout { .. }));
        assert_eq!(run!(vm.monitor().execute_json("second", ())).unwrap(), json!("own"));
        run!(vm.shutdown()).unwrap();
    }
}

// D30
scenario! {
    fn waiting_for_one_event_keeps_the_others() {
        let script = "expect go\nevent A\nevent B\nevent C\nreply {}\nserve";
        let vm = run!(running(script).launch()).unwrap();
        let mut events = vm.monitor().events();
        run!(vm.monitor().execute_json("go", ())).unwrap();
        assert_eq!(run!(events.next_named("C")).unwrap().name(), "C");
        assert_eq!(run!(events.next()).unwrap().name(), "A");
        assert_eq!(run!(events.next()).unwrap().name(), "B");
        run!(vm.shutdown()).unwrap();
    }
}

// D28, D34, P21, W2
#[test]
fn everyone_who_waits_is_told_of_the_death_with_one_report() {
    let scratch = Scratch::new("death");
    let fifo = scratch.fifo("die");
    let script = format!("expect *\nwait-file {}\ndie SIGSEGV", fifo.display());
    let vm = running(&script)
        .console(Console::serial())
        .launch()
        .wait()
        .unwrap();
    let mut events = vm.monitor().events();
    let of_disconnected = |cause: &Disconnected| match cause {
        Disconnected::ServerEnded(report) => report.to_string(),
        other => panic!("{other}"),
    };
    let reports: Vec<String> = std::thread::scope(|scope| {
        let command = scope.spawn(|| {
            let error = vm
                .monitor()
                .execute_json("x", ())
                .timeout(None)
                .wait()
                .unwrap_err();
            of_disconnected(error.disconnected().unwrap())
        });
        let event = scope.spawn(|| match events.next().timeout(None).wait().unwrap_err() {
            EventError::Ended { cause, .. } => of_disconnected(&cause),
            other => panic!("{other}"),
        });
        let expect = scope.spawn(|| {
            match *vm
                .console()
                .expect("never")
                .timeout(None)
                .wait()
                .unwrap_err()
                .failure
            {
                ExpectFailure::MachineEnded(report) => report.to_string(),
                other => panic!("{other}"),
            }
        });
        let exited = scope.spawn(|| vm.wait_for_exit().timeout(None).wait().unwrap().to_string());
        release(&fifo);
        [command, event, expect, exited]
            .map(|thread| thread.join().unwrap())
            .into()
    });
    let report = vm.report().unwrap();
    assert_eq!(report.status.signal(), Some(11));
    assert_eq!(report.cause, ExitCause::Outside);
    assert!(report.is_failure());
    assert!(is_gone(report.pid));
    for told in reports {
        assert_eq!(told, report.to_string());
    }
    // A later caller gets the same, at once.
    let late = vm
        .monitor()
        .execute_json("x", ())
        .timeout(None)
        .wait()
        .unwrap_err();
    assert_eq!(
        of_disconnected(late.disconnected().unwrap()),
        report.to_string()
    );
    let late = vm.console().expect("x").timeout(None).wait().unwrap_err();
    assert!(matches!(*late.failure, ExpectFailure::MachineEnded(of) if Arc::ptr_eq(&of, &report)));
}

// D9, P9
scenario! {
    fn output_that_is_no_text_is_kept_as_it_is() {
        let scratch = Scratch::new("bytes");
        let builder = running("stdout a\\xff\\xfe\\x00b\\n\nstderr \\xc3\\n\nserve")
            .log_dir(scratch.path()).name("bytes");
        for _ in 0..2 {
            let vm = run!(builder.launch()).unwrap();
            let report = run!(vm.shutdown()).unwrap();
            assert_eq!(report.output_tail, b"a\xff\xfe\0b\n\xc3\n");
            assert_eq!(std::fs::read(scratch.join("bytes.log")).unwrap(), report.output_tail);
            assert_eq!(vm.output_tail(), report.output_tail);
            assert_eq!(report.log.as_deref(), Some(&*scratch.join("bytes.log")));
            assert!(report.warnings.is_empty(), "{report}");
        }
    }
}

// P5, P9
scenario! {
    fn what_is_printed_while_dying_is_kept_whole() {
        let scratch = Scratch::new("dying");
        let script = "expect *\nrepeat 3000\nstdout 0123456789abcdef\\n\nend\nstderr last words\\n\ndie SIGABRT";
        let vm = run!(running(script).log_dir(scratch.path()).name("dying").launch()).unwrap();
        let _ = run!(vm.monitor().execute_json("x", ()));
        let report = run!(vm.wait_for_exit()).unwrap();
        let expected = ["0123456789abcdef\n".repeat(3000).as_str(), "last words\n"].concat();
        assert_eq!(text(&report.output_tail), expected);
        assert_eq!(std::fs::read(scratch.join("dying.log")).unwrap(), expected.as_bytes());
    }
}

// D19, P27
scenario! {
    fn a_console_that_is_closed_is_told_from_a_machine_that_ended() {
        let script = "console last words\nconsole-close\nserve";
        let vm = run!(running(script).console(Console::serial()).launch()).unwrap();
        let error = run!(vm.console().expect("more").timeout(None)).unwrap_err();
        assert!(matches!(*error.failure, ExpectFailure::Closed), "{error}");
        assert_eq!(error.seen, b"last words");
        assert!(vm.is_running());
        run!(vm.monitor().execute_json("x", ())).unwrap();
        run!(vm.shutdown()).unwrap();
    }
}

// P10, D17
scenario! {
    fn a_console_that_floods_unread_does_not_block_the_end() {
        let scratch = Scratch::new("flood");
        let log = scratch.join("console.log");
        let console = Console::serial().ring_bytes(1 << 10).log(&log);
        let vm = run!(running("console-fill 4000000 x\nserve").console(console).launch()).unwrap();
        let report = run!(vm.shutdown()).unwrap();
        assert_eq!(report.status.code(), Some(0), "{report}");
        assert_eq!(vm.console().tail(), b"x".repeat(1 << 10));
        assert_eq!(std::fs::read(log).unwrap(), b"x".repeat(4_000_000));
    }
}

// D14, D15
scenario! {
    fn a_flood_of_events_costs_a_bounded_queue_and_no_reply() {
        let script = "expect go\nrepeat 120000\nevent FLOOD\nend\nreply \"there\"\nserve";
        let vm = run!(running(script).launch()).unwrap();
        let mut events = vm.monitor().events();
        assert_eq!(run!(vm.monitor().execute_json("go", ())).unwrap(), json!("there"));
        assert!(matches!(run!(events.next()), Err(EventError::Lagged { missed, .. }) if missed >= 20_000));
        assert_eq!(run!(events.next()).unwrap().name(), "FLOOD");
        run!(vm.shutdown()).unwrap();
    }
}
