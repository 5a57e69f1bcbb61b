//! Every way in which a launch fails, each with its cause, and with nothing
//! left behind.

use std::ffi::OsString;
use std::future::IntoFuture;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::time::Duration;

use crate::support::{self, Scratch, fake, fake_qemu, is_gone, scenario, text};
use qemu_machine::error::{ErrorKind, LaunchError, LaunchFailure};
use qemu_machine::qmp::Disconnected;
use qemu_machine::spec::Monitor;
use qemu_machine::{Machine, MachineBuilder, Wait};

/// Long enough to be no accident, short enough for a test that needs it.
const SHORT: Duration = Duration::from_millis(300);

/// True for every failed launch: nothing is left, and the error has the command
/// line.
fn assert_clean(error: &LaunchError, scratch: &Scratch) {
    assert_eq!(scratch.names(), [] as [&str; 0], "{error}");
    if let Some(report) = &error.report {
        assert!(is_gone(report.pid), "{error}");
        assert!(error.command_line.is_some(), "{error}");
    }
}

/// A program that is none of ours, run by a builder that may leave nothing
/// in the folder.
fn program(path: &str, scratch: &Scratch) -> MachineBuilder {
    Machine::builder(path).base_dir(scratch.path())
}

// P7
scenario! {
    fn a_program_that_path_does_not_have_is_named_with_its_package() {
        let scratch = Scratch::new("launch");
        let launch = program("qemu-system-nonesuch", &scratch).launch();
        let error = run!(launch).unwrap_err();
        assert!(matches!(&*error.failure, LaunchFailure::NotFound { program } if program == "qemu-system-nonesuch"));
        assert!(error.to_string().contains("install QEMU"), "{error}");
        assert!(error.report.is_none());
        assert_clean(&error, &scratch);
    }
}

// P7
scenario! {
    fn what_cannot_be_executed_says_why() {
        let scratch = Scratch::new("launch");
        let folder = Scratch::new("programs");
        let plain = folder.join("plain");
        std::fs::write(&plain, "no program").unwrap();
        for (path, why) in [
            (Path::new("/nonexistent/qemu"), "No such file"),
            (folder.path(), "Permission denied"),
            (&plain, "Permission denied"),
        ] {
            let launch = program(path.to_str().unwrap(), &scratch).launch();
            let error = run!(launch).unwrap_err();
            assert!(
                matches!(&*error.failure, LaunchFailure::NotExecutable { program, .. } if program == path),
                "{error}"
            );
            assert!(error.to_string().contains(why), "{error}");
            assert!(error.command_line.is_some());
            assert_clean(&error, &scratch);
        }
    }
}

// P7, D8
scenario! {
    fn a_program_that_exits_at_once_is_reported_at_once() {
        let scratch = Scratch::new("launch");
        for (path, code) in [("/bin/true", 0), ("/bin/false", 1), ("/bin/cat", 1)] {
            let error = run!(program(path, &scratch).launch()).unwrap_err();
            assert!(matches!(*error.failure, LaunchFailure::Exited), "{error}");
            let report = error.report.as_ref().unwrap();
            assert_eq!(report.status.code(), Some(code), "{error}");
            assert!(report.rungs.is_empty(), "{error}");
            assert_clean(&error, &scratch);
        }
    }
}

// P7
scenario! {
    fn a_failure_holds_exit_code_command_line_and_output() {
        let scratch = Scratch::new("launch");
        let script = "stdout one\\n\nstderr qemu: -drive: no such file\\n\nexit 1";
        let error = run!(fake(script).base_dir(scratch.path()).launch()).unwrap_err();
        let shown = error.to_string();
        for part in ["code 1", "-fake-script", "mode=control", "one", "qemu: -drive: no such file"] {
            assert!(shown.contains(part), "{part} is not in {shown}");
        }
        let report = error.report.as_ref().unwrap();
        assert_eq!(text(&report.output_tail), "one\nqemu: -drive: no such file\n");
        assert_clean(&error, &scratch);
    }
}

// P7
scenario! {
    fn one_that_is_killed_before_it_greets_is_reported_with_its_signal() {
        let scratch = Scratch::new("launch");
        for name in ["SIGKILL", "SIGSEGV", "SIGABRT"] {
            let launch = fake(&format!("die {name}")).base_dir(scratch.path()).launch();
            let error = run!(launch).unwrap_err();
            assert!(matches!(*error.failure, LaunchFailure::Exited), "{error}");
            assert!(error.to_string().contains(name), "{error}");
            assert_clean(&error, &scratch);
        }
    }
}

