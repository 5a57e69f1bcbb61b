//! A console handed to a person at a pseudo-terminal, and to pipes.
#![allow(missing_docs)]

mod support;

use std::fs::File;
use std::future::IntoFuture;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::task::{Context, Waker};
use std::time::Duration;

use qemu_machine::console::InteractEnd;
use qemu_machine::error::InteractFailure;
use qemu_machine::{Console, Machine, Wait};
use support::{Scratch, fake, scenario};
use testbed::pseudo_terminal;

const PROMPT: &str = "tiny guest ready\r\n> ";

/// A terminal's mode, as stty(1) prints it.
fn mode(terminal: &OwnedFd) -> String {
    let told = Command::new("stty")
        .arg("-g")
        .stdin(terminal.try_clone().unwrap())
        .output()
        .unwrap();
    assert!(told.status.success());
    String::from_utf8(told.stdout).unwrap()
}

/// Whether reads of it return at once, for all who share it.
fn is_nonblocking(descriptor: &OwnedFd) -> bool {
    let path = format!("/proc/self/fdinfo/{}", descriptor.as_raw_fd());
    let told = std::fs::read_to_string(path).unwrap();
    let flags = told
        .lines()
        .find_map(|line| line.strip_prefix("flags:"))
        .unwrap();
    let flags = u32::from_str_radix(flags.trim(), 8).unwrap();
    flags & 0o4000 != 0
}

/// Reads until this is seen.
fn read_until(mut from: impl Read, end: &str) -> String {
    let mut seen = Vec::new();
    while !seen.ends_with(end.as_bytes()) {
        let mut byte = [0];
        assert_eq!(from.read(&mut byte).unwrap(), 1, "{}", support::text(&seen));
        seen.push(byte[0]);
    }
    support::text(&seen)
}

// W4
scenario! {
    fn a_person_speaks_with_the_guest_and_leaves_by_the_escape(qemu) {
        let vm = run!(qemu.tiny().launch()).unwrap();
        run!(vm.console().expect("ready\r\n")).unwrap();
        let (mut person, terminal) = pseudo_terminal();
        let before = mode(&terminal);
        let copy = || terminal.try_clone().unwrap();
        let session = vm.console().interact().input(copy()).output(copy());
        let session = session.hint("Ctrl-] leaves");
        std::thread::scope(|scope| {
            let session = scope.spawn(|| session.wait());
            // By the hint the mode is set. What nobody has taken follows it.
            assert_eq!(read_until(&person, "\r\n"), "Ctrl-] leaves\r\n");
            assert_ne!(mode(&terminal), before);
            read_until(&person, "> ");
            assert!(!is_nonblocking(&terminal));
            // Not Ctrl-C for us, nor an echo of the terminal's.
            person.write_all(b"echo hel\x03lo\r").unwrap();
            let seen = read_until(&person, "\r\n> ");
            assert!(seen.contains("hel\x03lo\r\n"), "{seen:?}");
            person.write_all(b"\x1dechoed\n").unwrap();
            let end = session.join().unwrap().unwrap();
            assert!(matches!(end, InteractEnd::Escape), "{end:?}");
        });
        assert_eq!(mode(&terminal), before);
        // What was shown is taken.
        run!(vm.console().send("echo on\n")).unwrap();
        let next = run!(vm.console().expect("> ")).unwrap();
        assert!(!next.before_text().contains("hel"), "{next:?}");
        run!(vm.shutdown()).unwrap();
    }
}

// W4
scenario! {
    fn pipes_and_files_do_as_well_as_a_terminal(qemu) {
        let vm = run!(qemu.tiny().launch()).unwrap();
        let (theirs, mut keys) = io::pipe().unwrap();
        let (screen, shown) = io::pipe().unwrap();
        let session = vm.console().interact().input(theirs).output(shown.try_clone().unwrap());
        std::thread::scope(|scope| {
            let session = scope.spawn(|| session.wait());
            read_until(&screen, PROMPT);
            keys.write_all(b"echo piped\n").unwrap();
            read_until(&screen, "piped\r\n> ");
            drop(keys);
            let end = session.join().unwrap().unwrap();
            assert!(matches!(end, InteractEnd::InputEnded), "{end:?}");
        });
        let scratch = Scratch::new("keys");
        std::fs::write(scratch.join("keys"), "echo filed\n").unwrap();
        for (file, said) in [(scratch.join("keys"), "filed\r\n> "), ("/dev/null".into(), "")] {
            let file = File::open(file).unwrap();
            let session = vm.console().interact().input(file).output(shown.try_clone().unwrap());
            let end = run!(session).unwrap();
            assert!(matches!(end, InteractEnd::InputEnded), "{end:?}");
            // Who has seen it, the session or nobody, is a matter of time.
            run!(vm.console().send("echo after\n")).unwrap();
            run!(vm.console().expect("after\r\n> ")).unwrap();
            assert!(support::text(&vm.console().tail()).contains(said));
        }
        run!(vm.shutdown()).unwrap();
    }
}

