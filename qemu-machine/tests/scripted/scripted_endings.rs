//! A machine that does not end when asked: each rung of the ladder, and that
//! nothing is left above it.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::{self, Scratch, fake, is_gone, scenario, signal};
use qemu_machine::error::ShutdownError;
use qemu_machine::life::{ExitDevice, Rung, RungOutcome};
use qemu_machine::{ExitCause, Machine, MachineBuilder, Wait};

const SHORT: Duration = Duration::from_millis(200);

fn running(script: &str) -> MachineBuilder {
    fake(&format!("greet\nnegotiate\n{script}"))
}

fn rungs(report: &qemu_machine::ExitReport) -> Vec<(Rung, RungOutcome)> {
    let rungs = report.rungs.iter();
    rungs
        .map(|rung| (rung.rung, rung.outcome.clone()))
        .collect()
}

// P10
scenario! {
    fn a_quit_that_is_accepted_and_not_done_is_followed_by_sigterm() {
        let script = "on-term exit 0\nexpect quit\nreply {}\nsilent";
        let scratch = Scratch::new("term");
        let vm = run!(running(script).base_dir(scratch.path()).launch()).unwrap();
        let report = run!(vm.shutdown().quit_timeout(SHORT)).unwrap();
        assert_eq!(report.cause, ExitCause::Requested(Rung::Terminate));
        assert_eq!(rungs(&report), [(Rung::Quit, RungOutcome::TimedOut), (Rung::Terminate, RungOutcome::Ended)]);
        assert!(report.rungs[0].took >= SHORT);
        assert_eq!(report.status.code(), Some(0));
        assert_eq!(report.shutdown_reason.as_deref(), Some("host-signal"));
        assert!(is_gone(report.pid) && scratch.names().is_empty());
    }
}

// P10, P11
scenario! {
    fn one_that_ignores_quit_and_sigterm_is_killed_and_that_is_told() {
        let scratch = Scratch::new("kill");
        let script = "ignore SIGTERM\nexpect quit\nreply {}\nsilent";
        let vm = run!(running(script).base_dir(scratch.path()).launch()).unwrap();
        let error = run!(vm.shutdown().quit_timeout(SHORT).terminate_timeout(SHORT)).unwrap_err();
        assert!(matches!(error, ShutdownError::Forced(_)), "{error}");
        let report = error.report().unwrap();
        assert_eq!(rungs(report), [
            (Rung::Quit, RungOutcome::TimedOut),
            (Rung::Terminate, RungOutcome::TimedOut),
            (Rung::Kill, RungOutcome::Ended),
        ]);
        assert!(is_gone(report.pid) && scratch.names().is_empty());
    }
}

// D4
scenario! {
    fn one_that_is_stopped_hangs_neither_a_command_nor_the_end() {
        let vm = run!(running("expect *\nreply {}\nstop").launch()).unwrap();
        run!(vm.monitor().execute_json("x", ())).unwrap();
        run!(vm.monitor().execute_json("y", ()).timeout(SHORT)).unwrap_err();
        let begun = Instant::now();
        let error = run!(vm.shutdown().quit_timeout(SHORT).terminate_timeout(SHORT)).unwrap_err();
        assert!(matches!(error, ShutdownError::Forced(_)), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(10));
        assert!(is_gone(error.report().unwrap().pid));
    }
}

// W1
scenario! {
    fn what_qemu_forked_ends_with_it() {
        let (mut pipe, theirs) = std::io::pipe().unwrap();
        let vm = run!(running("fork-child\nserve").add_fd(1, theirs, None).launch()).unwrap();
        let report = run!(vm.shutdown()).unwrap();
        assert_eq!(report.cause, ExitCause::Requested(Rung::Quit));
        assert!(support::text(&report.output_tail).starts_with("child "));
        // Both held the other end of the pipe: its end is the end of both.
        assert_eq!(pipe.read(&mut [0]).unwrap(), 0);
    }
}

// P10
scenario! {
    fn an_end_after_the_end_changes_nothing() {
        let vm = run!(running("serve").launch()).unwrap();
        let first = run!(vm.shutdown()).unwrap();
        let second = run!(vm.shutdown()).unwrap();
        let third = run!(vm.kill()).unwrap();
        assert!(Arc::ptr_eq(&first, &second) && Arc::ptr_eq(&first, &third));
        assert_eq!(rungs(&first), [(Rung::Quit, RungOutcome::Ended)]);
    }
}