// P7, P21
scenario! {
    fn one_that_speaks_no_qmp_is_killed_and_reported() {
        let scratch = Scratch::new("launch");
        for script in [
            "send-line SSH-2.0-OpenSSH_9.6\nsilent",
            "send-line {}\nsilent",
            "send-line [1, 2]\nsilent",
            "send-line {\"QMP\": 1}\nsilent",
        ] {
            let error = run!(fake(script).base_dir(scratch.path()).launch()).unwrap_err();
            assert!(
                matches!(&*error.failure, LaunchFailure::NoMonitor(Disconnected::Protocol(_))),
                "{script}: {error}"
            );
            assert_clean(&error, &scratch);
        }
    }
}

// P7, D8
scenario! {
    fn one_that_closes_its_monitor_and_lives_on_is_killed_at_once() {
        let scratch = Scratch::new("launch");
        for script in [
            "monitor-close\nsilent",
            "send {\"QMP\": {\"ver\nmonitor-close\nsilent",
            "greet\nmonitor-close\nsilent",
        ] {
            let launch = fake(script).base_dir(scratch.path()).launch_timeout(None).launch();
            let error = run!(launch).unwrap_err();
            assert!(matches!(*error.failure, LaunchFailure::NoMonitor(_)), "{error}");
            assert_eq!(error.report.as_ref().unwrap().status.signal(), Some(9), "{error}");
            assert_clean(&error, &scratch);
        }
    }
}

// D3, D5
scenario! {
    fn one_that_never_greets_or_negotiates_ends_with_the_deadline() {
        let scratch = Scratch::new("launch");
        let refused = "send-line {\"QMP\": {\"version\": {}, \"capabilities\": []}}\nexpect *\nsilent";
        for script in ["silent", "stop", "greet\nsilent", "greet\nread-nothing", refused] {
            let launch = fake(script).base_dir(scratch.path()).launch_timeout(SHORT).launch();
            let error = run!(launch).unwrap_err();
            assert!(
                matches!(*error.failure, LaunchFailure::Timeout { limit, .. } if limit == SHORT),
                "{error}"
            );
            assert!(error.to_string().contains("greeting and negotiation"), "{error}");
            assert!(error.elapsed >= SHORT && error.elapsed < 20 * SHORT, "{error}");
            assert_eq!(error.report.as_ref().unwrap().status.signal(), Some(9), "{error}");
            assert_clean(&error, &scratch);
        }
    }
}

scenario! {
    fn a_cancelled_launch_fails_at_once_and_nothing_is_left() {
        let scratch = Scratch::new("launch");
        let fifos = Scratch::new("fifo");
        let fifo = fifos.fifo("there");
        for script in ["", "wait-file FIFO\nsilent", "greet\nwait-file FIFO\nsilent"] {
            let is_there = script.contains("FIFO");
            let script = script.replace("FIFO", &fifo.display().to_string());
            let script = format!("ignore SIGTERM\n{script}\nsilent");
            let fifo = fifo.clone();
            let given_up = async move {
                if is_there {
                    support::release(&fifo);
                }
            };
            let launch = fake(&script).base_dir(scratch.path()).launch();
            let error = run!(launch.cancel_on(given_up)).unwrap_err();
            assert!(matches!(*error.failure, LaunchFailure::Cancelled), "{error}");
            assert_eq!(error.kind(), ErrorKind::Cancelled);
            assert_eq!(error.report.as_ref().unwrap().status.signal(), Some(9), "{error}");
            assert!(error.to_string().contains("cancelled by the caller"), "{error}");
            assert_clean(&error, &scratch);
        }
    }
}

scenario! {
    fn a_launch_that_nobody_cancels_returns_its_machine() {
        let launch = fake("greet\nnegotiate\nserve").launch();
        let vm = run!(launch.cancel_on(std::future::pending())).unwrap();
        run!(vm.shutdown()).unwrap();
    }
}