fn silent() -> Machine {
    let script = "greet\nconsole hello\\n\nnegotiate\nsilent";
    let builder = fake(script).console(Console::serial());
    builder.launch().wait().unwrap()
}

// W2, W4
#[test]
fn the_terminal_has_its_mode_back_whatever_ends_the_session() {
    let vm = silent();
    let (person, terminal) = pseudo_terminal();
    let before = mode(&terminal);
    let copy = || terminal.try_clone().unwrap();
    let session = || vm.console().interact().input(copy()).output(copy());

    // Its deadline.
    let limit = Duration::from_secs(1);
    let error = session().timeout(limit).wait().unwrap_err();
    assert!(
        matches!(*error.failure, InteractFailure::Timeout { .. }),
        "{error}"
    );
    assert_eq!(mode(&terminal), before);
    read_until(&person, "hello\n");

    // Its drop, also by a panic.
    let mut given_up = session().into_future();
    let mut context = Context::from_waker(Waker::noop());
    assert!(given_up.as_mut().poll(&mut context).is_pending());
    assert_ne!(mode(&terminal), before);
    drop(given_up);
    assert_eq!(mode(&terminal), before);
    let panicked = std::thread::scope(|scope| {
        let panics = scope.spawn(|| {
            let mut session = session().into_future();
            let _ = session
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()));
            panic!("on purpose");
        });
        panics.join()
    });
    assert!(panicked.is_err());
    assert_eq!(mode(&terminal), before);

    // An output that is gone.
    let (screen, shown) = io::pipe().unwrap();
    drop(screen);
    vm.console().send("x").wait().unwrap();
    let lost = vm
        .console()
        .interact()
        .input(copy())
        .output(shown)
        .timeout(limit);
    assert!(lost.wait().is_err());
    assert_eq!(mode(&terminal), before);

    // The machine's end.
    let mut under_way = session().into_future();
    assert!(under_way.as_mut().poll(&mut context).is_pending());
    assert_ne!(mode(&terminal), before);
    vm.kill().wait().unwrap();
    let end = under_way.wait().unwrap();
    assert!(matches!(end, InteractEnd::MachineEnded(_)), "{end:?}");
    assert_eq!(mode(&terminal), before);
    let end = session().wait().unwrap();
    assert!(matches!(end, InteractEnd::MachineEnded(_)), "{end:?}");
}

// W4
#[test]
fn a_guest_that_reads_nothing_does_not_keep_a_person_from_leaving() {
    let vm = silent();
    let (mut person, terminal) = pseudo_terminal();
    let before = mode(&terminal);
    let copy = || terminal.try_clone().unwrap();
    let session = vm.console().interact().input(copy()).output(copy());
    std::thread::scope(|scope| {
        let session = scope.spawn(|| session.wait());
        read_until(&person, "hello\n");
        // More than the socket and our queue hold.
        let keys = [b'x'; 4096];
        for _ in 0..1024 {
            person.write_all(&keys).unwrap();
        }
        person.write_all(b"\x1d").unwrap();
        let end = session.join().unwrap().unwrap();
        assert!(matches!(end, InteractEnd::Escape), "{end:?}");
    });
    // Input over the limit is answered by a bell only.
    assert_eq!(read_until(&person, "\x07").trim_matches('\x07'), "");
    assert_eq!(mode(&terminal), before);
    vm.kill().wait().unwrap();
}

// W4
#[test]
fn an_output_that_nobody_reads_does_not_hold_up_the_end() {
    let script = "greet\nnegotiate\nconsole-fill 0 1000000 x\nserve";
    let vm = fake(script).console(Console::serial()).launch();
    let vm = vm.wait().unwrap();
    let (unread, output) = io::pipe().unwrap();
    let (input, typing) = io::pipe().unwrap();
    let session = vm.console().interact().input(input).output(output);
    std::thread::scope(|scope| {
        let session = scope.spawn(|| session.wait());
        let report = vm.kill().wait().unwrap();
        let end = session.join().unwrap().unwrap();
        assert!(matches!(end, InteractEnd::MachineEnded(told) if told.pid == report.pid));
    });
    drop((unread, typing));
}

#[test]
fn a_console_that_is_not_there_is_handed_to_nobody() {
    let vm = fake("greet\nnegotiate\nserve").launch().wait().unwrap();
    let (_keys, keys) = io::pipe().map(|(a, b)| (b, a)).unwrap();
    let error = vm.console().interact().input(keys).wait().unwrap_err();
    assert!(
        matches!(*error.failure, InteractFailure::NoConsole { .. }),
        "{error}"
    );
    vm.shutdown().wait().unwrap();
}