// P10
#[test]
fn two_threads_that_end_a_machine_get_one_report() {
    let vm = running("serve").launch().wait().unwrap();
    let (one, other) = std::thread::scope(|scope| {
        let end = || vm.shutdown().wait().unwrap();
        let (one, other) = (scope.spawn(end), scope.spawn(end));
        (one.join().unwrap(), other.join().unwrap())
    });
    assert!(Arc::ptr_eq(&one, &other));
}

// P11
scenario! {
    fn a_kill_that_was_asked_for_is_no_failure() {
        let scratch = Scratch::new("asked");
        let vm = run!(running("silent").base_dir(scratch.path()).launch()).unwrap();
        let report = run!(vm.kill()).unwrap();
        assert_eq!(report.cause, ExitCause::Requested(Rung::Kill));
        assert_eq!(report.status.signal(), Some(9));
        assert!(!report.is_failure() && !report.was_forced());
        assert!(is_gone(report.pid) && scratch.names().is_empty());
    }
}

// P12
scenario! {
    fn a_guest_that_does_not_end_in_time_is_ended_and_one_can_wait_without() {
        let vm = run!(running("serve").launch()).unwrap();
        run!(vm.wait_for_exit().timeout(SHORT)).unwrap_err();
        assert!(vm.is_running());
        let report = run!(vm.shutdown().after_guest(SHORT)).unwrap();
        assert_eq!(rungs(&report), [(Rung::Guest, RungOutcome::TimedOut), (Rung::Quit, RungOutcome::Ended)]);
    }
}

// P11, D10: a death by a signal nobody asked for is a failure; a clean exit is not.
scenario! {
    fn a_death_from_outside_is_told_from_a_clean_exit() {
        let vm = run!(running("silent").launch()).unwrap();
        signal(vm.pid().unwrap(), "TERM");
        let report = run!(vm.wait_for_exit()).unwrap();
        assert_eq!((report.status.signal(), &report.cause), (Some(15), &ExitCause::Outside));
        assert!(matches!(run!(vm.shutdown()).unwrap_err(), ShutdownError::Failed(_)));
        let vm = run!(running("expect *\nexit 0").launch()).unwrap();
        let _ = run!(vm.monitor().execute_json("x", ()));
        run!(vm.wait_for_exit()).unwrap();
        assert_eq!(run!(vm.shutdown()).unwrap().cause, ExitCause::Outside);
    }
}

// R8: as QEMU 7.2 ends and as 10.0 does, by devices that no PC has.
scenario! {
    fn an_exit_by_a_device_of_the_guest_is_the_guest_s_whether_qemu_says_so_or_not() {
        let by_guest = |reason: &str| {
            format!("event SHUTDOWN {{\"guest\": true, \"reason\": \"{reason}\"}}\n")
        };
        let scratch = Scratch::new("devices");
        let riscv = scratch.join("qemu-system-riscv64");
        std::os::unix::fs::symlink(support::fake_qemu(), &riscv).unwrap();
        let virt = || Machine::builder(&riscv).machine("virt");
        let arm = || Machine::builder(support::fake_qemu()).arg("-semihosting");
        for (builder, device, said, code) in [
            (virt(), ExitDevice::SifiveTest, String::new(), 0),
            (virt(), ExitDevice::SifiveTest, String::new(), 3),
            (virt(), ExitDevice::SifiveTest, by_guest("guest-shutdown"), 0),
            (virt(), ExitDevice::SifiveTest, by_guest("guest-panic"), 3),
            (arm(), ExitDevice::Semihosting, String::new(), 0),
            (arm(), ExitDevice::Semihosting, String::new(), 1),
            (arm(), ExitDevice::Semihosting, String::new(), 42),
            (Machine::builder(support::fake_qemu()), ExitDevice::Unknown, by_guest("guest-shutdown"), 5),
        ] {
            let script = format!("greet\nnegotiate\nexpect x\n{said}exit {code}");
            let vm = run!(builder.args(["-fake-script", &script]).launch()).unwrap();
            let _ = run!(vm.monitor().execute_json("x", ()));
            let report = run!(vm.wait_for_exit()).unwrap();
            let exit = report.guest_exit.unwrap();
            assert_eq!((exit.device, i32::from(exit.code)), (device, code), "{report}");
            assert_eq!(report.cause, ExitCause::Guest, "{report}");
            run!(vm.shutdown()).unwrap();
        }
    }
}