// D5
scenario! {
    fn whole_and_broken_seconds_are_deadlines_alike() {
        for limit in [
            Duration::from_secs(1),
            Duration::from_secs_f64(1.0),
            Duration::from_secs_f64(1.5),
        ] {
            let error = run!(fake("silent").launch_timeout(limit).launch()).unwrap_err();
            assert!(matches!(*error.failure, LaunchFailure::Timeout { .. }), "{error}");
            assert!(error.elapsed >= limit, "{error}");
            assert!(error.elapsed < limit + Duration::from_secs(5), "{error}");
        }
    }
}

// D3
scenario! {
    fn a_script_that_blocks_for_ever_ends_with_the_deadline() {
        let scratch = Scratch::new("launch");
        // Not the shell itself holds the descriptors for ever, but its child.
        let builder = program("qemu", &scratch)
            .wrapper(["sh", "-c", "echo waiting; tail -f /dev/null; echo never"])
            .launch_timeout(Duration::from_secs(3));
        let error = run!(builder.launch()).unwrap_err();
        assert!(matches!(*error.failure, LaunchFailure::Timeout { .. }), "{error}");
        assert_eq!(text(&error.report.as_ref().unwrap().output_tail), "waiting\n");
        assert_clean(&error, &scratch);
    }
}

// D7, P6
scenario! {
    fn an_early_death_is_noticed_at_once_on_a_listening_address() {
        let scratch = Scratch::for_sockets("launch");
        for monitor in [
            Monitor::Unix(scratch.join("a,b=c d.qmp")),
            Monitor::Tcp(([127, 0, 0, 1], 0).into()),
        ] {
            for binary in [fake_qemu(), "/bin/true".into()] {
                let builder = Machine::builder(binary)
                    .args(["-fake-script", "die SIGSEGV"])
                    .base_dir(scratch.path())
                    .monitor(monitor.clone())
                    .launch_timeout(None);
                let error = run!(builder.launch()).unwrap_err();
                assert!(matches!(*error.failure, LaunchFailure::Exited), "{error}");
                assert_clean(&error, &scratch);
            }
        }
    }
}

// D3, P6
scenario! {
    fn one_that_never_connects_ends_with_the_deadline() {
        let scratch = Scratch::for_sockets("launch");
        for monitor in [
            Monitor::Unix(scratch.join("qmp")),
            Monitor::Tcp(([127, 0, 0, 1], 0).into()),
        ] {
            let builder = program("qemu", &scratch)
                .wrapper(["sh", "-c", "exec tail -f /dev/null"])
                .monitor(monitor)
                .launch_timeout(SHORT);
            let error = run!(builder.launch()).unwrap_err();
            assert!(matches!(*error.failure, LaunchFailure::Timeout { .. }), "{error}");
            assert!(error.to_string().contains("connection to the monitor"), "{error}");
            assert_clean(&error, &scratch);
        }
    }
}

// P6, P19
scenario! {
    fn an_address_that_cannot_be_listened_on_fails_before_anything_runs() {
        let scratch = Scratch::new("launch");
        let folder = Scratch::for_sockets("sockets");
        let used_path = folder.join("used");
        std::fs::write(&used_path, "mine").unwrap();
        let used_port = TcpListener::bind("127.0.0.1:0").unwrap();
        for monitor in [
            Monitor::Unix(used_path.clone()),
            Monitor::Unix(folder.join(&"long".repeat(40))),
            Monitor::Unix(folder.join("missing/qmp")),
            Monitor::Tcp(used_port.local_addr().unwrap()),
        ] {
            let is_long = matches!(&monitor, Monitor::Unix(path) if path.ends_with("long".repeat(40)));
            let launch = fake("serve").base_dir(scratch.path()).monitor(monitor).launch();
            let error = run!(launch).unwrap_err();
            assert_eq!(error.to_string().contains("a socket's path has 107 at most"), is_long, "{error}");
            assert!(matches!(*error.failure, LaunchFailure::Monitor(_)), "{error}");
            assert!(error.to_string().contains("cannot listen on"), "{error}");
            assert_clean(&error, &scratch);
        }
        // What was there is not ours to remove.
        assert_eq!(std::fs::read(&used_path).unwrap(), b"mine");
    }
}