// W4
#[test]
fn a_terminal_is_in_one_session_at_a_time_and_has_its_own_mode_back() {
    let vm = silent();
    let (_person, terminal) = pseudo_terminal();
    let before = mode(&terminal);
    let copy = || terminal.try_clone().unwrap();
    let session = || vm.console().interact().input(copy()).output(copy());
    let mut context = Context::from_waker(Waker::noop());
    let mut first = session().into_future();
    assert!(first.as_mut().poll(&mut context).is_pending());
    let raw = mode(&terminal);
    // Also where it was opened another time.
    let path = format!("/proc/self/fd/{}", terminal.as_raw_fd());
    let opened = File::options().read(true).write(true).open(path).unwrap();
    for refused in [session(), session().input(opened)] {
        let error = refused.timeout(Duration::from_secs(10)).wait().unwrap_err();
        assert!(
            matches!(*error.failure, InteractFailure::TerminalTaken),
            "{error}"
        );
        assert_eq!(mode(&terminal), raw);
    }
    drop(first);
    assert_eq!(mode(&terminal), before);
    // Another terminal is another's.
    let (_other_person, other) = pseudo_terminal();
    let mut third = session().into_future();
    assert!(third.as_mut().poll(&mut context).is_pending());
    let elsewhere = vm.console().interact().input(other.try_clone().unwrap());
    let mut elsewhere = elsewhere.output(other).into_future();
    assert!(elsewhere.as_mut().poll(&mut context).is_pending());
    drop((third, elsewhere));
    assert_eq!(mode(&terminal), before);
    vm.kill().wait().unwrap();
}

/// A socket cannot be opened once more.
// W4
#[test]
fn a_socket_waits_again_once_no_session_needs_it() {
    let vm = silent();
    let (_person, socket) = UnixStream::pair().unwrap();
    let socket = OwnedFd::from(socket);
    let copy = || socket.try_clone().unwrap();
    let session = || vm.console().interact().input(copy()).output(copy());
    let mut context = Context::from_waker(Waker::noop());
    let mut first = session().into_future();
    assert!(first.as_mut().poll(&mut context).is_pending());
    // When its end is reported, all of it has been released.
    let brief = || session().timeout(Duration::from_millis(20)).wait();
    let error = brief().unwrap_err();
    assert!(
        matches!(*error.failure, InteractFailure::Timeout { .. }),
        "{error}"
    );
    assert!(is_nonblocking(&socket), "the first one needs it still");
    vm.kill().wait().unwrap();
    assert!(matches!(first.wait(), Ok(InteractEnd::MachineEnded(_))));
    assert!(!is_nonblocking(&socket));
}

// W4
#[test]
fn the_terminal_has_its_mode_back_when_the_process_exits() {
    let (person, terminal) = pseudo_terminal();
    let before = mode(&terminal);
    let child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "exits_within_a_session",
            "--ignored",
            "--nocapture",
        ])
        .stdin(terminal.try_clone().unwrap())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert!(
        support::text(&output.stdout).contains("was raw: true"),
        "{output:?}"
    );
    assert_eq!(mode(&terminal), before);
    drop(person);
}

/// What the test above runs.
#[test]
#[ignore = "run by another test, in a process of its own"]
fn exits_within_a_session() {
    let vm = silent();
    let terminal = OwnedFd::from(File::open("/proc/self/fd/0").unwrap());
    let before = mode(&terminal);
    let mut session = vm.console().interact().into_future();
    let _ = session
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()));
    println!("was raw: {}", mode(&terminal) != before);
    std::process::exit(7);
}

// W4
#[test]
fn a_socket_waits_again_when_the_process_exits() {
    let (_person, socket) = UnixStream::pair().unwrap();
    let socket = OwnedFd::from(socket);
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "exits_at_a_socket", "--ignored", "--nocapture"])
        .stdin(socket.try_clone().unwrap())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert!(
        support::text(&output.stdout).contains("returned at once: true"),
        "{output:?}"
    );
    assert!(!is_nonblocking(&socket));
}

/// What the test above runs.
#[test]
#[ignore = "run by another test, in a process of its own"]
fn exits_at_a_socket() {
    let vm = silent();
    let socket = std::os::fd::AsFd::as_fd(&io::stdin())
        .try_clone_to_owned()
        .unwrap();
    let mut session = vm.console().interact().into_future();
    let _ = session
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()));
    println!("returned at once: {}", is_nonblocking(&socket));
    std::process::exit(7);
}