// R8: without such a device, or with an error of QEMU's, it is none of the guest's.
scenario! {
    fn a_code_that_no_device_explains_is_a_failure_of_qemu() {
        let isa = ["-device", "isa-debug-exit"].as_slice();
        for (arguments, end) in [
            ([].as_slice(), "exit 33"),
            (isa, "exit 2"),
            (isa, "stderr qemu-system-x86_64: out of luck\\n\nexit 1"),
        ] {
            let script = format!("expect x\n{end}");
            let vm = run!(running(&script).args(arguments.to_vec()).launch()).unwrap();
            let _ = run!(vm.monitor().execute_json("x", ()));
            let report = run!(vm.wait_for_exit()).unwrap();
            assert_eq!((&report.cause, report.guest_exit), (&ExitCause::Outside, None), "{report}");
            assert!(matches!(run!(vm.shutdown()).unwrap_err(), ShutdownError::Failed(_)));
        }
    }
}

// D33: the tracer of a process gets its end first.
#[test]
fn a_traced_process_has_its_status_told_when_it_is_let_go_of() {
    let vm = running("silent").launch().wait().unwrap();
    let pid = vm.pid().unwrap();
    let (mut told, mut tells) = std::io::pipe().unwrap();
    let (mut waits, mut lets_go) = std::io::pipe().unwrap();
    let mut has_told = || told.read_exact(&mut [0]).unwrap();
    let tracer = testbed::fork(|| {
        testbed::trace(pid);
        tells.write_all(b"t").unwrap();
        testbed::wait_for_the_end_of_a_tracee(pid);
        tells.write_all(b"e").unwrap();
        waits.read_exact(&mut [0]).unwrap();
    });
    has_told();
    testbed::kill(pid);
    has_told();
    // The engine has had its turns after that.
    let other = running("serve").launch().wait().unwrap();
    other.shutdown().wait().unwrap();
    lets_go.write_all(b"g").unwrap();
    assert!(tracer.succeeded());
    let report = vm.wait_for_exit().wait().unwrap();
    assert_eq!(report.status.signal(), Some(9), "{report}");
}

// P14, D31
#[test]
fn a_drop_during_a_panic_ends_the_machine_and_keeps_the_panic() {
    let scratch = Scratch::new("panic");
    let builder = running("serve").base_dir(scratch.path());
    let (told, pid) = std::sync::mpsc::channel();
    let panicked = std::thread::spawn(move || {
        let vm = builder.launch().wait().unwrap();
        told.send(vm.pid().unwrap()).unwrap();
        panic!("the test's own");
    });
    let payload = panicked.join().unwrap_err();
    assert_eq!(payload.downcast_ref::<&str>(), Some(&"the test's own"));
    assert!(is_gone(pid.recv().unwrap()));
    assert!(scratch.names().is_empty());
}

// P14: bounded, even where nothing but a kill helps.
#[test]
fn a_drop_of_the_last_handle_ends_even_one_that_hears_nothing() {
    let scratch = Scratch::new("drop");
    let vm = running("ignore SIGTERM\nsilent")
        .base_dir(scratch.path())
        .launch()
        .wait()
        .unwrap();
    let pid = vm.pid().unwrap();
    let clone = vm.clone();
    drop(vm);
    assert!(clone.is_running());
    let begun = Instant::now();
    drop(clone);
    assert!(begun.elapsed() < Duration::from_secs(8));
    assert!(is_gone(pid) && scratch.names().is_empty());
}

// D16
#[test]
fn every_place_of_a_runtime_is_good_for_a_machine() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    runtime.block_on(async {
        let vm = running("serve").launch().await.unwrap();
        vm.shutdown().await.unwrap();
        let blocking = || {
            let vm = running("serve").launch().wait().unwrap();
            vm.shutdown().wait().unwrap()
        };
        tokio::task::spawn_blocking(blocking).await.unwrap();
        let dropped = tokio::spawn(async { drop(running("serve").launch().await.unwrap()) });
        dropped.await.unwrap();
    });
    smol::block_on(async {
        let vm = running("serve").launch().await.unwrap();
        vm.shutdown().await.unwrap();
    });
}

// D16: the kernel ends a child with the thread that started it.
#[test]
fn a_machine_outlives_the_thread_that_launched_it() {
    let vm = std::thread::spawn(|| running("serve").launch().wait().unwrap())
        .join()
        .unwrap();
    vm.monitor().execute_json("x", ()).wait().unwrap();
    assert_eq!(
        vm.shutdown().wait().unwrap().cause,
        ExitCause::Requested(Rung::Quit)
    );
}