// P7
scenario! {
    fn a_nul_in_a_word_fails_by_name() {
        let scratch = Scratch::new("launch");
        let word = OsString::from_vec(b"a\0b".to_vec());
        let with_argument = fake("serve").arg(&word);
        let with_variable = fake("serve").env("KEY", &word);
        for builder in [with_argument, with_variable] {
            let error = run!(builder.base_dir(scratch.path()).launch()).unwrap_err();
            assert!(
                matches!(&*error.failure, LaunchFailure::Nul { word } if text(word.as_encoded_bytes()).contains("a\0b")),
                "{error}"
            );
            assert_clean(&error, &scratch);
        }
    }
}

// P7
scenario! {
    fn arguments_that_are_too_long_fail_as_such() {
        let scratch = Scratch::new("launch");
        let builder = fake("serve").arg("x".repeat(1 << 20)).base_dir(scratch.path());
        let error = run!(builder.launch()).unwrap_err();
        assert!(matches!(*error.failure, LaunchFailure::ArgumentsTooLong { .. }), "{:?}", error.failure);
        assert_clean(&error, &scratch);
    }
}

// P7
scenario! {
    fn a_missing_directory_is_named() {
        let scratch = Scratch::new("launch");
        let missing = scratch.join("missing");
        let fake = || fake("serve").base_dir(scratch.path());
        let console = qemu_machine::Console::serial().log(missing.join("console.log"));
        for (builder, action) in [
            (fake().base_dir(&missing), "make a log in"),
            (fake().log_dir(&missing), "write the log"),
            (fake().current_dir(&missing), "enter the working directory"),
            (fake().console(console), "write the console's log"),
        ] {
            let error = run!(builder.launch()).unwrap_err();
            assert!(
                matches!(&*error.failure, LaunchFailure::File { path, .. } if path.starts_with(&missing)),
                "{error}"
            );
            assert!(error.to_string().contains(action), "{error}");
            assert_clean(&error, &scratch);
        }
    }
}

// P8, P20
scenario! {
    fn a_builder_whose_launch_failed_can_be_launched_again() {
        let scratch = Scratch::new("launch");
        let script = scratch.join("script");
        let builder = Machine::builder(fake_qemu())
            .args(["-fake-script".into(), format!("@{}", script.display())])
            .log_dir(scratch.path())
            .name("again");
        for _ in 0..2 {
            std::fs::write(&script, "stderr broken\\n\nexit 1").unwrap();
            run!(builder.launch()).unwrap_err();
            assert_eq!(std::fs::read(scratch.join("again.log")).unwrap(), b"broken\n");
            std::fs::write(&script, "greet\nnegotiate\nserve").unwrap();
            let vm = run!(builder.launch()).unwrap();
            run!(vm.shutdown()).unwrap();
            // P5: truncated at each launch
            assert_eq!(std::fs::read(scratch.join("again.log")).unwrap(), b"");
        }
    }
}

// W1: a launch that is given up leaves no process, no pipe and no directory.
#[test]
fn a_launch_whose_future_is_dropped_leaves_nothing() {
    let scratch = Scratch::new("a_launch_whose_future_is_dropped");
    let fifo = scratch.fifo("begun");
    let (mut pipe, theirs) = std::io::pipe().unwrap();
    let launch = fake(&format!("wait-file {}\nsilent", fifo.display()))
        .base_dir(scratch.path())
        .add_fd(1, theirs, None)
        .launch();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    let task = runtime.spawn(launch.into_future());
    // The process is there once it has opened the FIFO.
    support::release(&fifo);
    task.abort();
    assert!(runtime.block_on(task).unwrap_err().is_cancelled());
    // The process held the pipe's last other end.
    assert_eq!(pipe.read(&mut [0]).unwrap(), 0);
    // The directory goes after the process. The next launch's end comes after
    // it on the same thread.
    fake("exit 1").launch().wait().unwrap_err();
    assert_eq!(scratch.names(), ["begun"]);
}

// D29, P7: no zombie, no directory, whatever failed.
#[test]
fn failed_launches_leave_no_child_at_all() {
    let mut pids = Vec::new();
    for script in [
        "exit 3",
        "die SIGKILL",
        "send x\nmonitor-close\nsilent",
        "greet\nmonitor-close\nexit 0",
    ] {
        let error = fake(script).launch().wait().unwrap_err();
        pids.push(error.report.unwrap().pid);
    }
    for pid in pids {
        assert!(is_gone(pid), "{pid} is a zombie");
    }
}
